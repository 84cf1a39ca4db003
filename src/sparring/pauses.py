"""Pauses between the attempts of something that failed."""

from __future__ import annotations

from dataclasses import dataclass


@dataclass(frozen=True, kw_only=True)
class Pauses:
    """Pauses that double from one failure to the next, up to the longest.

    Attributes:
        first_s: After the first failure, seconds.
        longest_s: The longest, seconds.
    """

    first_s: float
    longest_s: float

    def after(self, failures: int) -> float:
        """The pause after so many failures in a row, one or more, in seconds."""
        # Bounded so that no float overflows; the longest pause is reached long before.
        doublings = min(failures - 1, 1000)
        return min(self.first_s * 2.0**doublings, self.longest_s)
