"""A judge from the command line: its name, and settings as KEY=VALUE."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Annotated, Any

import typer

JudgeName = Annotated[str, typer.Option("--judge", help="Who decides: reward-model, pairwise, llm or verifier.")]
JudgeSettings = Annotated[
    list[str] | None, typer.Argument(metavar="[KEY=VALUE]...", help="The judge's settings, as in a configuration.")
]


def judge(name: str, settings: Sequence[str]) -> Any:
    """The settings of a judge.

    Raises:
        InputError: The name or a setting is unknown or wrong.
    """
    from sparring.judges import JUDGES
    from sparring.registry import build
    from sparring.selfplay.config.yaml import apply_overrides

    return build(JUDGES, "judge", name, apply_overrides({}, settings))
