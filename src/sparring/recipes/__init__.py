"""Vetted configurations, by name: the YAML files beside this module, each with a first line that says what it is."""

from __future__ import annotations

from pathlib import Path

from sparring.errors import InputError, did_you_mean, nearest
from sparring.inputs import kind

_FOLDER = Path(__file__).parent


def recipes() -> dict[str, str]:
    """Name and one-line description of every recipe."""
    return {path.stem: _description(path) for path in sorted(_FOLDER.glob("*.yaml"))}


def text(name: str) -> str:
    """The file of a recipe.

    Raises:
        InputError: There is none of that name.
    """
    if name not in recipes():
        raise InputError("no recipe of that name", where=name, fix=did_you_mean(name, recipes()))
    return (_FOLDER / f"{name}.yaml").read_text(encoding="utf-8")


def find(config: str) -> Path:
    """The file that a command-line CONFIG names: a path, or a recipe.

    Raises:
        InputError: It is neither.
    """
    path = Path(config)
    if kind(path) != "nothing":
        return path
    recipe = _FOLDER / f"{config}.yaml"
    if "/" not in config and kind(recipe) == "file":
        return recipe
    there = {str(each) for each in path.parent.glob("*.y*ml")}
    near = nearest(config, sorted({*there, *recipes()}))
    fix = f"did you mean '{near}', which is there?" if near in there else did_you_mean(config, recipes())
    raise InputError("no such file, and no recipe of that name", where=config, fix=fix)


def _description(path: Path) -> str:
    return path.read_text(encoding="utf-8").splitlines()[0].removeprefix("#").strip()
