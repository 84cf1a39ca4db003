"""Distillation: the policy's own samples, drawn token by token towards what a better informed scorer expects there."""

from __future__ import annotations

import math
from collections.abc import Callable
from dataclasses import dataclass
from typing import ClassVar

import torch
from torch import Tensor

from sparring.log_ratios import LogRatios
from sparring.registry import require_one_of
from sparring.types import Objective, ObjectiveOutput


def _kl(log_p: Tensor, log_q: Tensor) -> Tensor:
    """KL(p‖q) over the last dimension, nats."""
    return (log_p.exp() * (log_p - log_q)).sum(dim=-1)


def _js(log_p: Tensor, log_q: Tensor) -> Tensor:
    """½KL(p‖m) + ½KL(q‖m) with m = ½(p + q), over the last dimension, nats."""
    log_m = torch.logaddexp(log_p, log_q) - math.log(2.0)
    return 0.5 * (_kl(log_p, log_m) + _kl(log_q, log_m))


_DIVERGENCES: dict[str, Callable[[Tensor, Tensor], Tensor]] = {
    "reverse_kl": _kl,
    "forward_kl": lambda log_p, log_q: _kl(log_q, log_p),
    "js": _js,
}


@dataclass(frozen=True, kw_only=True)
class Distill(Objective):
    """The divergence between policy p and scorer q at each token of the generated responses, summed: Σ_t D(p_t, q_t).

    The scorer is the model itself shown the demonstration in its prompt (self-distillation), or a stronger teacher
    (on-policy distillation). D is KL(p‖q) ("reverse_kl"), KL(q‖p) ("forward_kl"), or ½KL(p‖m) + ½KL(q‖m) with
    m = ½(p + q) ("js"), over N classes of next tokens: the scorer's likeliest ones, and all others together. By the
    data processing inequality it is at most the divergence over the vocabulary, and equal where both share out the
    others alike; no probability can flee from it, since what leaves the likeliest tokens is in the last class.

    It is a sum over tokens, in nats, as all losses here are. For y ~ π_θ the mean over samples of the sum of reverse
    KLs is KL(π_θ(·|x)‖q(·|x)) of whole responses, by the chain rule. The gradient takes each y as given: that a token
    now decides what stands before the next ones does not count, in any published form. Whatever the law of the samples,
    as long as each prefix may occur, the only minimum over all policies is the scorer. With several demonstrations of
    one prompt it is, at each prefix, the arithmetic mean of the scorers for "forward_kl", the normalised geometric mean
    for "reverse_kl" (derived here).

    Source: SDFT, arXiv 2601.19897, whose equation is the reverse KL; on-policy distillation (GKD), arXiv 2306.13649.
    TRL's `SDFTTrainer` has the three as alpha = 1, 0 and ½ (its default), and averages over the tokens of a batch.

    Attributes:
        divergence: D, by name.

    Raises:
        ValueError: D has another name.
    """

    divergence: str = "reverse_kl"

    requires: ClassVar[frozenset[str]] = frozenset({"generated_next_tokens"})

    def __post_init__(self) -> None:
        require_one_of("divergence", self.divergence, _DIVERGENCES)

    def __call__(self, ratios: LogRatios) -> ObjectiveOutput:
        """The loss `[B]`, the divergence a token, and how often both find the same class the likeliest."""
        tokens = ratios.require_next_tokens("generated_next_tokens")
        each = _DIVERGENCES[self.divergence](tokens.policy, tokens.scorer)
        agrees = (tokens.policy.argmax(dim=-1) == tokens.scorer.argmax(dim=-1)).to(each.dtype)
        metrics = {
            "divergence/token": ratios.mean_over_samples(tokens.mean(each.detach())),
            "agreement/token": ratios.mean_over_samples(tokens.mean(agrees)),
        }
        return ObjectiveOutput(loss=ratios.mean_over_samples(tokens.sum(each)), metrics=metrics)
