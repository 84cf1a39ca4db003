"""The remaining time of a run: estimated before the first iteration trains, then by the time of the last iteration."""

from __future__ import annotations

import math
from collections.abc import Iterable, Mapping, Sequence
from typing import Any, NamedTuple

from sparring.policies import CONTROL
from sparring.progress import console, duration
from sparring.selfplay.arguments import epochs_of
from sparring.selfplay.run import Run
from sparring.selfplay.stages.control import reading
from sparring.selfplay.stages.train import is_trained
from sparring.work import processes


class Seconds(NamedTuple):
    """The seconds that an iteration takes, and those of its training and of the evaluation of its policy."""

    all: float
    training: float
    evaluation: float


def tell_estimate(run: Run) -> None:
    """Estimates, before the first iteration trains, the time of an iteration from its samples and the warm-up's pace.

    Without a warm-up there is no pace yet, and phases may differ, so then nothing is said.
    """
    warmup, iterations = run.config.warmup, run.config.total_iterations
    if warmup is None or run.config.phases or is_trained(run.directory.iteration(0)):
        return
    taught, _ = warmup.split(run.train)
    tokens = sum(len(item.prompt_ids) + len(item.expert_ids) for item in taught)
    took = estimated_seconds(run.directory.events(), epochs=_epochs(run, 0), warmup_tokens=tokens)
    if took is not None:
        all_of_them = f", {iterations} about {duration(iterations * took.all)}" if iterations > 1 else ""
        text = f"an iteration takes about {duration(took.all)}{all_of_them}{_after(run, 0, took)}"
        console.print(f"estimate, by the warm-up's pace: {text}")


def estimated_seconds(events: Sequence[Mapping[str, Any]], *, epochs: float, warmup_tokens: int) -> Seconds | None:
    """An estimate of the first iteration's seconds; None if a part of it is not known.

    The time before its training, and the evaluation of the warm-up's policy, are in the log. A token of its training is
    assumed to take as long as a token of the warm-up.

    Args:
        events: The run's log up to the first iteration's training.
        epochs: Passes of that training over its tokens.
        warmup_tokens: Tokens in an epoch of the warm-up.
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
    training = epochs * tokens * warmup / trained
    return Seconds(before + training + evaluation, training, evaluation)


def tell_remaining(run: Run, iteration: int) -> None:
    """Says how long the rest of the run takes, unless nothing follows or the next iteration was played already."""
    left = run.config.total_iterations - iteration - 1
    following = iteration + 1 if left else CONTROL
    if not (left or run.config.controls) or is_trained(run.directory.stage(following)):
        return
    took = iteration_seconds(run.directory.events(), iteration, run.directory.name(iteration + 1))
    if took.all:
        more = f"{left} more take" if left > 1 else "the last one takes"
        rest = f"; {more} about {duration(left * took.all)}" if left else ""
        console.print(f"iteration {iteration}: took {duration(took.all)}{rest}{_after(run, iteration, took)}")


def iteration_seconds(events: Iterable[Mapping[str, Any]], iteration: int, policy: str) -> Seconds:
    """The seconds that an iteration took, the evaluation of the policy that it trained included.

    Args:
        events: The run's log; a stage that was interrupted has several entries.
        iteration: The number of the iteration.
        policy: The folder of the policy that it trained.
    """
    timed = [event for event in events if event.get("kind") == "time"]
    own = [event for event in timed if event.get("iteration") == iteration]
    training = math.fsum(event["seconds"] for event in own if event["stage"] == "train")
    evaluation = math.fsum(event["seconds"] for event in timed if event.get("policy") == policy)
    return Seconds(math.fsum(event["seconds"] for event in own) + evaluation, training, evaluation)


def control_seconds(
    events: Sequence[Mapping[str, Any]], took: Seconds, *, iteration: int, epochs: float, share: float
) -> float:
    """An estimate of the control's seconds for one iteration: its computation, at the pace of its training.

    Args:
        events: The run's log.
        took: The seconds of the iteration.
        iteration: The number of the iteration.
        epochs: Passes of its training over its tokens.
        share: The computation of reading a token as a share of that of training on it.
    """
    logged = (event for event in reversed(events) if event.get("stage") == "tokens")
    tokens = next((event for event in logged if event["iteration"] == iteration), None)
    if tokens is None or not tokens["tokens/epoch"]:
        return took.training
    return took.training * (1.0 + share * float(tokens["tokens/read"]) / (epochs * float(tokens["tokens/epoch"])))


def _after(run: Run, iteration: int, took: Seconds) -> str:
    """The time of the control after the play, if every iteration is like this one; empty without a control."""
    if not run.config.controls:
        return ""
    each = control_seconds(
        run.directory.events(), took, iteration=iteration, epochs=_epochs(run, iteration), share=reading(run)
    )
    seconds = run.config.total_iterations * each + run.config.controls * took.evaluation
    return f"; the control after that, about {duration(seconds)}"


def _epochs(run: Run, iteration: int) -> float:
    fields = run.phase(iteration).config.training
    return epochs_of(run.config, fields, rows=len(run.prompts(iteration)), processes=processes.count())
