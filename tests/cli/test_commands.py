"""The commands that say what there is: the version, the recipes, the schema; and what a shell completes."""

from __future__ import annotations

import importlib.metadata
import json
from collections.abc import Callable
from pathlib import Path

import pytest
from typer.testing import CliRunner

from sparring.cli.app import app
from sparring.cli.completion import configurations, recipe_names
from sparring.recipes import find, recipes
from sparring.selfplay.config.json_schema import json_schema

Sparring = Callable[..., tuple[object, str]]


def test_the_version(sparring: Sparring) -> None:
    assert sparring("--version") == (0, f"{importlib.metadata.version('sparring')}\n")


def test_a_recipe_is_shown_as_it_is(sparring: Sparring) -> None:
    assert sparring("recipes", "show", "spin") == (0, find("spin").read_text(encoding="utf-8"))
    code, told = sparring("recipes", "show", "spn")
    assert (code, told) == (2, "sparring: spn: no recipe of that name\n  fix: did you mean 'spin'?\n")
    for written in ("spin", "spn"):
        code, told = sparring("recipes", written)
        problem = f"sparring: {written}: is no command of `sparring recipes`"
        assert (code, told) == (2, f"{problem}\n  fix: write sparring recipes show spin\n")
    assert "fix: write sparring recipes show NAME, with a NAME of sparring recipes" in sparring("recipes", "xyz")[1]
    code, told = sparring("recipes")
    assert code == 0
    assert [line.split()[0] for line in told.splitlines()] == list(recipes())


def test_the_schema_is_printed(sparring: Sparring) -> None:
    code, told = sparring("schema")
    assert (code, json.loads(told)) == (0, json_schema())


def test_a_configuration_is_completed_to_recipes_files_and_folders(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    (tmp_path / "spin-mine.yaml").touch()
    (tmp_path / "spin.txt").touch()
    (tmp_path / "spins").mkdir()
    (tmp_path / "spins" / "other.yml").touch()
    names = [name for name in recipes() if name.startswith("spin")]
    assert recipe_names("spin") == names
    assert configurations("spin") == [*names, "spin-mine.yaml", "spins/"]
    assert configurations("spins/") == ["spins/other.yml"]
    assert configurations("nowhere/") == []


def test_a_shell_asks_for_completions() -> None:
    asked = {"_SPARRING_COMPLETE": "complete_bash", "COMP_WORDS": "sparring train quick", "COMP_CWORD": "2"}
    assert CliRunner().invoke(app, [], prog_name="sparring", env=asked).stdout.split() == ["quickstart"]
