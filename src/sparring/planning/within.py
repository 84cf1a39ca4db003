"""The smaller settings with which a run fits into a time, by the estimate of `sparring plan`."""

from __future__ import annotations

import re
import shlex
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Any

from sparring.errors import InputError
from sparring.planning.levers import levers
from sparring.planning.plan import Plan, answered, longest, plan, seconds_of
from sparring.planning.rates import Rates, calibrate
from sparring.planning.tokens import tokens_by_part
from sparring.progress import duration
from sparring.selfplay.config.schema import SelfPlayConfig
from sparring.selfplay.config.yaml import apply_overrides
from sparring.selfplay.phases import phases_of
from sparring.selfplay.prepared import Prepared, prepare
from sparring.work import processes as launched

Read = Callable[[Sequence[str]], SelfPlayConfig]
"""Reads a run's configuration with changed settings, each KEY.PATH=VALUE."""

_UNITS = {"s": 1.0, "m": 60.0, "min": 60.0, "h": 3600.0}
_WRITTEN = re.compile(r"(\d+(?:\.\d+)?) *(s|m|min|h)")


@dataclass(frozen=True, kw_only=True)
class FittedPlan:
    """A run that was shrunk to fit into a time.

    Attributes:
        limit: The time, seconds.
        settings: The changed settings, each KEY.PATH=VALUE; empty where the run fits as it is.
        plan: The plan with these settings.
    """

    limit: float
    settings: tuple[str, ...]
    plan: Plan

    @property
    def fits(self) -> bool:
        """Whether the plan is within the limit; if not, no setting was left to shrink."""
        return sum(self.plan.seconds.values()) <= self.limit

    def told(self, command: Sequence[str]) -> list[str]:
        """Lines for people: whether it fits, and the command that plays it with the settings added."""
        time = duration(self.limit)
        if not self.settings and self.fits:
            return [f"it fits into {time} as it is"]
        line = f"  {shlex.join([*command, *self.settings])}"
        if self.fits:
            return [
                f"it fits into {time} with the settings of this line, and the numbers above are those of that run:",
                line,
            ]
        most, total = longest(self.plan.parts), sum(self.plan.seconds.values())
        return [
            f"it does not fit into {time}: at its smallest it takes about {duration(total)}, most of it the {most} "
            f"({duration(self.plan.parts[most].seconds or 0.0)}). A smaller model, a smaller data.limit or a faster "
            "machine makes it less. The numbers above are those of this line:",
            line,
        ]

    def to_json(self) -> dict[str, Any]:
        """Plain values."""
        return {"seconds": self.limit, "settings": list(self.settings), "fits": self.fits}


def time_of(text: str) -> float:
    """Seconds from a time as people write it: 90s, 15m, 1.5h.

    Raises:
        InputError: The text is no such time.
    """
    found = _WRITTEN.fullmatch(text.strip())
    if found is None or float(found[1]) == 0:
        raise InputError(f"'{text}' is no time", where="--within", fix="write 90s, 15m or 1.5h")
    return float(found[1]) * _UNITS[found[2]]


def fit(read: Read, limit: float, *, processes: int | None = None, sharded: bool = False) -> FittedPlan:
    """Shrinks a run until it fits into a time: at each step a setting of the part that takes most, by about a quarter.

    The speeds are measured and the data are read once, and each step's time is counted from them; settings that fit are
    then planned in full.

    Args:
        read: Reads the configuration.
        limit: The time, seconds.
        processes: See `plan`.
        sharded: See `plan`.

    Raises:
        InputError: See `plan`.
    """
    count = launched.count() if processes is None else processes
    whole = answered(prepare(read(())))
    speed, changed = calibrate(whole), dict[str, Any]()
    while True:
        smaller = _shrunk(whole, changed)
        seconds = _seconds(smaller, speed.rates, count)
        step = _step(smaller, seconds)
        if sum(seconds.values()) <= limit or step is None:
            settings = tuple(_written(changed))
            planned = plan(read(settings), processes=processes, sharded=sharded, calibration=speed)
            found = FittedPlan(limit=limit, settings=settings, plan=planned)
            # Prompts that are no longer held out are trained on, so the plan may take a little longer than was counted.
            if found.fits or step is None:
                return found
        changed |= step


def _seconds(prepared: Prepared, rates: Rates, processes: int) -> dict[str, float]:
    """The seconds that each part takes."""
    parts = tokens_by_part(prepared, processes)
    return {name: sum(seconds_of(tokens, rates, processes).values()) for name, tokens in parts.items()}


def _step(prepared: Prepared, seconds: Mapping[str, float]) -> dict[str, Any] | None:
    """A smaller setting of the part that takes most, or of the next where that has none; None where no part has one."""
    for part in sorted(seconds, key=lambda name: -seconds[name]):
        for setting, value in levers(prepared, part)[:1]:
            return {setting: value}
    return None


def _written(changed: Mapping[str, Any]) -> list[str]:
    return [f"{setting}={str(value).lower()}" for setting, value in changed.items()]


def _shrunk(prepared: Prepared, changed: Mapping[str, Any]) -> Prepared:
    """The run with changed settings, on the data that were read already."""
    values = apply_overrides(prepared.config.model_dump(exclude_unset=True), _written(changed))
    config, held_out = SelfPlayConfig.model_validate(values), prepared.held_out
    if held_out is not None:
        held_out = replace(held_out, examples=held_out.examples[: changed.get("data.held_out")])
    return replace(prepared, config=config, phases=phases_of(config), held_out=held_out)
