"""Between two distributions on a logarithmic scale: what an opponent between policy and base model samples from."""

from __future__ import annotations

from torch import Tensor


def geometric_mixture(logits: Tensor, base_logits: Tensor, base_share: float) -> Tensor:
    """Log of π^{1−α} π_ref^α / Σ π^{1−α} π_ref^α over the last dimension, nats, α = `base_share`.

    Args:
        logits: `[…, n]` of π; log-probabilities will do.
        base_logits: `[…, n]` of π_ref.
        base_share: α in [0, 1].
    """
    # Each normaliser only adds a constant over the n, and the last one takes all of them out.
    return ((1.0 - base_share) * logits + base_share * base_logits).log_softmax(-1)
