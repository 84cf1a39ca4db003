"""The share of right answers, where the data have a verifier."""

from __future__ import annotations

from sparring.metrics.held_out import Estimate, HeldOut


def accuracy(held_out: HeldOut) -> dict[str, Estimate]:
    """The share of right answers, `accuracy/greedy` and `accuracy/sampled`, in [0, 1]; nothing without a verifier."""
    if not held_out.greedy or any(response.right is None for response in held_out.greedy):
        return {}
    return {
        "accuracy/greedy": Estimate.of_rate([float(bool(response.right)) for response in held_out.greedy]),
        "accuracy/sampled": held_out.rate_over_samples(lambda response: bool(response.right)),
    }
