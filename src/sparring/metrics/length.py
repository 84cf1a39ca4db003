"""How long the responses are, and whether they end."""

from __future__ import annotations

from sparring.metrics.held_out import Estimate, HeldOut


def length(held_out: HeldOut) -> dict[str, Estimate]:
    """`length/sampled`, `length/greedy` and `length/expert` in tokens; `finished/sampled`, the share that ended."""
    return {
        "length/sampled": held_out.over_samples(lambda response: float(response.tokens)),
        "length/greedy": Estimate.of([float(response.tokens) for response in held_out.greedy]),
        "length/expert": Estimate.of([float(response.tokens) for response in held_out.expert]),
        "finished/sampled": held_out.over_samples(lambda response: float(response.finish_reason == "stop")),
    }
