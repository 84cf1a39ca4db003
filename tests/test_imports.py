"""What must stay cheap to import, in a process of its own."""

from __future__ import annotations

import logging
from graphlib import TopologicalSorter
from pathlib import Path

import grimp
import pytest

import sparring
from imported import loaded_by


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


COMMANDS = """
from pathlib import Path
from sparring.cli.init import init_command
from sparring.cli.models import export_command, generate_command
from sparring.errors import InputError
run, there = Path({run!r}), Path({there!r})
asked = dict(system=None, max_tokens=None, seed=0, trust_remote_code=False, as_json=False)
for command in (
    lambda: init_command("data.jsonl", [], there / "mine.yaml", "smollm2-135m"),
    lambda: generate_command(str(run), ["Hi?"], None, {{}}, **asked),
    lambda: export_command(run, there / "new", "best", trust_remote_code=False, as_json=False),
    lambda: export_command(run, there, "base", trust_remote_code=False, as_json=False),
    lambda: export_command(run.with_name("rum"), there / "new", "best", trust_remote_code=False, as_json=False),
):
    try:
        command()
    except InputError as error:
        print(error)
"""


def test_commands_on_a_run_say_what_is_wrong_before_a_heavy_library_is_loaded(tmp_path: Path) -> None:
    run, there = tmp_path / "run", tmp_path / "there"
    run.mkdir()
    there.mkdir()
    (run / "config.yaml").write_text("{}\n")
    (run / "manifest.json").write_text("{}\n")
    (there / "mine.yaml").write_text("{}\n")
    told = loaded_by(COMMANDS.format(run=str(run), there=str(there)))
    # What is loaded would stand on the last line, behind five errors of two or three lines.
    words = " ".join(told)
    assert "mine.yaml: is there already" in words
    assert words.count("the run has not ended, so it has no best policy yet") == 2
    assert "there: the folder is there already" in words
    assert words.endswith(f"fix: did you mean '{run}'?")


def test_public_names_are_there_and_others_are_not() -> None:
    assert sorted(sparring.__all__) == ["Result", "SelfPlayConfig", "SelfPlayTrainer", "resume", "run"]
    assert [getattr(sparring, name).__name__ for name in sparring.__all__] == sparring.__all__
    with pytest.raises(AttributeError, match="'rum'"):
        _ = sparring.rum


def test_a_kernel_that_is_not_used_is_not_warned_of() -> None:
    assert not logging.getLogger("bitsandbytes.backends.cpu.ops").isEnabledFor(logging.WARNING)


def test_no_two_modules_import_each_other_type_hints_included() -> None:
    graph = grimp.build_graph("sparring")
    imports = {module: graph.find_modules_directly_imported_by(module) for module in graph.modules}
    # Raises CycleError, which names the circle.
    assert list(TopologicalSorter(imports).static_order())
