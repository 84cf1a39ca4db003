"""How long the responses are, and whether they end."""

from __future__ import annotations

from sparring.metrics.held_out import Estimate, HeldOut


def length(held_out: HeldOut) -> dict[str, Estimate]:
    """Mean lengths in tokens, `length/sampled`, `…/greedy`, `…/expert`; the share that ended, `finished/sampled`."""
    estimates = {
        "length/sampled": held_out.over_samples(lambda response: float(response.tokens)),
        "length/greedy": Estimate.of([float(response.tokens) for response in held_out.greedy]),
        "finished/sampled": held_out.rate_over_samples(lambda response: response.finish_reason == "stop"),
    }
    if held_out.expert:
        estimates["length/expert"] = Estimate.of([float(response.tokens) for response in held_out.expert])
    return estimates
