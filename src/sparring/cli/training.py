"""`train`, `resume` and `plan`.

Whatever needs no heavy library is checked before one is imported, since that takes ten seconds.
"""

from __future__ import annotations

import os
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING, Any

from sparring import interruptions
from sparring.cli.output import print_json, print_lines, print_report, print_table
from sparring.data import check_rows
from sparring.errors import InputError, StopError
from sparring.progress import console
from sparring.recipes import find
from sparring.run_directory import RunDirectory
from sparring.selfplay.checks.folder import check_folder
from sparring.selfplay.config.schema import SelfPlayConfig

if TYPE_CHECKING:
    from sparring.planning.plan import Plan
    from sparring.selfplay.result import Result


def read_config(config: str, overrides: Sequence[str], *, skip_invalid: bool) -> SelfPlayConfig:
    """The configuration that a command names, a file or a recipe, with settings changed."""
    more = ["data.skip_invalid=true"] if skip_invalid else []
    return SelfPlayConfig.from_yaml(find(config), [*overrides, *more])


def train_command(config: str, overrides: Sequence[str], *, skip_invalid: bool, as_json: bool) -> None:
    """Plays a run and reports on it."""
    checked = read_config(config, overrides, skip_invalid=skip_invalid)
    if not _is_launched():
        # Processes of one run start one after the other, so the folder may exist already.
        check_folder(checked)
    check_rows(checked.data)
    _tell("reading the data, then loading the model")
    from sparring.selfplay.loop import run

    with _resumable(checked.output):
        _report(run(checked), as_json=as_json)


def resume_command(run: Path, *, trust_remote_code: bool, as_json: bool) -> None:
    """Continues a run and reports on it."""
    directory = RunDirectory(run)
    directory.require()
    ended = directory.result.exists()
    if not ended and not _is_launched():
        _check_resumable(directory, trust_remote_code=trust_remote_code)
    where = (
        "this run has ended" if ended else f"going on {_reached(directory)}: reading the data, then loading the model"
    )
    _tell(where)
    from sparring.selfplay.loop import resume

    with _resumable(run):
        _report(resume(run, trust_remote_code=trust_remote_code), as_json=as_json)


def _check_resumable(directory: RunDirectory, *, trust_remote_code: bool) -> None:
    """Raises InputError where another process plays the run, or it needs consent that was not given."""
    from sparring.selfplay.checks.consent import read_config as read_run

    with directory.held():
        read_run(directory, trust_remote_code=trust_remote_code, resumes=True)


def _reached(directory: RunDirectory) -> str:
    """The point that a run goes on from: a step of an interrupted training, or a trained policy."""
    begun = [directory.warmup, *directory.played(), *directory.controlled()]
    for stage in reversed([stage for stage in begun if not stage.model.exists()]):
        steps = [int(path.name.rpartition("-")[2]) for path in stage.training.glob("checkpoint-*")]
        if steps:
            return f"from step {max(steps)} of {directory.name_of(stage)}"
    last = directory.stages()[-1]
    return "before any training ended" if last == directory.base else f"after {directory.name_of(last)}"


def _is_launched() -> bool:
    return os.environ.get("WORLD_SIZE", "1") != "1"


def _tell(first: str) -> None:
    """Prints a first line, since importing and loading take seconds or minutes before the first progress."""
    if os.environ.get("RANK", "0") == "0":
        console.print(first)


@contextmanager
def _resumable(run: Path) -> Iterator[None]:
    """Within, a signal that asks to end leaves the run so that it can be resumed, and says how."""

    def farewell() -> str:
        directory = RunDirectory(run)
        if directory.manifest.exists():
            from sparring.selfplay.checks.consent import going_on

            return f"nothing finished is lost; go on with `{going_on(directory)}`"
        return "the run had not started; go on with the same command"

    try:
        with interruptions.heeded(farewell):
            yield
    except interruptions.Interruption as asked:
        raise StopError(f"stopped by {asked.signal.name}: {farewell()}", exit_code=asked.exit_code) from asked


def _report(result: Result, *, as_json: bool) -> None:
    from sparring.work import processes

    if processes.is_main():
        print_report(result.directory, as_json=as_json)
    processes.disconnect()


def plan_command(
    config: str,
    overrides: Sequence[str],
    *,
    processes: int | None,
    sharded: bool,
    calibrated: bool,
    within: str | None,
    skip_invalid: bool,
    as_json: bool,
) -> None:
    """Checks a configuration and prints its plan, shrunk to fit into the time `within` if one is given.

    Raises:
        InputError: Something is wrong; or `within` is no time, or is given although no times are to be measured.
    """
    checked = read_config(config, overrides, skip_invalid=skip_invalid)
    if within is not None and not calibrated:
        raise InputError("asks for times, and --no-calibration for none", where="--within", fix="remove one of the two")
    check_rows(checked.data)
    timed = ", then loading the model and timing it here, half a minute or so (--no-calibration does without)"
    _tell(f"reading the data{timed if calibrated else ''}")
    if within is not None:
        from sparring.planning.within import fit, time_of

        skip = ["--skip-invalid"] if skip_invalid else []
        found = fit(
            lambda settings: read_config(config, [*overrides, *settings], skip_invalid=skip_invalid),
            time_of(within),
            processes=processes,
            sharded=sharded,
        )
        command = ["sparring", "train", config, *skip, *overrides]
        _show(found.plan, found.told(command), {"within": found.to_json()}, as_json=as_json)
        return
    from sparring.planning.plan import plan

    _show(plan(checked, processes=processes, sharded=sharded, calibrated=calibrated), [], {}, as_json=as_json)


def _show(plan: Plan, told: Sequence[str], more: dict[str, Any], *, as_json: bool) -> None:
    """Prints a plan and the lines about it."""
    if as_json:
        print_json(plan.to_json() | more)
        return
    print_lines(plan.notes)
    print_table(plan.table())
    print_lines(told)
