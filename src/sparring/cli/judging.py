"""A judge from the command line: its name, and settings as KEY=VALUE."""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING, Annotated

import typer

if TYPE_CHECKING:
    from sparring.judges import JudgeSettings

JudgeName = Annotated[str, typer.Option("--judge", help="Who decides: a judge's name, as in a configuration.")]
JudgeOptions = Annotated[
    list[str] | None, typer.Argument(metavar="[KEY=VALUE]...", help="The judge's settings, as in a configuration.")
]


def judge(name: str, settings: Sequence[str]) -> JudgeSettings:
    """The settings of a judge.

    Raises:
        InputError: The name or a setting is unknown or wrong.
    """
    from sparring.judges import JUDGES
    from sparring.registry import build
    from sparring.selfplay.config.yaml import apply_overrides

    return build(JUDGES, "judge", name, apply_overrides({}, settings))
