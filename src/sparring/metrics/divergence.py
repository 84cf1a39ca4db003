"""The divergence of the policy from the base model."""

from __future__ import annotations

from sparring.metrics.held_out import Estimate, HeldOut, Response


def divergence_to_base(held_out: HeldOut) -> dict[str, Estimate]:
    """The KL divergence from the base model, `kl_to_base`: the mean log ratio over samples of π, nats (estimator k1).

    Unbiased if the samples come from π itself (temperature 1, no top-p, no top-k) and were not cut; a response that was
    cut at the token limit counts up to the cut. An estimate may be negative.
    """

    def log_ratio(response: Response) -> float:
        if response.log_prob is None or response.log_prob_base is None:
            raise ValueError("a sampled response lacks its log-prob under the policy or the base model")
        return response.log_prob - response.log_prob_base

    return {"kl_to_base": held_out.over_samples(log_ratio)} if held_out.sampled else {}
