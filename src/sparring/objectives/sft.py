"""Supervised fine-tuning: the baseline, and the warm-up before the game."""

from __future__ import annotations

from dataclasses import dataclass
from typing import ClassVar

from sparring.log_ratios import LogRatios
from sparring.types import Objective, ObjectiveOutput


@dataclass(frozen=True, kw_only=True)
class Sft(Objective):
    """Maximum likelihood of the expert's response: −log π_θ(y_E|x), summed over its tokens, nats. It has no opponent.

    Source: maximum likelihood; the baseline that self-play has to beat.
    """

    requires: ClassVar[frozenset[str]] = frozenset({"policy_expert"})

    def __call__(self, ratios: LogRatios) -> ObjectiveOutput:
        """The loss `[B]`; its metric is the log-likelihood itself."""
        log_likelihood = ratios.require("policy_expert")
        return ObjectiveOutput(loss=-log_likelihood, metrics={"log_likelihood/expert": log_likelihood.detach()})
