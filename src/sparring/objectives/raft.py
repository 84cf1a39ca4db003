"""RAFT: maximum likelihood of the samples that a judge prefers to all others."""

from __future__ import annotations

from dataclasses import dataclass
from typing import ClassVar

from torch import Tensor

from sparring.log_ratios import LogRatios
from sparring.preferred import chosen_weight
from sparring.types import Objective, ObjectiveOutput


@dataclass(frozen=True, kw_only=True)
class Raft(Objective):
    """−Σ_k b_k log π_θ(y_k|x), nats: b is uniform over the samples with the highest P(y ≻ π_o), which sum to one.

    It imitates, as supervised fine-tuning does, the policy's own best responses in an expert's place, and pushes
    nothing down. A prompt whose samples all tie teaches nothing: its loss is zero, whether all are right or all wrong.

    Over all distributions the minimiser is π_o restricted to its best responses, π ∝ π_o 1[P is the highest]; with K
    samples it is the law of the best of K. Played again it stays there: what is best against such a policy ties.

    Source: RAFT, arXiv 2304.06767, with K samples a prompt and the preferred ones kept; the same step is known as
    rejection-sampling fine-tuning (2308.01825) and expert iteration. The exact minimiser is derived here.
    """

    requires: ClassVar[frozenset[str]] = frozenset({"policy_generated", "preference"})

    def __call__(self, ratios: LogRatios) -> ObjectiveOutput:
        """The loss `[B]`; metrics: the log-likelihood of the best samples."""
        log_likelihood = (chosen_weight(ratios) * ratios.require("policy_generated")).sum(dim=-1)
        return ObjectiveOutput(loss=-log_likelihood, metrics={"log_likelihood/chosen": log_likelihood.detach()})

    def samples_read(self, judged: LogRatios) -> Tensor:
        """The best samples, of prompts that have some."""
        return chosen_weight(judged) > 0
