"""The entropy of the policy's next token."""

from __future__ import annotations

from sparring.metrics.held_out import Estimate, HeldOut, Response


def entropy(held_out: HeldOut) -> dict[str, Estimate]:
    """The entropy of the policy's samples, `entropy/token`: the mean of −log π(y|x)/|y|, nats a token.

    y is a draw of π itself, so −log π(y|x) is an unbiased estimate of the entropy of whole responses. Divided by the
    response's length, it compares policies whose responses differ in length.
    """

    def surprise(response: Response) -> float:
        if response.log_prob is None:
            raise ValueError("a sampled response lacks its log-prob under the policy")
        return -response.log_prob / response.tokens

    return {"entropy/token": held_out.over_samples(surprise)} if held_out.sampled else {}
