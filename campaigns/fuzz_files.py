"""Files of data, evaluations and runs for the campaign `fuzz`."""

from __future__ import annotations

import bz2
import csv
import datetime
import decimal
import gzip
import io
import random
from collections.abc import Callable, Sequence
from functools import cache, partial
from pathlib import Path
from typing import Any

import pyarrow as pa
from hypothesis import strategies as st
from pyarrow import parquet

from fuzz_pieces import ANY_TEXT, KEYS, VALUES, as_json, damage, encoded, mostly, spoilt
from tiny import tiny_tokenizer

_ASKED = [{"role": "system", "content": "Be brief."}, {"role": "user", "content": "question #"}]
_SAID = {"role": "assistant", "content": "answer #"}
EXPERTS: list[dict[str, Any]] = [
    {"prompt": "question #", "response": "answer #"},
    {"prompt": "question #", "response": "it is 1", "ground_truth": 1},
    {"prompt": "question #", "completion": "answer #", "system_prompt": "Be brief."},
    {"prompt": _ASKED, "completion": [_SAID]},
    {"messages": [*_ASKED, {**_SAID, "weight": 1}]},
    {"messages": [{"role": "user", "content": [{"type": "text", "text": "question #"}]}, _SAID], "id": 7},
    {"conversations": [{"from": "human", "value": "question #"}, {"from": "gpt", "value": "answer #"}]},
    {"instruction": "question #", "input": "of it", "output": "answer #", "history": [["hello", "good day"]]},
]
COMPARED: list[dict[str, Any]] = [
    {"prompt": "question #", "chosen": "answer #", "rejected": "no answer"},
    {"prompt": _ASKED, "chosen": [_SAID], "rejected": [{"role": "assistant", "content": "no answer"}]},
    {"chosen": [*_ASKED, _SAID], "rejected": [*_ASKED, {"role": "assistant", "content": "no"}], "score_chosen": 0.5},
    {"chosen": "\n\nHuman: question #\n\nAssistant: a", "rejected": "\n\nHuman: question #\n\nAssistant: b"},
    {"prompt": "question #", "responses": ["answer #", "none", "no"], "scores": [1, 2.5, -1]},
    {"prompt": "question #", "responses": ["answer #", "none"], "pairwise": [[0.5, 0.75], [0.25, 0.5]]},
]
ANNOTATED: list[dict[str, Any]] = [
    {"instruction": "question #", "output_1": "none", "generator_1": "b", "output_2": "answer #", "generator_2": "m"}
    | {"preference": preference, "annotator": "judge"}
    for preference in (1.5, 1, 2)
]
OUTPUTS: list[dict[str, Any]] = [{"instruction": "question #", "output": "answer #", "generator": "m"}]
QUESTIONS: list[dict[str, Any]] = [
    {"question_id": "#", "category": "math", "turns": ["question #", "more"], "reference": ["c", "d"]},
    {"question_id": "#", "category": "writing", "turns": ["question #", "more"]},
]
ANSWERS: list[dict[str, Any]] = [
    {"question_id": "#", "model_id": "m", "choices": [{"index": 0, "turns": ["answer #", "more"]}]}
]
JUDGE_PROMPTS: list[dict[str, Any]] = [
    {"name": "single-v1#", "system_prompt": "", "prompt_template": "{question} {answer}"}
]
SHAPES = EXPERTS + COMPARED + ANNOTATED + OUTPUTS + QUESTIONS + ANSWERS + JUDGE_PROMPTS
ODD_ROWS = st.sampled_from(SHAPES) | st.dictionaries(KEYS | ANY_TEXT, VALUES, max_size=5) | VALUES


def numbered(value: Any, number: int) -> Any:
    """The value with a number, the longer the greater it is, in place of every `#` in its texts."""
    if isinstance(value, dict):
        return {key: numbered(item, number) for key, item in value.items()}
    if isinstance(value, list):
        return [numbered(item, number) for item in value]
    return value.replace("#", str(number) * (number + 1)) if isinstance(value, str) else value


@st.composite
def tables(draw: Any, shapes: Sequence[Any]) -> list[Any]:
    """A few rows of one shape, of which mostly one is odd."""
    shape = draw(st.sampled_from(shapes))
    rows = [numbered(shape, number) for number in range(draw(st.integers(2, 4)))]
    for _ in range(draw(st.sampled_from([1, 1, 0, 2]))):
        at = draw(st.integers(0, len(rows) - 1))
        rows[at] = draw(mostly(spoilt(rows[at]), ODD_ROWS))
    return rows


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


def as_csv(rows: list[Any], mark: str) -> bytes:
    """A table of text; what is no text in it is JSON."""
    buffer = io.StringIO()
    names = list(dict.fromkeys(name for row in rows if isinstance(row, dict) for name in row))
    table = [[row.get(name) for name in names] if isinstance(row, dict) else [row] for row in rows]
    cells = [[cell if isinstance(cell, str | None) else as_json(cell) for cell in row] for row in table]
    csv.writer(buffer, delimiter=mark).writerows([names, *cells])
    return encoded(buffer.getvalue())


def as_parquet(rows: list[Any], name: str, odd: pa.Array | None) -> bytes:
    """A Parquet file, where one is given with an odd column of some name, which may be there already."""
    names = list(dict.fromkeys(name for row in rows if isinstance(row, dict) for name in row))
    columns = [as_column([row.get(name) if isinstance(row, dict) else row for row in rows]) for name in names]
    if odd is not None:
        names, columns = [*names, name], [*columns, odd.take(pa.array([each % 2 for each in range(len(rows))]))]
    buffer, written = io.BytesIO(), [each.encode("utf-8", "replace").decode() for each in names]
    parquet.write_table(pa.Table.from_arrays(columns, names=written), buffer)
    return buffer.getvalue()


def as_column(values: list[Any]) -> pa.Array:
    """Values as a column, as JSON where they have no common type, or none that Parquet knows."""
    try:
        column = pa.array(values)
        parquet.write_table(pa.table({"": column}), io.BytesIO())
        return column
    except (pa.ArrowException, ValueError, OverflowError):
        return pa.array([as_json(value) for value in values])


PACKED: dict[str, Callable[[bytes], bytes]] = {
    "gz": partial(gzip.compress, mtime=0),
    "bz2": bz2.compress,
    "zst": lambda content: pa.Codec("zstd").compress(content, asbytes=True),
}


@st.composite
def files(draw: Any, shapes: Sequence[Any]) -> tuple[str, bytes]:
    """A file of some rows: how its name ends, and what it holds."""
    rows, ending = draw(tables(shapes)), draw(st.sampled_from(["jsonl", "json", "csv", "tsv", "parquet"]))
    match ending:
        case "jsonl":
            content = encoded("\n".join(map(as_json, rows)))
        case "json":
            content = encoded(f"[{', '.join(map(as_json, rows))}]")
        case "parquet":
            name = draw(st.sampled_from(sorted(shapes[0])) | KEYS)
            content = as_parquet(rows, name, draw(mostly(st.none(), st.sampled_from(ODD_COLUMNS))))
        case _:
            content = as_csv(rows, "\t" if ending == "tsv" else draw(st.sampled_from(",;\t")))
    packing = draw(mostly(st.none(), st.sampled_from(sorted(PACKED))))
    return (ending, content) if packing is None else (f"{ending}.{packing}", PACKED[packing](content))


def damaged_file(value: Any, chance: random.Random) -> Any:
    """A file within a tuple, damaged; mostly only where it is plain text, for others are broken by any other byte."""
    ending, content = value
    is_text = ending in {"jsonl", "json", "csv", "tsv"}
    return (ending, damage(content, chance) if is_text or chance.random() < 0.2 else content)


_TWO = {"generation": {"samples_per_prompt": 2}}
PLAYED: list[tuple[list[dict[str, Any]], dict[str, Any]]] = [
    (EXPERTS, {}),
    (COMPARED, {"objective": {"name": "dpo"}, "responses": "data"}),
    (EXPERTS + COMPARED, {"objective": {"name": "raft"}, "judge": {"name": "consensus"}} | _TWO),
]
USUAL_SETTINGS = st.sampled_from(
    [{}, {"skip_invalid": True}, {"held_out": 1}, {"limit": 1}, {"chat_template": "none"}, {"max_response_tokens": 9}]
)
ODD_SETTINGS = st.sampled_from(
    [
        {"format": "messages"},
        {"format": "comparison", "columns": {"prompt": "instruction"}},
        {"columns": {"prompt": "question", "response": "answer"}},
        {"columns": {"role": "from", "content": "value"}, "roles": {"human": "assistant"}},
        {"ignore": ["system", "ground_truth", "weight"]},
        {"verifier": "final-number", "experts": 1},
        {"max_prompt_tokens": 30, "overlong_prompt": "error", "max_response_tokens": 5, "overlong_response": "error"},
        {"max_prompt_tokens": 20, "overlong_prompt": "truncate-left", "special_tokens": "tokens"},
        {"held_out": 3, "limit": 2, "skip_invalid": True},
        {"prompts_per_iteration": 1, "template_options": {"a": [1]}, "split": "train"},
    ]
).flatmap(lambda settings: mostly(st.just(settings), spoilt(settings)))


@st.composite
def data_inputs(draw: Any) -> tuple[tuple[str, bytes], dict[str, Any], dict[str, Any]]:
    """A file, what is played on it, and how it is read."""
    shapes, played = draw(st.sampled_from(PLAYED))
    return draw(files(shapes)), played, draw(mostly(USUAL_SETTINGS, ODD_SETTINGS))


@cache
def tokenizer() -> Any:
    """A tokenizer of bytes."""
    return tiny_tokenizer()


def read_data(value: tuple[tuple[str, bytes], dict[str, Any], dict[str, Any]], folder: Path) -> None:
    """As a run reads its data."""
    from sparring import SelfPlayConfig
    from sparring.data import encode, load
    from sparring.selfplay.phases import phases_of, row_needs

    (ending, content), played, settings = value
    path = folder / f"data.{ending}"
    path.write_bytes(content)
    config = SelfPlayConfig.from_mapping(
        {**played, "data": {"source": str(path), "held_out": 0, "max_response_tokens": 64, **settings}}
    )
    data = load(config.data, 0, row_needs(config, phases_of(config)))
    for examples in (data.train, data.held_out):
        encode(examples, tokenizer(), config.data, context_length=128)


READERS = (ANNOTATED, OUTPUTS, QUESTIONS, JUDGE_PROMPTS, ANSWERS)


@st.composite
def evaluation_inputs(draw: Any) -> tuple[int, tuple[str, bytes]]:
    """Which reader of an evaluation's files, and a file."""
    number = draw(st.integers(0, len(READERS) - 1))
    return number, draw(files(READERS[number]))


def read_evaluation_input(value: tuple[int, tuple[str, bytes]], folder: Path) -> None:
    """As the commands of `evaluate` read their files."""
    from sparring.evaluation.annotations import read_annotations
    from sparring.evaluation.length_controlled import length_controlled_win_rate
    from sparring.evaluation.mt_bench.answers import read_answers
    from sparring.evaluation.mt_bench.files import Template, read_prompts, read_questions
    from sparring.evaluation.mt_bench.grading import SINGLE, Grader
    from sparring.evaluation.outputs import Outputs
    from sparring.evaluation.win_rate import win_rate

    number, (ending, content) = value
    path = folder / f"annotations.{ending}"
    path.write_bytes(content)
    match number:
        case 0:
            for each in read_annotations(path):
                win_rate(each)
                length_controlled_win_rate(each)
        case 1:
            Outputs.read(path, ["question 0"])
        case 2:
            templates = {name: Template(name=name, system="", user="{question}") for names in SINGLE for name in names}
            Grader(questions=read_questions(path), templates=templates).check()
        case 3:
            next(iter(read_prompts(path).values())).prompt({"question": "q", "answer": "a"})
        case _:
            read_answers(path)
