"""`train`, `resume` and `plan`."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING

from sparring.cli.output import out, print_json, print_lines, print_report
from sparring.recipes import find
from sparring.selfplay.config.schema import SelfPlayConfig

if TYPE_CHECKING:
    from sparring.selfplay.result import Result


def _config(config: str, overrides: Sequence[str], *, skip_invalid: bool) -> SelfPlayConfig:
    more = ["data.skip_invalid=true"] if skip_invalid else []
    return SelfPlayConfig.from_yaml(find(config), [*overrides, *more])


def train_command(config: str, overrides: Sequence[str], *, skip_invalid: bool, as_json: bool) -> None:
    """Plays a run and reports on it."""
    from sparring.selfplay.loop import run

    _report(run(_config(config, overrides, skip_invalid=skip_invalid)), as_json=as_json)


def resume_command(run: Path, *, trust_remote_code: bool, as_json: bool) -> None:
    """Continues a run and reports on it."""
    from sparring.selfplay.loop import resume

    _report(resume(run, trust_remote_code=trust_remote_code), as_json=as_json)


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
    skip_invalid: bool,
    as_json: bool,
) -> None:
    """Checks a configuration and prints what it would take."""
    from sparring.planning.plan import plan

    checked = _config(config, overrides, skip_invalid=skip_invalid)
    result = plan(checked, processes=processes, sharded=sharded, calibrated=calibrated)
    if as_json:
        print_json(result.to_json())
    else:
        print_lines(result.notes)
        out.print(result.table())
