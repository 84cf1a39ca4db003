"""The length of the responses, and the share of them that end."""

from __future__ import annotations

from sparring.metrics.held_out import Estimate, HeldOut


def length(held_out: HeldOut) -> dict[str, Estimate]:
    """Mean lengths in tokens, `length/sampled`, `…/greedy`, `…/expert`; the share that ended, `finished/sampled`."""
    estimates = {
        f"length/{kind}": Estimate.of([float(response.tokens) for response in responses])
        for kind, responses in (("greedy", held_out.greedy), ("expert", held_out.expert))
        if responses
    }
    if not held_out.sampled:
        return estimates
    return {
        "length/sampled": held_out.over_samples(lambda response: float(response.tokens)),
        "finished/sampled": held_out.rate_over_samples(lambda response: response.finish_reason == "stop"),
    } | estimates
