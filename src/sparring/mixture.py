"""The geometric mixture of two distributions, from which an opponent between policy and base model samples."""

from __future__ import annotations

from torch import Tensor


def geometric_mixture(logits: Tensor, base_logits: Tensor, base_share: float) -> Tensor:
    """The log-probs of a geometric mixture, log(π^{1−α} π_ref^α / Σ π^{1−α} π_ref^α) over the last dimension, nats.

    Args:
        logits: `[…, n]` logits or log-probs of π.
        base_logits: `[…, n]` logits or log-probs of π_ref.
        base_share: α in [0, 1].
    """
    # The normalisers of π and π_ref add constants over the n, which the last normalisation removes.
    return ((1.0 - base_share) * logits + base_share * base_logits).log_softmax(-1)
