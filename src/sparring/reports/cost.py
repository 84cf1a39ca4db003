"""The cost of a run: seconds by stage, and the counts of its judge."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from sparring.reports.curves import Chart, number

STAGES = ("demonstrate", "warmup", "generate", "score", "reward", "judge", "train", "control", "evaluate")
_UNITS = (("hours", 3600), ("minutes", 60), ("seconds", 1))


def seconds_by_stage(events: Sequence[Mapping[str, Any]]) -> dict[str, dict[str, float]]:
    """Seconds by policy and stage, in the order in which they were played."""
    seconds: dict[str, dict[str, float]] = defaultdict(lambda: defaultdict(float))
    for event in events:
        if event.get("kind") == "time":
            seconds[_owner(event)][event["stage"]] += event["seconds"]
    return {owner: dict(stages) for owner, stages in seconds.items()}


def _owner(event: Mapping[str, Any]) -> str:
    """The policy that a stage worked for, or the teacher; an evaluation names it by its folder."""
    if "iteration" in event:
        return f"iteration {event['iteration']}"
    if event["stage"] == "demonstrate":
        return "teacher"
    folder = Path(event.get("policy", "warmup"))
    if folder.parent.name == "control":
        return f"more SFT {int(folder.name)}"
    return {"base": "base", "warmup": "warm-up"}.get(folder.name) or f"iteration {int(folder.name)}"


def stages_of(seconds: Mapping[str, Mapping[str, float]]) -> list[str]:
    """The stages that took time, in the order of `STAGES`."""
    timed = {name for stages in seconds.values() for name in stages}
    return [*(name for name in STAGES if name in timed), *sorted(timed - set(STAGES))]


def cost_chart(seconds: Mapping[str, Mapping[str, float]]) -> Chart | None:
    """Bars of minutes or hours, one for each policy; None if no time was logged."""
    if not seconds:
        return None
    most = max(sum(stages.values()) for stages in seconds.values())
    unit, size = next((unit, size) for unit, size in _UNITS if most > 2 * size or size == 1)
    series = [
        {"name": stage, "x": list(seconds), "y": [number(each.get(stage, 0.0) / size) for each in seconds.values()]}
        for stage in stages_of(seconds)
    ]
    return Chart(title="Time by stage", unit=unit, kind="bars", series=series)


def judge_counts(events: Sequence[Mapping[str, Any]]) -> list[dict[str, Any]]:
    """The judge's counts in each iteration."""
    return [
        {"iteration": event["iteration"]}
        | {name.removeprefix("judge/"): value for name, value in event.items() if name.startswith("judge/")}
        for event in events
        if event.get("stage") == "judge" and event.get("kind") != "time"
    ]
