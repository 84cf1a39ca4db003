"""What must stay cheap to import, in a process of its own."""

from __future__ import annotations

import logging
import subprocess
import sys
from graphlib import TopologicalSorter
from pathlib import Path

import grimp
import pytest

import sparring

_HEAVY = ("torch", "transformers", "datasets", "peft", "accelerate")


@pytest.mark.parametrize(
    "module",
    [
        "sparring",
        "sparring.cli",
        "sparring.recipes",
        "sparring.run_directory",
        "sparring.models",
        "sparring.generation",
    ],
)
def test_importing_loads_no_heavy_library(module: str) -> None:
    assert loaded_by(f"import {module}") == []


@pytest.mark.parametrize("module", ["terminal", "plain", "run", "comparison", "watch"])
def test_reports_never_load_torch(module: str) -> None:
    assert not {"torch", "transformers"} & set(loaded_by(f"import sparring.reports.{module}"))


def test_exact_games_load_torch_alone() -> None:
    assert loaded_by("import sparring.games") == ["torch"]


def _refused(command: str, tmp_path: Path) -> list[str]:
    """The heavy libraries that are loaded when a command has said what is wrong."""
    config = tmp_path / "mine.yaml"
    config.write_text(f"output: {tmp_path / 'run'}\ndata: {{source: {tmp_path / 'data.jsonl'}}}\n")
    called = "skip_invalid=False, as_json=False"
    more = "processes=None, sharded=False, calibrated=True, within=None, " if command == "plan" else ""
    return loaded_by(f"""
from sparring.cli.training import {command}_command
from sparring.errors import InputError
try:
    {command}_command({str(config)!r}, [], {more}{called})
except InputError:
    pass
else:
    raise SystemExit(1)
""")


@pytest.mark.parametrize("command", ["plan", "train"])
@pytest.mark.parametrize("row", ['{"prompt": "Hi?", "response": ""}', '{"question": "Hi?"}', '{"prompt": "Hi', None])
def test_a_mistake_in_the_data_is_told_before_a_heavy_library_is_loaded(
    command: str, row: str | None, tmp_path: Path
) -> None:
    if row is not None:
        (tmp_path / "data.jsonl").write_text(f"{row}\n")
    assert _refused(command, tmp_path) == []
    assert not (tmp_path / "run").exists()


@pytest.mark.parametrize("setting", ["iteratons=1", "data.limt=4", "objectve.beta=1", "model.nam=x"])
def test_a_misspelt_setting_is_told_before_a_heavy_library_is_loaded(setting: str) -> None:
    assert (
        loaded_by(f"""
from sparring.errors import InputError
from sparring.selfplay.config.schema import SelfPlayConfig
from sparring.recipes import find
try:
    SelfPlayConfig.from_yaml(find("spin"), [{setting!r}])
except InputError as error:
    assert "did you mean" in str(error), error
""")
        == []
    )


def test_a_folder_that_cannot_be_written_is_told_before_a_heavy_library_is_loaded(tmp_path: Path) -> None:
    (tmp_path / "data.jsonl").write_text('{"prompt": "Hi?", "response": "Hi."}\n')
    (tmp_path / "run").write_text("a file\n")
    assert _refused("train", tmp_path) == []


def test_public_names_are_there_and_others_are_not() -> None:
    assert sorted(sparring.__all__) == ["Result", "SelfPlayConfig", "SelfPlayTrainer", "resume", "run"]
    assert [getattr(sparring, name).__name__ for name in sparring.__all__] == sparring.__all__
    with pytest.raises(AttributeError, match="'rum'"):
        _ = sparring.rum


def test_a_kernel_that_is_not_used_is_not_warned_of() -> None:
    assert not logging.getLogger("bitsandbytes.backends.cpu.ops").isEnabledFor(logging.WARNING)


def loaded_by(code: str) -> list[str]:
    check = f"\nimport sys; print(*[name for name in {_HEAVY} if name in sys.modules])"
    result = subprocess.run([sys.executable, "-c", code + check], capture_output=True, text=True, check=False)
    assert result.returncode == 0, result.stderr
    return result.stdout.split()


def test_no_two_modules_import_each_other_type_hints_included() -> None:
    graph = grimp.build_graph("sparring")
    imports = {module: graph.find_modules_directly_imported_by(module) for module in graph.modules}
    # Raises CycleError, which names the circle.
    assert list(TopologicalSorter(imports).static_order())
