"""The likelihood of the expert's responses under the policy."""

from __future__ import annotations

from sparring.metrics.held_out import Estimate, HeldOut

LIKELIHOOD = "log_likelihood/token"
"""The estimate that decides between policies which are equally good."""

LOOK = f"eval_{LIKELIHOOD}"
"""The name of the same estimate in training's log, for the experts of validation prompts."""

FAR_FROM_EXPERT = -2.5
"""A very low likelihood, nats a token (a perplexity of about 12); fluent text that a model was tuned on is above −2."""


def likelihood(held_out: HeldOut) -> dict[str, Estimate]:
    """The mean log-likelihood of the expert's responses, `log_likelihood/sequence`, and by token, `…/token`, nats.

    There are no estimates where the log-probs of the expert's responses are not known.
    """
    pairs = [(expert.log_prob, expert.tokens) for expert in held_out.expert if expert.log_prob is not None]
    if not pairs:
        return {}
    return {
        "log_likelihood/sequence": Estimate.of([log_prob for log_prob, _ in pairs]),
        LIKELIHOOD: Estimate.of([log_prob / tokens for log_prob, tokens in pairs]),
    }
