"""The share of the generated responses that training reads; a judge's verdicts leave some out, and some prompts."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import torch

from sparring.log_ratios import PREFERENCE_FIELDS, LogRatios
from sparring.planning.cost import TokenCounts
from sparring.selfplay.phases import Phase
from sparring.selfplay.prepared import Prepared
from sparring.types import Objective

# The probabilities of a right response that are tried, to find the one at which most is read.
_STEPS = 200


@dataclass(frozen=True, kw_only=True)
class ReadShare:
    """The share of an iteration's prompts and responses that training reads: an upper bound of the average.

    Attributes:
        prompts: The share of the prompts with at least one response that is read.
        samples: The share of the generated responses that are read.
        told: The same in words; None where all are read.
    """

    prompts: float
    samples: float
    told: str | None

    def of(self, row: TokenCounts, generated: int) -> float:
        """Tokens of a row that are read; all if it holds more than the `generated` responses, an expert's say."""
        if len(row.responses) != generated:
            return row.packed
        return self.prompts * row.prompt + self.samples * sum(row.responses)


def read_share(prepared: Prepared, phase: Phase) -> ReadShare:
    """The share that training reads in a phase.

    A judge by a rule finds each response right or wrong. The K samples of a prompt are independent draws, right with
    a probability p that differs from prompt to prompt. If n(r) samples are read when r of them are right, then
    Σ_r C(K, r) p^r (1 − p)^(K − r) n(r) are read on average. The largest of these over p bounds them for every prompt,
    and is what is counted. The verdicts of any other judge cannot be foreseen, so all responses are counted.
    """
    name, size = phase.config.objective.name, _compared(prepared, phase)
    if phase.judge is not None and phase.judge.right_or_wrong and not phase.expert_plays:
        read = [_samples_read(phase.objective, _verdicts(right, size)) for right in range(size + 1)]
        most = _largest_mean(read)
        told = (
            f"{name} trains on right responses, and only where a prompt has right and wrong ones: on average at most "
            f"{most:.1f} of the {size}, which is what is counted here for training and for a control beside it"
        )
        share = ReadShare(prompts=_largest_mean([min(n, 1) for n in read]), samples=most / size, told=told)
        return share if most < size else ReadShare(prompts=1.0, samples=1.0, told=None)
    rank = torch.arange(size, dtype=torch.float32)
    ranked = _samples_read(phase.objective, (rank[:, None] < rank).float() + 0.5 * torch.eye(size))
    tied = _samples_read(phase.objective, torch.full((size, size), 0.5))
    rest = {0: "none", size: "all"}.get(tied, str(tied))
    told = (
        f"{name} trains on {ranked} of the {size} responses to a prompt where no two tie, and on {rest} where all tie: "
        "training, and a control beside it, may take less than is counted here"
    )
    return ReadShare(prompts=1.0, samples=1.0, told=None if ranked == tied == size else told)


def _largest_mean(values: Sequence[float]) -> float:
    """The largest mean of `values[r]` over all p, for r binomial with probability p and len(values) − 1 draws."""
    draws = len(values) - 1
    ways = [math.comb(draws, r) * value for r, value in enumerate(values)]
    means = (
        sum(way * p**r * (1 - p) ** (draws - r) for r, way in enumerate(ways))
        for p in (step / _STEPS for step in range(_STEPS + 1))
    )
    return max(means)


def _verdicts(right: int, size: int) -> torch.Tensor:
    """`[K, K]` P(y_i ≻ y_j) where the first `right` responses are right and the others wrong."""
    score = (torch.arange(size) < right).float()
    return 0.5 + 0.5 * (score[:, None] - score)


def _compared(prepared: Prepared, phase: Phase) -> int:
    """The most responses to a prompt that are compared with each other."""
    if phase.given:
        return max(len(item.compared_ids) for item in prepared.prompts(phase, phase.iterations.start))
    return phase.samples + phase.expert_plays


def _samples_read(objective: Objective, pairwise: torch.Tensor) -> int:
    """The number of samples whose log ratios an objective reads, given the preferences P(y_i ≻ y_j), `[K, K]`."""
    wins: dict[str, Any] = {"preference": pairwise.mean(dim=-1)[None], "pairwise": pairwise[None]}
    given = PREFERENCE_FIELDS & objective.requires
    read = objective.samples_read(LogRatios(**{field: wins[field] for field in given})) if given else None
    return len(pairwise) if read is None else int(read.sum())
