"""The last policies as a team, each with the samples of its own round."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass

from torch import Tensor

from sparring.types import Opponent, OpponentSpec


@dataclass(frozen=True, kw_only=True)
class Team(Opponent):
    """The last h policies π_{t−h+1} … π_t: each plays with the samples that it drew in its own iteration.

    Policy t alone generates, and scores what is new. The samples and log-probs of earlier rounds lie on disk, so a
    member costs what its K responses take in training, and nothing else. Every prompt meets every member, for which it
    must be played in every iteration.

    It is for objectives that read each member's log ratios, as `tpaw` does; for any other it would be `previous`.

    Source: TPAW, arXiv 2605.09922, from notes on the paper, which finds more than three policies harmful.

    Degenerate case: at the first iteration of a phase, or with h = 1, policy t is the whole team.

    Attributes:
        size: h, how many policies, at least 1. The default is the published one.

    Raises:
        ValueError: h is not an integer of at least 1.
    """

    size: int = 3

    def __post_init__(self) -> None:
        if not isinstance(self.size, int) or isinstance(self.size, bool) or self.size < 1:
            raise ValueError(f"size must be an integer of at least 1, got {self.size!r}")

    def spec(self, iteration: int) -> OpponentSpec:
        """Policy t generates and scores; the team is t, t − 1 and so on."""
        members = range(iteration, max(-1, iteration - self.size), -1)
        return OpponentSpec(generators=(iteration,), scorers=(iteration,), team=tuple(members))

    def combine(self, iteration: int, log_probs: Mapping[int, Tensor]) -> Tensor:
        """Log π_o = log π_t, that of the newest member."""
        return log_probs[iteration]
