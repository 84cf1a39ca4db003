"""How much of what is generated training reads: a judge's verdicts leave some responses, and some prompts, untaught."""

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

# Shares of right responses among which the one is looked for that is trained on most.
_SHARES = 200


@dataclass(frozen=True, kw_only=True)
class ReadShare:
    """What training reads of an iteration, on average and at most.

    Attributes:
        prompts: The share of the prompts of which some response is read.
        samples: The share of the generated responses that are read.
        told: The same in words; None where all are read.
    """

    prompts: float
    samples: float
    told: str | None

    def of(self, row: TokenCounts, generated: int) -> float:
        """Tokens of a row that are read; all of them where it holds others than the `generated` responses."""
        if len(row.responses) != generated:
            return row.read
        return self.prompts * row.prompt + self.samples * sum(row.responses)


def reading_of(prepared: Prepared, phase: Phase) -> ReadShare:
    """What training reads in a phase.

    By a rule a response is right or wrong. The K samples of a prompt are draws of one policy, right with the prompt's
    own probability p, so n(r) samples that are read where r are right make Σ_r C(K, r) p^r (1 − p)^(K − r) n(r) on
    average, and whatever p is from prompt to prompt, no more than the largest of these. What another judge will say
    cannot be told, so all are counted.
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
    apart = _samples_read(phase.objective, (rank[:, None] < rank).float() + 0.5 * torch.eye(size))
    alike = _samples_read(phase.objective, torch.full((size, size), 0.5))
    rest = {0: "none", size: "all"}.get(alike, str(alike))
    told = (
        f"{name} trains on {apart} of the {size} responses to a prompt where no two tie, and on {rest} where all tie: "
        "training, and a control beside it, may take less than is counted here"
    )
    return ReadShare(prompts=1.0, samples=1.0, told=None if apart == alike == size else told)


def _largest_mean(values: Sequence[float]) -> float:
    """The largest mean of `values[r]`, r being binomial: of K = len(values) − 1 draws, over all p."""
    draws = len(values) - 1
    ways = [math.comb(draws, r) * value for r, value in enumerate(values)]
    means = (
        sum(way * p**r * (1 - p) ** (draws - r) for r, way in enumerate(ways))
        for p in (step / _SHARES for step in range(_SHARES + 1))
    )
    return max(means)


def _verdicts(right: int, size: int) -> torch.Tensor:
    """What is preferred to what `[K, K]` where the first `right` responses are right and the others wrong."""
    score = (torch.arange(size) < right).float()
    return 0.5 + 0.5 * (score[:, None] - score)


def _compared(prepared: Prepared, phase: Phase) -> int:
    """How many responses to a prompt have preferences among them, at most."""
    if phase.given:
        return max(len(item.compared_ids) for item in prepared.prompts(phase, phase.iterations.start))
    return phase.samples + phase.expert_plays


def _samples_read(objective: Objective, pairwise: torch.Tensor) -> int:
    """Of how many samples an objective reads the log ratios, where `pairwise` `[K, K]` is what is preferred to what."""
    wins: dict[str, Any] = {"preference": pairwise.mean(dim=-1)[None], "pairwise": pairwise[None]}
    given = PREFERENCE_FIELDS & objective.requires
    read = objective.samples_read(LogRatios(**{field: wins[field] for field in given})) if given else None
    return len(pairwise) if read is None else int(read.sum())
