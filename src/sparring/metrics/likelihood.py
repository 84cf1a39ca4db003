"""How likely the policy finds the expert."""

from __future__ import annotations

from sparring.metrics.held_out import Estimate, HeldOut


def likelihood(held_out: HeldOut) -> dict[str, Estimate]:
    """The mean log-likelihood of the expert's responses, `log_likelihood/sequence`, and by token, `…/token`, nats.

    Nothing where the log-probs of the expert's responses are not known.
    """
    pairs = [(expert.log_prob, expert.tokens) for expert in held_out.expert if expert.log_prob is not None]
    if not pairs:
        return {}
    return {
        "log_likelihood/sequence": Estimate.of([log_prob for log_prob, _ in pairs]),
        "log_likelihood/token": Estimate.of([log_prob / tokens for log_prob, tokens in pairs]),
    }
