"""Callbacks of the loop, which show and log the progress of training, and stop it at a checkpoint."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

from transformers import TrainerCallback, TrainerControl, TrainerState, TrainingArguments

from sparring.files import open_to_others
from sparring.progress import Meter, progress

_SHOWN = ("loss", "loss/normalized", "rewards/margins", "divergence_estimate")


class StageCallback(TrainerCallback):
    """Shows a progress bar over the optimizer's steps, with the last loss, and passes every log event on.

    If the last loss is of an earlier step than the bar's, that step is shown beside it.

    Args:
        title: The title of the bar.
        log: A function that gets the step and the values that were logged at it.
    """

    def __init__(self, title: str, log: Callable[[Mapping[str, Any]], None]) -> None:
        self._title, self._log, self._note = title, log, ""
        self._step = self._noted = 0
        self._context: Any = None
        self._meter: Meter | None = None

    def on_train_begin(self, args: TrainingArguments, state: TrainerState, *_: Any, **__: Any) -> None:
        """Opens the bar at the current step, which is not 0 if training is resumed."""
        self._context = progress(self._title, state.max_steps, unit="", before=state.global_step)
        self._meter = self._context.__enter__()
        self._step = state.global_step
        self._show(state.global_step)

    def on_step_end(self, args: TrainingArguments, state: TrainerState, control: TrainerControl, **_: Any) -> None:
        """Advances the bar by one step."""
        # If this step is logged, its values follow at once.
        if not control.should_log:
            self._show(state.global_step)

    def on_log(self, args: TrainingArguments, state: TrainerState, *_: Any, logs: Mapping[str, Any], **__: Any) -> None:
        """Passes the values on, and shows the most telling ones beside the bar."""
        self._log({"step": state.global_step, **logs})
        shown = {name: logs[name] for name in _SHOWN if name in logs}
        if shown:
            self._note = "  ".join(f"{name.split('/')[-1]} {value:.3g}" for name, value in shown.items())
            self._noted = state.global_step
        self._show(state.global_step)

    def _show(self, step: int) -> None:
        if self._meter is not None:
            old = f"  (step {self._noted})" if self._note and self._noted != step else ""
            self._meter.advance(step - self._step, note=self._note + old)
            self._step = step

    def on_save(self, args: TrainingArguments, state: TrainerState, *_: Any, **__: Any) -> None:
        """Gives the checkpoint's files the modes that the user's umask gives, so that others may resume."""
        if state.is_world_process_zero:
            open_to_others(Path(args.output_dir) / f"checkpoint-{state.global_step}")

    def close(self) -> None:
        """Closes the bar, which is still open if training ended in an error."""
        if self._context is not None:
            self._context.__exit__(None, None, None)
            self._context = self._meter = None


class StopCallback(TrainerCallback):
    """Ends training between two steps, after a checkpoint.

    If it is asked for at the last step, training ends in the ordinary way.

    Args:
        is_asked: Called after every step, in every process; all of them must return the same.
        stop: Called when the checkpoint is written; it raises.
    """

    def __init__(self, is_asked: Callable[[], bool], stop: Callable[[], None]) -> None:
        self._is_asked, self._stop = is_asked, stop
        self._stopping = False

    def on_step_end(self, args: TrainingArguments, state: TrainerState, control: TrainerControl, **_: Any) -> None:
        """Asks for a checkpoint of this step."""
        self._stopping = self._is_asked()
        control.should_save |= self._stopping

    def on_step_begin(self, *_: Any, **__: Any) -> None:
        """Stops, before the next step."""
        # Not as soon as the checkpoint is saved, since other callbacks may still work on it.
        if self._stopping:
            self._stop()
