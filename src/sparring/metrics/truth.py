"""The distance of the policy from the expert, where the expert is a teacher whose log-probs are known."""

from __future__ import annotations

import math

from sparring.metrics.held_out import Estimate, HeldOut, Response


def truth(held_out: HeldOut) -> dict[str, Estimate]:
    """The divergences between expert and policy, `truth/…`; none if log π_E is not known, or there are no samples.

    With u = log π_E(y|x) − log π(y|x), over whole responses cut at the token limit:

        forward_kl = KL(π_E‖π) = E_E[u]        reverse_kl = KL(π‖π_E) = E_π[−u]
        total_variation = ½ Σ|π_E − π| = E_E[(1 − e^−u)₊] = E_π[(1 − e^u)₊]

    averaged over prompts; the divergences in nats. The total variation is the mean of its two forms, every term of
    which is in [0, 1], so it needs no bound. All three are unbiased: the expert's responses are draws of π_E, the
    sampled ones of π itself (temperature 1, no top-p, no top-k). A KL estimate may come out negative.

    Source: the definitions; for the two forms of the total variation, Σ (p − q)₊ = Σ (q − p)₊ as both sum to one.
    """
    if not (held_out.expert and held_out.sampled) or any(expert.log_prob_expert is None for expert in held_out.expert):
        return {}
    of_expert = [_log_ratio(expert) for expert in held_out.expert]
    of_policy = [[_log_ratio(sample) for sample in samples] for samples in held_out.sampled]
    variation = [
        0.5 * _excess_share(u) + 0.5 * _mean([_excess_share(-v) for v in of_prompt])
        for u, of_prompt in zip(of_expert, of_policy, strict=True)
    ]
    return {
        "truth/forward_kl": Estimate.of(of_expert),
        "truth/reverse_kl": Estimate.of([-_mean(of_prompt) for of_prompt in of_policy]),
        "truth/total_variation": Estimate.of(variation),
    }


def _log_ratio(response: Response) -> float:
    if response.log_prob is None or response.log_prob_expert is None:
        raise ValueError("a response lacks its log-prob under the policy or the teacher")
    return response.log_prob_expert - response.log_prob


def _excess_share(log_ratio: float) -> float:
    """(1 − q/p)₊ = (1 − e^−u)₊ of u = log p/q, in [0, 1]."""
    return -math.expm1(-log_ratio) if log_ratio > 0.0 else 0.0


def _mean(values: list[float]) -> float:
    return math.fsum(values) / len(values)
