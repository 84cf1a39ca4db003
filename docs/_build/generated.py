"""Pages that are written when the site is built: every key of a configuration, every command, the notebooks."""

from __future__ import annotations

import dataclasses
import inspect
import json
import re
from collections.abc import Iterator, Mapping, Set
from pathlib import Path
from typing import Any

import typer.main
from mkdocs.config.defaults import MkDocsConfig
from mkdocs.structure.files import File, Files
from typer.cli import get_docs_for_click

from sparring.cli.app import app
from sparring.judges import JUDGES
from sparring.objectives import OBJECTIVES
from sparring.opponents import OPPONENTS
from sparring.registry import Registry
from sparring.regularizers import REGULARIZERS
from sparring.selfplay.config.json_schema import documented, json_schema

CONFIGURATION = """\
---
search:
  boost: 1.5
---
# Configuration

Every key, as the code has it. On the command line a key is its path: `sparring train CONFIG data.limit=64`. `null` is
YAML's nothing. `training` takes the fields of transformers' `TrainingArguments`, `lora` those of peft's `LoraConfig`.
Editors complete and check a file by `sparring schema` ([how](quickstart.md#your-own-data)).

"""
# The sections of a run, with the models that say what is in them.
SECTIONS = {
    "model": "ModelConfig",
    "data": "DataConfig",
    "data.sources": "SourceConfig",
    "data.teacher": "TeacherConfig",
    "warmup": "WarmupConfig",
    "generation": "TransformersConfig",
    "generation, vllm": "VllmConfig",
    "generation, server": "ServerConfig",
    "judge": "JudgeConfig",
    "scorer": "ScorerConfig",
    "evaluation": "EvaluationConfig",
    "stop": "StopConfig",
    "stability": "StabilityConfig",
    "keep": "KeepConfig",
    "workers": "WorkersConfig",
    "phases": "PhaseConfig",
}
# Of two generators only what the section of `transformers` does not have.
MORE_THAN = {"VllmConfig": "TransformersConfig", "ServerConfig": "TransformersConfig"}
# Names and options of components, with the page that tells more of each.
COMPONENTS: dict[str, tuple[Registry[Any], str]] = {
    "objective": (OBJECTIVES, "algorithms/{}.md"),
    "opponent": (OPPONENTS, "opponents.md"),
    "regularizers": (REGULARIZERS, "regularizers.md"),
    "judge": (JUDGES, "judges.md#{}"),
}
# Where a mapping is told of that is no section.
LINKS = {name.removesuffix("s").capitalize(): f"#{name}-by-name" for name in COMPONENTS} | {
    model: f"#{re.sub(r'[^a-z -]', '', title).replace(' ', '-')}" for title, model in SECTIONS.items()
}
WORDS = {"object": "mapping", "boolean": "`true`, `false`", "string": "text", "null": "`null`", "array": "list"}
WORDS |= {"float": "number", "int": "integer", "str": "text", "bool": "`true`, `false`", "None": "`null`"}


def on_files(files: Files, config: MkDocsConfig) -> Files:
    """Adds the pages to those of the folder."""
    files.append(File.generated(config, "configuration.md", content=CONFIGURATION + "\n".join(configuration())))
    files.append(File.generated(config, "commands.md", content=commands()))
    for path in sorted(Path(config.docs_dir, "notebooks").glob("*.ipynb")):
        page = notebook(path.read_text(encoding="utf-8"), path.name)
        files.append(File.generated(config, f"notebooks/{path.stem}.md", content=page))
    return files


def commands() -> str:
    """Every command with its arguments and options, as typer tells them."""
    command = typer.main.get_command(app)
    text = get_docs_for_click(obj=command, ctx=typer.Context(command), name="sparring")
    return text.replace("# `sparring`", "# Commands", 1)


def configuration() -> Iterator[str]:
    """The page's lines: a table for each section, then one for each component."""
    schema = json_schema()
    models = schema["$defs"]
    yield from ["## The run", *_table("", schema)]
    for title, model in SECTIONS.items():
        known = models[MORE_THAN[model]]["properties"] if model in MORE_THAN else {}
        section = title.partition(",")[0]
        yield from [f"## {title}", *_table(f"{section}.", models[model], without={*known} - {"name"})]
    for section, (registry, page) in COMPONENTS.items():
        yield from [f"## {section}, by name", ""]
        for name, build in registry.items():
            yield from [f"### `{section}: {{name: {name}}}`", ""]
            yield from [f"{_first(build)} [More]({page.format(name)}).", "", *_options(build)]


def _table(path: str, model: Mapping[str, Any], without: Set[str] = frozenset()) -> list[str]:
    required = model.get("required", ())
    rows = [
        _row(path + name, _values(each), _default(each, required=name in required), each.get("description", ""))
        for name, each in model["properties"].items()
        if name not in without
    ]
    return ["", "| key | value | default | |", "|---|---|---|---|", *rows, ""]


def _options(build: type) -> list[str]:
    """The options of a component, which are the fields of its dataclass."""
    told = documented(build)
    rows = []
    for field in filter(lambda each: each.init, dataclasses.fields(build)):
        kind = ", or ".join(WORDS.get(each, "mapping") for each in str(field.type).split(" | "))
        made = {} if field.default_factory is dataclasses.MISSING else {"default": field.default_factory()}
        given = made if field.default is dataclasses.MISSING else {"default": field.default}
        rows.append(_row(field.name, kind, _default(given, required=not given), told.get(field.name, "")))
    return ["| option | value | default | |", "|---|---|---|---|", *rows, ""] if rows else []


def _row(name: str, value: str, default: str, description: str) -> str:
    return f"| `{name}` | {value} | {default} | {_cell(description)} |"


def _values(schema: Mapping[str, Any]) -> str:
    """What a key may be, in words."""
    if "$ref" in schema:
        link = LINKS.get(schema["$ref"].rpartition("/")[2])
        return "mapping" if link is None else f"[mapping]({link})"
    if "enum" in schema or "const" in schema:
        return ", ".join(f"`{each}`" for each in schema.get("enum", [schema.get("const")]))
    for several in ("anyOf", "oneOf"):
        if several in schema:
            return ", or ".join(dict.fromkeys(_values(each) for each in schema[several]))
    if schema.get("type") == "array" and "items" in schema:
        return f"list of {_values(schema['items'])}"
    limits = {"minimum": "≥", "exclusiveMinimum": ">", "maximum": "≤", "exclusiveMaximum": "<"}
    bounds = [f"{sign} {schema[name]:g}" for name, sign in limits.items() if name in schema]
    kind = schema.get("type", "any")
    return " ".join([WORDS.get(kind, kind), ", ".join(bounds)]).strip()


def _default(schema: Mapping[str, Any], *, required: bool) -> str:
    if required:
        return "required"
    return f"`{json.dumps(schema['default'])}`" if "default" in schema else ""


def _first(build: type) -> str:
    """The first paragraph of a docstring."""
    return _cell((inspect.getdoc(build) or "").partition("\n\n")[0])


def _cell(text: str) -> str:
    return re.sub(r"\s+", " ", text).replace("|", "\\|").replace("None ", "`null` ")


def notebook(text: str, name: str) -> str:
    """A notebook as a page: its words, its code, and what that printed."""
    page = [f"[This page as a notebook]({name}), to run and change.", ""]
    for cell in json.loads(text)["cells"]:
        source = "".join(cell["source"])
        if cell["cell_type"] == "markdown":
            page += [source, ""]
            continue
        page += ["```python", source, "```", ""]
        said = ["".join(each.get("text") or each["data"]["text/plain"]) for each in cell["outputs"]]
        page += ["```text", "".join(said).strip("\n"), "```", ""] if said else []
    title, *rest = "\n".join(page[2:]).split("\n", 1)
    return "\n".join([title, "", *page[:2], *rest])
