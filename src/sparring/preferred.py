"""The generated responses to a prompt that a judge prefers most, and those that it prefers least."""

from __future__ import annotations

import torch
from torch import Tensor

from sparring.log_ratios import LogRatios


def best_and_worst(ratios: LogRatios) -> tuple[Tensor, Tensor]:
    """Weights `[B, K]` of the best and of the worst sample; each sums to one, and samples that tie share it."""
    preference = ratios.require("preference")
    weight = torch.ones_like(preference) if ratios.generated_weight is None else ratios.generated_weight
    drawn = weight > 0
    best = weight * (preference == preference.masked_fill(~drawn, -torch.inf).amax(dim=-1, keepdim=True))
    worst = weight * (preference == preference.masked_fill(~drawn, torch.inf).amin(dim=-1, keepdim=True))
    return best / best.sum(dim=-1, keepdim=True), worst / worst.sum(dim=-1, keepdim=True)


def chosen_weight(ratios: LogRatios) -> Tensor:
    """`[B, K]` the weights of the best samples; zero where all samples tie, since then none is preferred."""
    best, worst = best_and_worst(ratios)
    return best * (best != worst).any(dim=-1, keepdim=True)
