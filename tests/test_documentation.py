"""What the documentation tells a reader to write works: configurations, commands and code are taken from its pages."""

from __future__ import annotations

import ast
import doctest
import json
import re
import shlex
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
import typer.main
import yaml
from typer.core import TyperGroup

from sparring.cli.app import app
from sparring.objectives import OBJECTIVES
from sparring.recipes import find, recipes
from sparring.selfplay.config.schema import SelfPlayConfig
from sparring.selfplay.phases import phases_of
from sparring.selfplay.prepared import prepare

ROOT = Path(__file__).parents[1]
DOCS = ROOT / "docs"
PAGES = [ROOT / "README.md", *sorted(DOCS.rglob("*.md"))]
HOW_TO = [page for page in PAGES if page.parent.name == "how-to"]
BLOCK = re.compile(r"^```(\w+)\n(.*?)^```", re.MULTILINE | re.DOTALL)
BLOCKS = {page: BLOCK.findall(page.read_text(encoding="utf-8")) for page in PAGES}

# The files that the pages speak of.
ROWS: dict[str, list[dict[str, Any]]] = {
    "demonstrations": [{"prompt": f"{n} + 1?", "response": f"It is {n + 1}."} for n in range(12)],
    "problems": [{"prompt": f"{n} + 1?", "ground_truth": str(n + 1)} for n in range(12)],
    "prompts": [{"prompt": f"{n} + 1?"} for n in range(12)],
    "preferences": [{"prompt": f"{n} + 1?", "chosen": f"{n + 1}", "rejected": f"{n}"} for n in range(12)],
    "chats": [
        {
            "prompt": [{"role": "user", "content": f"{n} + 1?"}],
            "chosen": [{"role": "assistant", "content": f"{n + 1}"}],
            "rejected": [{"role": "assistant", "content": f"{n}"}],
        }
        for n in range(12)
    ],
    "spin_iter0": [
        {
            side: [{"role": "user", "content": f"{n} + 1?"}, {"role": "assistant", "content": f"{n + shift}"}]
            for side, shift in (("real", 1), ("generated", 0))
        }
        for n in range(12)
    ],
}


def blocks(language: str, pages: list[Path] = PAGES) -> list[Any]:
    """Every block of a language on some pages."""
    return [
        pytest.param(text, id=f"{page.relative_to(ROOT)}-{number}")
        for page in pages
        for number, (found, text) in enumerate(BLOCKS[page])
        if found == language
    ]


def commands() -> Iterator[Any]:
    """Every command line of sparring, with its page."""
    for page, found in BLOCKS.items():
        for text in (text for language, text in found if language in ("console", "bash")):
            for line in text.replace("\\\n", " ").splitlines():
                command = line.removeprefix("$ ")
                if command.startswith("sparring ") and "…" not in command:
                    yield pytest.param(command, id=f"{page.relative_to(ROOT)}: {command[:60]}")


@pytest.fixture(scope="module")
def files(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A folder with the data, modules and templates that the pages speak of."""
    folder = tmp_path_factory.mktemp("pages")
    for name, rows in ROWS.items():
        (folder / f"{name}.jsonl").write_text("\n".join(map(json.dumps, rows)), encoding="utf-8")
    for language, text in (block for found in BLOCKS.values() for block in found):
        if language == "python" and (name := re.match(r'"""(\w+\.py)"""\n', text)):
            (folder / name[1]).write_text(text, encoding="utf-8")
        if language == "jinja":
            (folder / "instruction.jinja").write_text(text, encoding="utf-8")
    return folder


@pytest.fixture
def folder(files: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """That folder, in which Python stands; what is imported from it is forgotten."""
    for module in files.glob("*.py"):
        monkeypatch.delitem(sys.modules, module.stem, raising=False)
    monkeypatch.chdir(files)
    monkeypatch.setattr(sys, "path", [str(files), *sys.path])
    return files


def configuration(folder: Path, text: str, *overrides: str) -> SelfPlayConfig:
    """What a page shows of a configuration, with some data, or what a judge is for, where it leaves them out."""
    shown = yaml.safe_load(text)
    missing = [] if {"source", "sources"} & {*shown.get("data", {})} else ["data.source=arithmetic", "data.limit=12"]
    if "judge" in shown and "objective" not in shown:
        missing += ["objective.name=sppo", "generation.samples_per_prompt=4"]
    (folder / "config.yaml").write_text(text, encoding="utf-8")
    return SelfPlayConfig.from_yaml(folder / "config.yaml", [*missing, *overrides])


@pytest.mark.parametrize("text", blocks("yaml"))
def test_a_configuration_is_read_and_its_components_are_built(text: str, folder: Path) -> None:
    assert phases_of(configuration(folder, text))


@pytest.mark.parametrize("text", blocks("yaml", HOW_TO))
def test_a_configuration_of_a_how_to_passes_the_checks_before_a_run(text: str, folder: Path, tiny_folder: Path) -> None:
    if "name: vllm" in text or "name: reward-model" in text:
        pytest.skip("needs vLLM, or a reward model")
    prepared = prepare(configuration(folder, text, f"model.name={tiny_folder}", "data.max_response_tokens=32"))
    assert all(prepared.prompts(phase, 0) for phase in prepared.phases)


@pytest.mark.parametrize("command", list(commands()))
def test_a_command_is_understood(command: str, folder: Path) -> None:
    words = shlex.split(command.partition(" > ")[0], comments=True)[1:]
    current: Any = typer.main.get_command(app)
    context = current.make_context("sparring", list(words))
    while isinstance(current, TyperGroup) and (given := [*context._protected_args, *context.args]):
        _, current, rest = current.resolve_command(context, given)
        context = current.make_context(current.name, list(rest), parent=context)
    overrides = context.params.get("overrides") or ()
    if context.params.get("config") in recipes() and "DATA" not in overrides:
        assert SelfPlayConfig.from_yaml(find(context.params["config"]), overrides)


@pytest.mark.parametrize("text", blocks("python"))
def test_code_is_python(text: str) -> None:
    ast.parse(text)


@pytest.mark.parametrize("text", blocks("pycon"))
def test_a_session_answers_as_its_page_shows(text: str) -> None:
    session = doctest.DocTestParser().get_doctest(text, {}, "page", None, None)
    assert doctest.DocTestRunner().run(session).failed == 0


@pytest.mark.parametrize("text", [each for each in blocks("python", HOW_TO) if "SelfPlayTrainer(" in each.values[0]])
def test_a_script_with_the_trainer_runs(text: str, folder: Path, tiny_folder: Path) -> None:
    script = re.sub(r'(model|name) ?= ?"[^"/]+/[^"]+"', rf"\1={str(tiny_folder)!r}", text)
    script = script.replace("TrainingArguments(", "TrainingArguments(max_steps=1, use_cpu=True, output_dir=")
    space: dict[str, Any] = {}
    exec(compile(script, "page", "exec"), space)
    assert space["trainer"].state.global_step == 1


@pytest.mark.parametrize("path", sorted((DOCS / "notebooks").glob("*.ipynb")), ids=lambda path: path.stem)
def test_a_notebook_runs(path: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    cells = json.loads(path.read_text(encoding="utf-8"))["cells"]
    code = "\n".join("".join(cell["source"]) for cell in cells if cell["cell_type"] == "code")
    exec(compile(code, path.name, "exec"), {"__name__": "__main__"})


def test_the_readme_leads_to_pages_that_are_there() -> None:
    for path in re.findall(r"\]\((docs/[^)#]+)", (ROOT / "README.md").read_text(encoding="utf-8")):
        assert (ROOT / path).exists(), path


def methods() -> list[Any]:
    """The rows of the table of methods: its cells' names, and what says which response is better."""
    rows = [
        [cell.strip() for cell in line.strip("|").split("|")]
        for line in (DOCS / "concepts.md").read_text(encoding="utf-8").splitlines()
        if re.search(r"\| `[a-z-]+` \| `[a-z-]+` \| (–|`)", line)
    ]
    return [pytest.param([re.findall(r"`([^`]+)`", cell) for cell in row[1:]], row[4], id=row[0]) for row in rows]


def test_every_objective_has_a_row_in_the_table_of_methods() -> None:
    assert {row.values[0][0][0] for row in methods()} == set(OBJECTIVES)


@pytest.mark.parametrize(("names", "better"), methods())
def test_a_row_of_the_table_of_methods_is_a_configuration_and_agrees_with_its_recipe(
    names: list[list[str]], better: str
) -> None:
    (objective,), (opponent,), regularizers, judge, recipe = names
    settings = {
        "data": {"source": "arithmetic", "limit": 8},
        "objective": {"name": objective},
        "opponent": {"name": opponent},
        "regularizers": [{"name": name, "weight": 0.1} for name in regularizers],
        "generation": {"samples_per_prompt": 2},
        "warmup": {},
    }
    if judge:
        settings["judge"] = {"name": judge[0], **({"model": "some/model"} if judge[0] == "reward-model" else {})}
    if better == "the data's preferences":
        settings["responses"] = "data"
    assert phases_of(SelfPlayConfig.from_mapping(settings))
    if recipe:
        shipped = SelfPlayConfig.from_yaml(find(recipe[0]))
        assert (shipped.objective.name, shipped.opponent.name) == (objective, opponent)
        assert [each.name for each in shipped.regularizers] == regularizers
        assert ([] if shipped.judge is None else [shipped.judge.name]) == judge
