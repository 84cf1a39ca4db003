"""How long to wait before something that failed is tried again."""

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
        # Far above any doubling that the longest leaves room for, and no float overflows.
        doublings = min(failures - 1, 1000)
        return min(self.first_s * 2.0**doublings, self.longest_s)
