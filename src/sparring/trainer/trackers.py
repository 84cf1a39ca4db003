"""Experiment trackers, such as TensorBoard, that show the several trainings of a run as one.

Every tracker that transformers accepts in `report_to` works as it is; one that writes files gets its folder here.
"""

from __future__ import annotations

import copy
from collections.abc import Iterable, Mapping
from pathlib import Path
from typing import Any

from transformers import TrainerCallback, TrainerControl, TrainerState, TrainingArguments
from transformers.integrations import TensorBoardCallback, get_reporting_integration_callbacks


class _CountsOn(TrainerCallback):
    """Continues the step count of the run's earlier trainings, so that their curves do not overlap."""

    before: int

    def on_log(self, args: TrainingArguments, state: TrainerState, control: TrainerControl, **kwargs: Any) -> None:
        """Logs at the step of the whole run."""
        state = copy.copy(state)
        state.global_step += self.before
        super().on_log(args, state, control, **kwargs)


def check_trackers(report_to: Iterable[str]) -> None:
    """Makes each tracker, which imports its package, so that a missing one is noticed before anything is computed."""
    for tracker in get_reporting_integration_callbacks(report_to):
        tracker()


def trackers(report_to: Iterable[str], *, before: int, folder: Path) -> list[TrainerCallback]:
    """The callbacks of trackers that continue a run's step count.

    Args:
        report_to: The trackers' names, as in `TrainingArguments`.
        before: The number of steps that the run trained before.
        folder: The folder of TensorBoard's files, unless TENSORBOARD_LOGGING_DIR is set.
    """
    callbacks = []
    for kind in get_reporting_integration_callbacks(report_to):
        callback = type(kind.__name__, (_CountsOn, kind), {"before": before})()
        # By default it writes into a new folder beside the checkpoints, which are removed.
        if isinstance(callback, TensorBoardCallback) and callback.logging_dir is None:
            callback.logging_dir = str(folder)
        callbacks.append(callback)
    return callbacks


def tell_held_out(
    args: TrainingArguments, means: Mapping[str, float], *, step: int, folder: Path, model: object
) -> None:
    """Sends held-out estimates to the trackers, each as `eval/<name>`.

    Args:
        args: The arguments, whose `report_to` names the trackers.
        means: The values by name.
        step: The step of the whole run.
        folder: As in `trackers`.
        model: The policy, whose configuration some trackers store.
    """
    # The integrations write `eval_` as `eval/`, where a Trainer's own evaluations are.
    logs = {f"eval_{name}": value for name, value in means.items()}
    state, control = TrainerState(global_step=step), TrainerControl()
    for tracker in trackers(args.report_to, before=0, folder=folder):
        tracker.on_log(args, state, control, model=model, logs=dict(logs))
        # Only TensorBoard keeps a file open; other trackers need not know that a training has ended.
        if isinstance(tracker, TensorBoardCallback):
            tracker.on_train_end(args, state, control)


def steps_before(events: Iterable[Mapping[str, Any]], labels: Mapping[str, Any]) -> int:
    """The number of steps that a run logged in its trainings, except in the one whose events carry `labels`."""
    last: dict[tuple[Any, ...], int] = {}
    this = (labels.get("stage"), labels.get("iteration"))
    for event in events:
        stage = (event.get("stage"), event.get("iteration"))
        if "step" in event and stage != this:
            last[stage] = max(event["step"], last.get(stage, 0))
    return sum(last.values())
