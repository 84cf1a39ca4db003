"""How uncertain the policy is of its own next token."""

from __future__ import annotations

from sparring.metrics.held_out import Estimate, HeldOut, Response


def entropy(held_out: HeldOut) -> dict[str, Estimate]:
    """`entropy/token`: the mean of −log π(y|x) over the tokens of y, nats, over samples of π itself.

    −log π(y|x) of a draw is an unbiased estimate of the entropy of whole responses; divided by each one's length it is
    what a token costs, so that policies with responses of different lengths compare.
    """

    def surprise(response: Response) -> float:
        if response.log_prob is None:
            raise ValueError("a sampled response lacks its log-prob under the policy")
        return -response.log_prob / response.tokens

    return {"entropy/token": held_out.over_samples(surprise)}
