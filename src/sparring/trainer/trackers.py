"""Experiment trackers, such as TensorBoard, over a whole run, which is several trainings.

Every tracker that transformers knows by name in `report_to` works as it is; one that keeps files gets its folder here.
"""

from __future__ import annotations

import copy
from collections.abc import Iterable, Mapping
from pathlib import Path
from typing import Any

from transformers import TrainerCallback, TrainerControl, TrainerState, TrainingArguments
from transformers.integrations import TensorBoardCallback, get_reporting_integration_callbacks


class _Onward(TrainerCallback):
    """Counts steps on from where the run's earlier trainings ended, so that curves do not lie upon each other."""

    before: int

    def on_log(self, args: TrainingArguments, state: TrainerState, control: TrainerControl, **kwargs: Any) -> None:
        """Logs at the step of the run, not of this training."""
        state = copy.copy(state)
        state.global_step += self.before
        super().on_log(args, state, control, **kwargs)


def trackers(report_to: Iterable[str], *, before: int, folder: Path) -> list[TrainerCallback]:
    """The callbacks of some trackers.

    Args:
        report_to: Their names, as in `TrainingArguments`.
        before: Steps that the run trained before.
        folder: Where TensorBoard's files go, unless TENSORBOARD_LOGGING_DIR says otherwise.
    """
    callbacks = []
    for kind in get_reporting_integration_callbacks(report_to):
        callback = type(kind.__name__, (_Onward, kind), {"before": before})()
        # Its default is a new folder each time, under that of the checkpoints, which does not stay.
        if isinstance(callback, TensorBoardCallback) and callback.logging_dir is None:
            callback.logging_dir = str(folder)
        callbacks.append(callback)
    return callbacks


def steps_before(events: Iterable[Mapping[str, Any]], labels: Mapping[str, Any]) -> int:
    """Steps in a run's logged events of other trainings than the one whose events carry `labels`."""
    last: dict[tuple[Any, ...], int] = {}
    this = (labels.get("stage"), labels.get("iteration"))
    for event in events:
        stage = (event.get("stage"), event.get("iteration"))
        if "step" in event and stage != this:
            last[stage] = max(event["step"], last.get(stage, 0))
    return sum(last.values())
