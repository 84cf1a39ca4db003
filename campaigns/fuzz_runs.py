"""Run directories for the campaign `fuzz`."""

from __future__ import annotations

import io
import json
import shutil
import tempfile
from functools import cache
from pathlib import Path
from typing import Any

import yaml
from hypothesis import strategies as st

from fuzz_pieces import as_json, damaged, encoded, spoilt
from reports.whole_run import write_run
from sparring.digests import with_digest
from sparring.files import write_json
from sparring.json_text import to_json
from sparring.run_directory import RunDirectory
from sparring.run_files import sealed_event

JSON_FILES = (
    "manifest.json",
    "result.json",
    "base/evaluation.json",
    "iterations/001/evaluation.json",
    "metrics.jsonl",
    "config.yaml",
)


@cache
def a_run() -> dict[str, bytes]:
    """A run's files, by their paths in it."""
    folder = Path(tempfile.mkdtemp())
    write_run(folder)
    found = {str(path.relative_to(folder)): path.read_bytes() for path in folder.rglob("*") if path.is_file()}
    shutil.rmtree(folder)
    return found


@st.composite
def runs(draw: Any) -> tuple[str, bytes]:
    """A file of a run that holds something odd under its own digest; one of four is damaged."""
    name = draw(st.sampled_from(JSON_FILES))
    content = a_run()[name]
    if name == "metrics.jsonl":
        lines = content.splitlines()
        at = draw(st.integers(0, len(lines) - 1))
        lines[at] = encoded(to_json(sealed_event(draw(spoilt(unsealed(lines[at]))))))
        content = b"\n".join(lines) + b"\n"
    elif name == "config.yaml":
        content = encoded(as_json(draw(spoilt(yaml.safe_load(content)))))
    else:
        content = encoded(to_json(with_digest(draw(spoilt(unsealed(content))))))
    return name, draw(damaged(content))


def unsealed(content: bytes) -> dict[str, Any]:
    """What a file or a line of a run says, without its digest."""
    return {key: value for key, value in json.loads(content).items() if key != "sha256"}


def read_run(value: tuple[str, bytes], folder: Path) -> None:
    """As `report` and `report --json` do."""
    from sparring.cli import output
    from sparring.reports.summary import summarize
    from sparring.terminal import Terminal

    run = folder / "run"
    if not run.exists():
        for name, content in a_run().items():
            (run / name).parent.mkdir(parents=True, exist_ok=True)
            (run / name).write_bytes(content)
    name, content = value
    (run / name).write_bytes(content)
    if name == "config.yaml":
        manifest = unsealed(a_run()["manifest.json"]) | {"config": RunDirectory(run).config_digest()}
        write_json(run / "manifest.json", manifest)
    shown = io.StringIO()
    output.out = Terminal(file=shown, soft_wrap=True)
    vars(output)["Terminal"] = lambda **settings: Terminal(file=shown, **settings)
    try:
        summarize(run)
        output.print_report(run, as_json=False)
        output.print_report(run, as_json=True)
    finally:
        for each in (name, "manifest.json"):
            (run / each).write_bytes(a_run()[each])
    assert not {"\x1b", "\x07", "\u202e"} & {*shown.getvalue()}
