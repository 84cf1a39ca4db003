"""Checks of a run's health, on what it has measured so far, after every iteration.

A check is a function from `History` to a `Reading`, a number (the higher, the worse) and its meaning in plain words, or
None where it has no data. To add one: write it in a module here, list it in `CHECKS`, give it limits in
`StabilityConfig`, and write in `ADVICE` what a warning means.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace

from sparring.metrics.stability.advice import ADVICE
from sparring.metrics.stability.collapse import diversity_loss, entropy_loss
from sparring.metrics.stability.config import Limits, StabilityConfig
from sparring.metrics.stability.displacement import displacement
from sparring.metrics.stability.history import Finding, History, Reading
from sparring.metrics.stability.length import length_drift
from sparring.metrics.stability.oscillation import oscillation, oscillation_index
from sparring.metrics.stability.reward_bound import reward_bound

CHECKS: dict[str, Callable[[History], Reading | None]] = {
    "oscillation": oscillation,
    "reward_bound": reward_bound,
    "displacement": displacement,
    "entropy": entropy_loss,
    "diversity": diversity_loss,
    "length": length_drift,
}

__all__ = [
    "CHECKS",
    "Finding",
    "History",
    "Limits",
    "Reading",
    "StabilityConfig",
    "examine",
    "oscillation_index",
]


def examine(history: History, config: StabilityConfig) -> list[Finding]:
    """The findings of the checks after the last iteration of a history; checks without data have none.

    A warning or an alarm also tells what it means and what to do.
    """
    readings = {name: check(history) for name, check in CHECKS.items()}
    found = [
        getattr(config, name).judge(name, history.iteration, reading)
        for name, reading in readings.items()
        if reading is not None
    ]
    return [
        each if each.status == "ok" else replace(each, text=f"{each.text} ({ADVICE[each.check]})") for each in found
    ]
