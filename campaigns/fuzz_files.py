"""Files of data, evaluations and runs for the campaign `fuzz`."""

from __future__ import annotations

import datetime
import decimal
import io
import json
import random
import shutil
import tempfile
from functools import cache
from pathlib import Path
from typing import Any

import pyarrow as pa
import yaml
from hypothesis import strategies as st
from pyarrow import parquet

from fuzz_pieces import ANY_TEXT, KEYS, PLACES, VALUES, as_json, damage, encoded, put
from reports.whole_run import write_run

GOOD_ROWS: list[dict[str, Any]] = [
    {"prompt": "q", "response": "a"},
    {"prompt": "q", "chosen": "a", "rejected": "b"},
    {"prompt": "q", "responses": ["a", "b"], "scores": [1, 2]},
    {"prompt": "q", "responses": ["a", "b"], "pairwise": [[0.5, 1], [0, 0.5]]},
    {"messages": [{"role": "user", "content": "q"}, {"role": "assistant", "content": "a"}]},
    {"conversations": [{"from": "human", "value": "q"}, {"from": "gpt", "value": "a"}]},
    {"instruction": "q", "output": "a", "generator": "m"},
    {"instruction": "q", "output_1": "a", "generator_1": "b", "output_2": "c", "generator_2": "m", "preference": 1.5},
    {"question_id": 1, "category": "math", "turns": ["a", "b"], "reference": ["c", "d"]},
    {"question_id": 1, "model_id": "m", "choices": [{"index": 0, "turns": ["a", "b"]}]},
    {"name": "single-v1", "system_prompt": "", "prompt_template": "{question} {answer}"},
]

ROWS = st.one_of(
    st.builds(put, st.sampled_from(GOOD_ROWS), PLACES, VALUES),
    st.dictionaries(KEYS | ANY_TEXT, VALUES, max_size=5),
    st.sampled_from(GOOD_ROWS),
    VALUES,
)
TABLES = st.lists(ROWS, max_size=4)
LINES = TABLES.map(lambda rows: encoded("\n".join(map(as_json, rows))))
ARRAYS = TABLES.map(lambda rows: encoded(f"[{', '.join(map(as_json, rows))}]"))
CSV = st.one_of(
    st.lists(st.lists(KEYS | ANY_TEXT, min_size=1, max_size=4).map(",".join), max_size=4).map("\n".join).map(encoded),
    st.just(b"prompt,response\nq,a\nr,b\n"),
)
ODD_COLUMNS: list[Any] = [
    pa.array([decimal.Decimal("1.5"), None], pa.decimal128(30, 3)),
    pa.array([2**62, -(2**62)], pa.timestamp("ns")),
    pa.array([2**40, 1], pa.timestamp("s")),
    pa.array([2**62, 1], pa.timestamp("us", tz="Mars/Crater")),
    pa.array([2**62, 1], pa.duration("s")),
    pa.array([1, 2**30], pa.date32()),
    pa.array([1, 2], pa.time64("ns")),
    pa.array([b"\xff", None], pa.binary()),
    pa.array(["a", "b"]).dictionary_encode(),
    pa.array([[("k", "v")], None], pa.map_(pa.string(), pa.string())),
    pa.array([{"role": "user", "content": None}, None], pa.struct([("role", pa.string()), ("content", pa.string())])),
    pa.array([["a"], [None]], pa.list_(pa.string())),
    pa.array(["q", None], pa.large_string()),
    pa.array(["q", "\u202e"]),
    pa.Array.from_buffers(
        pa.string(), 2, [None, pa.py_buffer(b"\0\0\0\0\1\0\0\0\3\0\0\0"), pa.py_buffer(b"q\xff\xfe")]
    ),
    pa.array([float("nan"), 1.0]),
    pa.array([datetime.datetime(1, 1, 1), None]),
    pa.nulls(2),
    pa.array(["q", "r"]),
    pa.array(["a", "b"]),
]


@cache
def parquet_bytes(names: tuple[str, ...], columns: tuple[int, ...]) -> bytes:
    """A Parquet file."""
    buffer = io.BytesIO()
    table = pa.Table.from_arrays([ODD_COLUMNS[column] for column in columns], names=list(names))
    parquet.write_table(table, buffer)
    return buffer.getvalue()


@st.composite
def parquet_files(draw: Any) -> bytes:
    """Parquet with odd types, and with columns of one name."""
    names = draw(
        st.lists(st.sampled_from(["prompt", "response", "messages", "scores", "\x1b[2J"]), min_size=1, max_size=3)
    )
    return parquet_bytes(tuple(names), tuple(draw(st.integers(0, len(ODD_COLUMNS) - 1)) for _ in names))


FILES = st.one_of(
    st.tuples(st.just("jsonl"), LINES),
    st.tuples(st.just("json"), ARRAYS),
    st.tuples(st.just("csv"), CSV),
    st.tuples(st.just("parquet"), parquet_files()),
)


def damaged_file(value: Any, chance: random.Random) -> Any:
    """A file within a tuple, damaged; Parquet is left whole, for a broken one is found broken at its first byte."""
    kind, content = value
    return (kind, content if kind == "parquet" and chance.random() < 0.8 else damage(content, chance))


def read_data(value: tuple[tuple[str, bytes], bool, str], folder: Path) -> None:
    """As a run reads its data."""
    from sparring.data import DataConfig, load

    (ending, content), skips, name = value
    path = folder / f"data.{ending}"
    path.write_bytes(content)
    settings: dict[str, Any] = {"source": str(path), "held_out": 0, "skip_invalid": skips, "format": name}
    load(DataConfig(**settings), 0)


def read_evaluation_input(value: tuple[int, tuple[str, bytes]], folder: Path) -> None:
    """As the commands of `evaluate` read their files."""
    from sparring.evaluation.annotations import read_annotations
    from sparring.evaluation.length_controlled import length_controlled_win_rate
    from sparring.evaluation.mt_bench.answers import read_answers
    from sparring.evaluation.mt_bench.files import read_prompts, read_questions
    from sparring.evaluation.outputs import Outputs
    from sparring.evaluation.win_rate import win_rate

    number, (ending, content) = value
    path = folder / f"annotations.{ending}"
    path.write_bytes(content)
    if number == 0:
        for each in read_annotations(path):
            win_rate(each)
            length_controlled_win_rate(each)
    elif number == 1:
        Outputs.read(path, ["q"])
    else:
        (read_questions, read_prompts, read_answers)[number % 3](path)


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
    """A file of a run, damaged."""
    name = draw(st.sampled_from(JSON_FILES))
    content = a_run()[name]
    if draw(st.booleans()):
        return name, damage(content, random.Random(draw(st.integers(0, 2**32))))
    if name == "metrics.jsonl":
        lines = content.splitlines()
        at = draw(st.integers(0, len(lines) - 1))
        lines[at] = encoded(as_json(put(json.loads(lines[at]), draw(PLACES), draw(VALUES))))
        return name, b"\n".join(lines) + b"\n"
    value = put(yaml.safe_load(content), draw(PLACES), draw(VALUES))
    return name, encoded(as_json(value))


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
    shown = io.StringIO()
    output.out = Terminal(file=shown, soft_wrap=True)
    vars(output)["Terminal"] = lambda **settings: Terminal(file=shown, **settings)
    try:
        summarize(run)
        output.print_report(run, as_json=False)
        output.print_report(run, as_json=True)
    finally:
        (run / name).write_bytes(a_run()[name])
    assert not {"\x1b", "\x07", "\u202e"} & {*shown.getvalue()}
