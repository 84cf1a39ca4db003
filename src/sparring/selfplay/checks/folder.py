"""Checks that the folder which a run is to be written into is free."""

from __future__ import annotations

import json
import os
from typing import Any

from sparring.errors import InputError
from sparring.files import standing
from sparring.run_directory import RunDirectory
from sparring.run_files import read_manifest
from sparring.selfplay.config.schema import SelfPlayConfig
from sparring.settings import flatten, remove

_ANOTHER = "choose another with output=PATH"
# The most differing settings that are named; with more it is a run of another kind, and a list helps nobody.
_FEW = 3


def make_folder(config: SelfPlayConfig) -> RunDirectory:
    """The run directory, checked to be free, and created if it does not exist.

    Raises:
        InputError: As `check_folder`; or it cannot be created.
    """
    directory = check_folder(config)
    try:
        directory.path.mkdir(parents=True, exist_ok=True)
    except OSError as error:
        raise _unwritable(directory, error.strerror) from error
    return directory


def check_folder(config: SelfPlayConfig) -> RunDirectory:
    """The run directory, checked to hold no run, nor parts of one, which would pass for this one's; creates nothing.

    Raises:
        InputError: It holds some, something in it is a link, or nothing can be written there.
    """
    directory = RunDirectory(config.output)
    directory.refuse_links()
    if directory.is_begun():
        raise _taken(config, directory)
    first = (directory.teacher, directory.base, directory.warmup, directory.iteration(0), directory.control(0))
    parts = [stage.path for stage in first if stage.path.exists()]
    if parts:
        raise InputError(
            f"the folder holds parts of a run ({parts[0].name}) without its configuration",
            where=str(directory.path),
            fix=f"{_ANOTHER}, or remove the folder",
        )
    nearest = standing(directory.path)
    if not nearest.is_dir():
        raise _unwritable(directory, f"{nearest} is a file")
    if not os.access(nearest, os.W_OK | os.X_OK):
        raise _unwritable(directory, f"no right to write into {nearest}")
    return directory


def _unwritable(directory: RunDirectory, why: str | None) -> InputError:
    return InputError(f"the run directory cannot be written ({why})", where=str(directory.path), fix=_ANOTHER)


def _taken(config: SelfPlayConfig, directory: RunDirectory) -> InputError:
    differing = _differing(config, directory)
    if not differing:
        from sparring.selfplay.checks.consent import going_on

        fix = f"continue it with `{going_on(directory)}`"
        return InputError("this run was started before", where=str(directory.path), fix=fix)
    told = ", ".join(differing[:_FEW]) + (f" and {len(differing) - _FEW} more" if len(differing) > _FEW else "")
    problem = f"the folder holds a run with another configuration: {told}"
    return InputError(problem, where=str(directory.path), fix=f"{_ANOTHER}, or remove the folder")


def _differing(config: SelfPlayConfig, directory: RunDirectory) -> list[str]:
    """The settings that decide the result and differ between a configuration and the run that is there.

    Settings that a recipe has yet to choose do not count.
    """
    left_out = ["recipe", *read_manifest(directory.manifest, "elsewhere")["elsewhere"]]
    there = _decisive(SelfPlayConfig.of_run(directory.config).model_dump(mode="json"), left_out)
    here = _decisive(config.model_dump(mode="json", exclude_unset=config.recipe is not None), left_out)
    if config.recipe is None:
        keys = list(dict.fromkeys((*here, *there)))
    else:
        # Of a section without settings, the recipe chooses all.
        keys = [key for key, value in here.items() if value != {}]
    return [
        f"{key} is {_written(there, key)} there and {_written(here, key)} here"
        for key in keys
        if there.get(key) != here.get(key)
    ]


def _decisive(settings: dict[str, Any], left_out: list[str]) -> dict[str, Any]:
    for key in left_out:
        remove(settings, key)
    return flatten(settings)


def _written(settings: dict[str, Any], key: str) -> str:
    """A value as it is written in YAML; null for an absent setting."""
    return json.dumps(settings.get(key), ensure_ascii=False)
