"""The share of right answers, where the data have a verifier."""

from __future__ import annotations

from sparring.metrics.held_out import Estimate, HeldOut


def accuracy(held_out: HeldOut) -> dict[str, Estimate]:
    """`accuracy/greedy` and `accuracy/sampled`, in [0, 1]; nothing without a verifier."""
    verify = held_out.verifier
    if verify is None:
        return {}
    greedy = [
        float(verify(response.text, expert.text))
        for response, expert in zip(held_out.greedy, held_out.expert, strict=True)
    ]
    sampled = [
        sum(verify(response.text, expert.text) for response in responses) / len(responses)
        for responses, expert in zip(held_out.sampled, held_out.expert, strict=True)
    ]
    return {"accuracy/greedy": Estimate.of(greedy), "accuracy/sampled": Estimate.of(sampled)}
