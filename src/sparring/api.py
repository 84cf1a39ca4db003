"""A run from Python, with its report: `from sparring import run`."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

from sparring.errors import InputError
from sparring.reports.run import write_report
from sparring.reports.summary import summarize
from sparring.selfplay import loop
from sparring.selfplay.config.schema import SelfPlayConfig
from sparring.work import processes

if TYPE_CHECKING:
    from sparring.selfplay.result import Result


def run(config: SelfPlayConfig, *, callbacks: Sequence[Any] = ()) -> Result:
    """Plays a whole run and writes its report, `report.html` in the run directory.

    Args:
        config: The configuration.
        callbacks: Callbacks of transformers (`TrainerCallback`), which every training of the run has: the warm-up's and
            each iteration's.

    Raises:
        InputError: The configuration, the data, the model or a callback is wrong; this is found before anything
            expensive.
    """
    _check_config(config)
    _check_callbacks(callbacks)
    return _reported(loop.run(config, callbacks=callbacks))


def resume(path: Path | str, *, trust_remote_code: bool = False, callbacks: Sequence[Any] = ()) -> Result:
    """Continues a run from the last finished shard or checkpoint, and writes its report.

    Args:
        path: The run directory.
        trust_remote_code: Whether code that the run brings along may run, and keys may go to the machines that it
            names; the run may be another person's.
        callbacks: As `run` takes them; they are not kept with the run.

    Raises:
        InputError: The folder is not a run; its configuration, model or data changed; another process plays it; or it
            needs `trust_remote_code`; or something in `callbacks` is no callback.
    """
    _check_callbacks(callbacks)
    return _reported(loop.resume(path, trust_remote_code=trust_remote_code, callbacks=callbacks))


def _check_config(config: object) -> None:
    if not isinstance(config, SelfPlayConfig):
        make = "from_mapping(settings)" if isinstance(config, Mapping) else 'from_yaml("mine.yaml")'
        fix = f"pass SelfPlayConfig.{make}"
        raise InputError(f"must be a SelfPlayConfig, got {type(config).__name__}", where="config", fix=fix)


def _check_callbacks(callbacks: object) -> None:
    """Raises InputError for a callback that is none; otherwise the first training, much later, would fail."""
    from transformers import TrainerCallback

    fix = "pass a list of transformers.TrainerCallback"
    if not isinstance(callbacks, Sequence):
        raise InputError(f"must be a list, got {type(callbacks).__name__}", where="callbacks", fix=fix)
    for number, each in enumerate(callbacks):
        if not (isinstance(each, TrainerCallback) or (isinstance(each, type) and issubclass(each, TrainerCallback))):
            raise InputError(f"is no callback, but {each!r}", where=f"callbacks[{number}]", fix=fix)


def _reported(result: Result) -> Result:
    processes.on_main(lambda: write_report(summarize(result.directory)))
    return result
