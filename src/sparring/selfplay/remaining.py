"""How long the rest of a run takes, by what its last iteration took."""

from __future__ import annotations

import math
from collections.abc import Iterable, Mapping
from typing import Any

from sparring.progress import console, duration
from sparring.selfplay.run import Run
from sparring.selfplay.stages.train import is_trained


def tell_remaining(run: Run, iteration: int) -> None:
    """Says how long the iterations after this one take, unless the next one was played before, or none is left."""
    left = run.config.total_iterations - iteration - 1
    if left == 0 or is_trained(run.directory.iteration(iteration + 1)):
        return
    took = iteration_seconds(run.directory.events(), iteration, run.directory.name(iteration + 1))
    if took:
        more = f"{left} more take" if left > 1 else "the last one takes"
        console.print(f"iteration {iteration}: took {duration(took)}; {more} about {duration(left * took)}")


def iteration_seconds(events: Iterable[Mapping[str, Any]], iteration: int, policy: str) -> float:
    """The seconds of an iteration's stages, the evaluation of the policy that it trained among them.

    Args:
        events: The run's log; a stage that was interrupted has several entries.
        iteration: Its number.
        policy: The folder of the policy that it trained.
    """
    mine = [event for event in events if event.get("kind") == "time"]
    return math.fsum(
        event["seconds"] for event in mine if event.get("iteration") == iteration or event.get("policy") == policy
    )
