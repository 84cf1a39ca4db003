"""Odd columns and hostile chat templates: told in words, in time."""

from __future__ import annotations

import time
from contextlib import suppress
from pathlib import Path

import pyarrow as pa
import pytest
from pyarrow import parquet

from sparring.data import DataConfig, load, template
from sparring.data.template import PromptTemplate
from sparring.errors import InputError
from sparring.examples import Example
from tiny import tiny_tokenizer

EXAMPLE = Example(index=0, where="row 1", prompt="q", response="a", messages=({"role": "user", "content": "q"},))


def written(folder: Path, *columns: pa.Array, names: tuple[str, ...] = ("prompt", "response")) -> DataConfig:
    path = folder / "data.parquet"
    parquet.write_table(pa.Table.from_arrays(list(columns), names=list(names)), path)
    return DataConfig(source=str(path), held_out=0)


@pytest.mark.parametrize(
    "odd",
    [
        pa.array([2**40, 1], pa.timestamp("s")),
        pa.array([2**62, 1], pa.timestamp("us", tz="Mars/Crater")),
        pa.array([2**62, 1], pa.duration("s")),
    ],
    ids=["a year of five digits", "a time zone that is none", "a duration of ages"],
)
def test_a_value_that_python_has_not_is_named_with_its_row(tmp_path: Path, odd: pa.Array) -> None:
    config = written(tmp_path, pa.array(["q", "r"]), odd)
    with pytest.raises(InputError, match=r"row 1, field 'response': holds a value that cannot be read"):
        load(config, 0)


def test_columns_of_one_name(tmp_path: Path) -> None:
    config = written(tmp_path, *[pa.array(["q"])] * 3, names=("prompt", "response", "prompt"))
    with pytest.raises(InputError, match="two columns are named 'prompt'"):
        load(config, 0)


@pytest.mark.parametrize("score", ["1" + "0" * 400, "-1" + "0" * 400, "1e400", "NaN", "true", '"1"'])
def test_scores_that_are_no_numbers(tmp_path: Path, score: str) -> None:
    path = tmp_path / "data.jsonl"
    path.write_text(f'{{"prompt": "q", "responses": ["a", "b"], "scores": [{score}, 1]}}')
    with pytest.raises(InputError, match=r"line 1, field 'scores\[0\]': must be a number, got"):
        load(DataConfig(source=str(path), held_out=0), 0, {"dpo": frozenset({"comparison"})})


@pytest.mark.parametrize(
    ("text", "problem"),
    [
        ("{% for i in range(9999) %}{% for j in range(99999) %}{% endfor %}{% endfor %}", "does not end within 0.3 s"),
        ("{{ 9 ** 9 ** 9 ** 9 }}", "raises a number to a power"),
        ("{{ 10 ** 5010 ** 5000 }}", "raises a number to a power"),
        ("{{ 'a' * 9999999999 }}", "holds a number above 1,000,000"),
        ("{{ ['Hi', 'Ho'] | random }}{{ messages[0]['content'] }}", "it draws at random"),
        ("{{ lipsum(1) }}", "it draws at random"),
        ("{% for i in range(999) %}{{ 'aaaaaaaaaa' * 999 }}{% endfor %}", "it writes 9,980,010 characters"),
        ("{{ messages[0]['content'] }}{{ '\\ud800' }}", "it writes half a character"),
        ("{% macro m() %}{{ m() }}{% endmacro %}{{ m() }}", "RecursionError"),
        ("{{ " + "(" * 3000, "Error"),
    ],
)
def test_a_template_that_never_ends_or_writes_what_is_no_text(
    text: str, problem: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(template, "_SECONDS", 0.3)
    chosen = PromptTemplate(tokenizer=tiny_tokenizer(), chat=True, jinja=text)
    start = time.perf_counter()
    with pytest.raises(InputError, match=problem):
        chosen.prompt(EXAMPLE)
    # To look at a template is no way around it.
    with suppress(InputError):
        chosen.unset_variables()
    assert time.perf_counter() - start < 10.0
