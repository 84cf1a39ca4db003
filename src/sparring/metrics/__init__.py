"""Metrics of a policy on the held-out set.

A metric is a function from `HeldOut`, a policy's responses with their log-probs and verdicts, to named estimates. To
add one: write it in a module here, list it in `METRICS`, and give it a row in docs/metrics.md. Reports show it at once,
under its own name; a chart with a title is a line in `reports/curves.py`.
"""

from __future__ import annotations

from collections.abc import Callable

from sparring.metrics.accuracy import accuracy
from sparring.metrics.agreement import reward_agreement
from sparring.metrics.divergence import divergence_to_base
from sparring.metrics.diversity import diversity
from sparring.metrics.embedding import embedding_distance
from sparring.metrics.entropy import entropy
from sparring.metrics.held_out import Duel, Estimate, HeldOut, Preferences, Response
from sparring.metrics.length import length
from sparring.metrics.likelihood import likelihood
from sparring.metrics.preference import preference
from sparring.metrics.self_bleu import self_bleu
from sparring.metrics.truth import truth
from sparring.metrics.win_rate import win_rate

METRICS: dict[str, Callable[[HeldOut], dict[str, Estimate]]] = {
    "accuracy": accuracy,
    "likelihood": likelihood,
    "length": length,
    "entropy": entropy,
    "diversity": diversity,
    "self-bleu": self_bleu,
    "embedding": embedding_distance,
    "divergence": divergence_to_base,
    "win-rate": win_rate,
    "preference": preference,
    "truth": truth,
}

__all__ = [
    "METRICS",
    "Duel",
    "Estimate",
    "HeldOut",
    "Preferences",
    "Response",
    "measure",
    "reward_agreement",
]


def measure(held_out: HeldOut) -> dict[str, Estimate]:
    """The estimates of every registered metric that applies, by name."""
    return {name: value for metric in METRICS.values() for name, value in metric(held_out).items()}
