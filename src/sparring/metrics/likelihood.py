"""How likely the policy finds the expert."""

from __future__ import annotations

from sparring.metrics.held_out import Estimate, HeldOut


def likelihood(held_out: HeldOut) -> dict[str, Estimate]:
    """`log_likelihood/sequence` E[log π(y_E|x)] and `log_likelihood/token`, the same divided by each length, nats.

    Nothing where the experts' log-probs are not known.
    """
    pairs = [(expert.log_prob, expert.tokens) for expert in held_out.expert if expert.log_prob is not None]
    if not pairs:
        return {}
    return {
        "log_likelihood/sequence": Estimate.of([log_prob for log_prob, _ in pairs]),
        "log_likelihood/token": Estimate.of([log_prob / tokens for log_prob, tokens in pairs]),
    }
