"""DFT: supervised fine-tuning with every token weighted by its own probability."""

from __future__ import annotations

from dataclasses import dataclass
from typing import ClassVar

from sparring.log_ratios import LogRatios
from sparring.types import Objective, ObjectiveOutput


@dataclass(frozen=True, kw_only=True)
class Dft(Objective):
    """The likelihood gradient of the expert's response, each token's part weighted by the token's own probability.

    Published as −Σ_t sg[π_θ(y_t)] log π_θ(y_t), where sg holds the weight fixed. Its gradient is −Σ_t ∇π_θ(y_t), so
    here the loss is −Σ_t π_θ(y_t|x, y_<t) itself: the same gradient in every step, of a value that falls as it should.
    The published value, which is 0 for tokens of probability 0 and 1 alike, is the metric `loss/published`. Both are
    sums over tokens, as the loss of `sft` is; TRL's `loss_type="dft"` takes the mean over the tokens of a batch.

    A token that the policy finds unlikely hardly counts: fine-tuning stays near what the policy can already write, and
    noise in the data is ignored, as is news. The price is that the expert is no fixed point. After any x, y_<t
    the expected loss is linear in the policy, so the exact minimum is the expert's likeliest next token, always: what
    is uncertain in the expert is made certain (derived here). Where the expert's answers are determined, that is the
    expert.

    Source: DFT, arXiv 2508.05629, in its token-level form. The analysis is derived here.
    """

    requires: ClassVar[frozenset[str]] = frozenset({"expert_tokens"})

    def __call__(self, ratios: LogRatios) -> ObjectiveOutput:
        """The loss `[B]`, the log-likelihood, the mean probability of a token, and the published value."""
        tokens = ratios.require_tokens("expert_tokens")
        probability = tokens.log_probs.exp()
        log_probs, weight = tokens.log_probs.detach(), probability.detach()
        metrics = {
            "log_likelihood/expert": tokens.sum(log_probs),
            "probability/expert": tokens.mean(weight),
            "loss/published": -tokens.sum(weight * log_probs),
        }
        return ObjectiveOutput(loss=-tokens.sum(probability), metrics=metrics)
