"""How long a run takes: an estimate when the first iteration is about to train, then what the last iteration took."""

from __future__ import annotations

import math
from collections.abc import Iterable, Mapping, Sequence
from typing import Any

from sparring.progress import console, duration
from sparring.selfplay.arguments import epochs_of
from sparring.selfplay.run import Run
from sparring.selfplay.stages.train import is_trained
from sparring.work import processes


def tell_estimate(run: Run) -> None:
    """Says, before the first iteration trains, about how long one takes: by its samples, and by the warm-up's pace.

    Without a warm-up nothing was trained yet, and phases may differ, so nothing is said there.
    """
    warmup, iterations = run.config.warmup, run.config.total_iterations
    if warmup is None or run.config.phases or is_trained(run.directory.iteration(0)):
        return
    taught, _ = warmup.split(run.train)
    epochs = epochs_of(run.config, run.config.training, rows=len(run.prompts(0)), processes=processes.count())
    tokens = sum(len(item.prompt_ids) + len(item.expert_ids) for item in taught)
    took = estimated_seconds(run.directory.events(), epochs=epochs, warmup_tokens=tokens)
    if took:
        all_of_them = f", {iterations} about {duration(iterations * took)}" if iterations > 1 else ""
        console.print(f"estimate, by the warm-up's pace: an iteration takes about {duration(took)}{all_of_them}")


def estimated_seconds(events: Sequence[Mapping[str, Any]], *, epochs: float, warmup_tokens: int) -> float | None:
    """About the seconds of the first iteration, its evaluation among them; None where something is not known.

    What it took before its training, and the evaluation of the warm-up's policy, are in the log. A token that it trains
    on is taken to cost what one of the warm-up did.

    Args:
        events: The run's log up to the first iteration's training.
        epochs: Passes of that training over its tokens.
        warmup_tokens: Tokens of an epoch of the warm-up.
    """
    timed = [event for event in events if event.get("kind") == "time"]
    before = math.fsum(event["seconds"] for event in timed if event.get("iteration") == 0 and event["stage"] != "train")
    warmup = math.fsum(event["seconds"] for event in timed if event["stage"] == "warmup")
    evaluation = next((event["seconds"] for event in reversed(timed) if event.get("policy") == "warmup"), None)
    trained = warmup_tokens * max(
        (event.get("epoch", 0.0) for event in events if event.get("stage") == "warmup"), default=0.0
    )
    tokens = next((event["tokens/epoch"] for event in reversed(events) if event.get("stage") == "tokens"), None)
    if not warmup or not trained or evaluation is None or tokens is None:
        return None
    return float(before + epochs * tokens * warmup / trained + evaluation)


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
