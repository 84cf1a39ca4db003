"""Held-out prompts are apart from their like; several sources are mixed by weight."""

from __future__ import annotations

import json
from collections import Counter
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st
from pydantic import ValidationError

from sparring.data import DataConfig, load
from sparring.data.split import mixed, prompt_key
from sparring.errors import InputError
from sparring.examples import Example


def write(path: Path, prompts: list[str], answer: str = "a") -> str:
    path.write_text("\n".join(json.dumps({"prompt": text, "response": answer}) for text in prompts))
    return str(path)


SAME = [
    "Où est le café ?",
    "Où est le café\u00a0?",
    "OÙ EST  LE CAFÉ ?",
    " où est le café ?\n",
    "Où est le cafe\u0301 ?",
]


@pytest.mark.parametrize("other", [*SAME, "Où est le \u200bcafé ?", "Ｏù est le café ?"])
def test_prompts_are_the_same_but_for_form(other: str) -> None:
    assert prompt_key(Example(index=0, prompt=other)) == prompt_key(Example(index=1, prompt=SAME[0]))


def test_other_words_make_another_prompt() -> None:
    assert prompt_key(Example(index=0, prompt="Where is it?")) != prompt_key(Example(index=0, prompt="Where isit?"))


@pytest.mark.parametrize("seed", range(4))
def test_near_duplicates_are_not_on_both_sides(tmp_path: Path, seed: int) -> None:
    source = write(tmp_path / "rows.jsonl", [f"{form}{n}" for n in range(6) for form in ("Q ", "q  ", "Ｑ ")])
    data = load(DataConfig(source=source, held_out=2), seed)
    train, held_out = ({prompt_key(example) for example in part} for part in (data.train, data.held_out))
    assert (len(train), len(held_out), train & held_out) == (4, 2, set())
    assert (len(data.train), len(data.report.skipped)) == (12, 4)
    assert all("apart from white space, case or Unicode form" in reason for _, reason in data.report.skipped)


def test_near_duplicates_in_a_separate_source(tmp_path: Path) -> None:
    train, other = write(tmp_path / "a.jsonl", ["One?", "Two?"]), write(tmp_path / "b.jsonl", ["two? "])
    with pytest.raises(InputError, match=r"has the prompt of the held-out .*b.jsonl, line 1, apart from white space"):
        load(DataConfig(source=train, held_out_source=other), 0)
    data = load(DataConfig(source=train, held_out_source=other, skip_invalid=True), 0)
    assert [example.prompt for example in (*data.train, *data.held_out)] == ["One?", "two? "]


@pytest.mark.parametrize(("rows", "held_out"), [(3, 0), (5, 1), (59, 11), (160, 32), (400, 32)])
def test_a_fifth_of_small_data_is_held_out(tmp_path: Path, rows: int, held_out: int) -> None:
    source = write(tmp_path / "rows.jsonl", [f"q{n}" for n in range(rows)])
    data = load(DataConfig(source=source), 0)
    assert (len(data.train), len(data.held_out)) == (rows - held_out, held_out)


def test_a_fifth_of_the_prompts_not_of_the_rows(tmp_path: Path) -> None:
    rows = [{"prompt": f"q{n % 5}", "response": f"a{n}"} for n in range(40)]
    path = tmp_path / "rows.jsonl"
    path.write_text("\n".join(map(json.dumps, rows)))
    data = load(DataConfig(source=str(path)), 0)
    assert (len(data.train), len(data.held_out)) == (32, 1)


def some_experts(path: Path, experts: int, known: int) -> str:
    rows = [{"prompt": f"{n}?", "response": f"#### {n}" if n < experts else None} for n in range(experts + known)]
    path.write_text("\n".join(json.dumps(row | {"ground_truth": f"{n}"}) for n, row in enumerate(rows)))
    return str(path)


@pytest.mark.parametrize(
    ("verifier", "held_out", "expected"),
    [
        # A fifth of 260 rows is more than 32; a fifth of 52 experts are ten.
        ("final-number", None, (32, 10)),
        ("final-number", 50, (50, 10)),
        ("final-number", 8, (8, 8)),
        # There are 208 others.
        ("final-number", 230, (230, 22)),
        # Nothing measures a right answer alone.
        (None, None, (10, 10)),
    ],
)
def test_few_experts_are_spared_where_right_answers_can_be_measured(
    tmp_path: Path, verifier: str | None, held_out: int | None, expected: tuple[int, int]
) -> None:
    source = some_experts(tmp_path / "rows.jsonl", 52, 208)
    needs = {"auto": frozenset[str]()}
    data = load(DataConfig(source=source, verifier=verifier, held_out=held_out), 0, needs)
    known = [example.response is not None for example in data.held_out]
    assert (len(known), sum(known)) == expected
    assert known == sorted(known, reverse=True)
    assert len(data.train) == 260 - len(known)
    # As the training examples, so the held-out ones do not depend on the limit.
    assert load(DataConfig(source=source, verifier=verifier, held_out=held_out, limit=9), 0, needs).held_out == (
        data.held_out
    )


def test_rows_of_a_separate_source_that_are_not_held_out_are_counted(tmp_path: Path) -> None:
    source = write(tmp_path / "rows.jsonl", ["One?", "Two?"], "#### 1")
    other = some_experts(tmp_path / "other.jsonl", 13, 51)
    needs = {"auto": frozenset[str]()}
    found = load(DataConfig(source=source, held_out_source=other, verifier="final-number"), 0, needs)
    assert (len(found.held_out), found.report.spare) == (32, 32)
    every = load(DataConfig(source=source, held_out_source=other, verifier="final-number", held_out=64), 0, needs)
    known = [example.response is not None for example in every.held_out]
    assert (len(known), sum(known), every.report.spare) == (64, 13, 0)
    assert known == sorted(known, reverse=True)


def test_a_task_and_a_separate_source_give_what_they_have(tmp_path: Path) -> None:
    assert len(load(DataConfig(source="arithmetic", limit=10), 0).held_out) == 32
    train, other = write(tmp_path / "a.jsonl", ["One?"]), write(tmp_path / "b.jsonl", ["Two?", "Three?"])
    assert len(load(DataConfig(source=train, held_out_source=other), 0).held_out) == 2


def sources(folder: Path, **sizes: int) -> dict[str, Any]:
    return {name: write(folder / f"{name}.jsonl", [f"{name} {n}" for n in range(size)]) for name, size in sizes.items()}


def shares(examples: list[Example]) -> Counter[str]:
    return Counter(example.prompt.split()[0] for example in examples)


def test_several_sources_are_mixed_by_weight(tmp_path: Path) -> None:
    paths = sources(tmp_path, much=60, little=30)
    both = [{"source": paths["much"], "weight": 3}, {"source": paths["little"]}]
    data = load(DataConfig(sources=both, held_out=8), 0)
    assert shares(data.held_out) == {"much": 6, "little": 2}
    assert shares(data.train) == {"much": 54, "little": 18}
    assert shares(data.train[:20]) == {"much": 15, "little": 5}
    assert len({example.index for example in (*data.train, *data.held_out)}) == 80
    limited = load(DataConfig(sources=both, held_out=8, limit=12), 0)
    assert (limited.train, limited.held_out) == (data.train[:12], data.held_out)
    assert DataConfig(sources=both).title == f"{paths['much']}, {paths['little']}"


def test_each_source_has_its_own_shape(tmp_path: Path) -> None:
    chat = tmp_path / "chat.json"
    chat.write_text(json.dumps([{"talk": [{"from": "human", "value": "A?"}, {"from": "gpt", "value": "B."}]}]))
    pairs = tmp_path / "pairs.csv"
    pairs.write_text("question,answer\nC?,D.\n")
    parts = [
        {"source": str(chat), "columns": {"conversations": "talk"}},
        {"source": str(pairs), "columns": {"prompt": "question", "response": "answer"}},
    ]
    data = load(DataConfig(sources=parts, held_out=0), 0)
    assert [(example.prompt, example.response, example.index) for example in data.train] == [
        ("A?", "B.", 0),
        ("C?", "D.", 1),
    ]


def test_a_row_that_two_sources_have_is_repeated(tmp_path: Path) -> None:
    first, second = write(tmp_path / "a.jsonl", ["One?", "Two?"]), write(tmp_path / "b.jsonl", ["Two?", "Three?"])
    with pytest.raises(InputError, match=r"b.jsonl, line 1: repeats .*a.jsonl, line 2"):
        load(DataConfig(sources=[{"source": first}, {"source": second}]), 0)


@pytest.mark.parametrize(
    ("values", "message"),
    [
        ({}, "one of source and sources must be given, got neither"),
        ({"source": "a.jsonl", "sources": [{"source": "b.jsonl"}]}, "must be given, got both"),
        ({"sources": [{"source": "a.jsonl", "weight": 0}]}, "greater than 0"),
        ({"sources": [{"source": "arithmetic"}]}, "the built-in task 'arithmetic' cannot be one of several sources"),
        ({"sources": [{"source": "a.jsonl", "columns": {"promt": "q"}}]}, "no format has a field 'promt'"),
        ({"sources": [{"source": "a.jsonl"}], "split": "test"}, "split is said of one source"),
    ],
)
def test_nonsense_is_rejected_with_the_reason(values: dict[str, Any], message: str) -> None:
    with pytest.raises(ValidationError) as caught:
        DataConfig(**values)
    assert message in str(caught.value)


@given(st.lists(st.tuples(st.integers(1, 30), st.floats(0.1, 10)), min_size=1, max_size=4))
def test_every_prefix_of_a_mixture_has_the_shares(parts: list[tuple[int, float]]) -> None:
    lists = [[Example(index=k, prompt=f"{i} {k}") for k in range(size)] for i, (size, _) in enumerate(parts)]
    weights = [weight for _, weight in parts]
    drawn = mixed(lists, weights)
    assert len({example.prompt for example in drawn}) == len(drawn)
    for end in range(1, len(drawn) + 1):
        counts = shares(drawn[:end])
        for i, weight in enumerate(weights):
            assert abs(counts[str(i)] - end * weight / sum(weights)) <= 1 + len(parts)
    if len(parts) == 1:
        assert drawn == lists[0]


@pytest.mark.parametrize(
    ("rows", "limit", "sizes"), [(10, 10, (8, 2)), (10, 9, (8, 2)), (10, 5, (5, 2)), (4, 4, (4, 0))]
)
def test_what_is_held_out_unasked_is_taken_from_a_limit_that_leaves_too_little(
    tmp_path: Path, rows: int, limit: int, sizes: tuple[int, int]
) -> None:
    source = write(tmp_path / "rows.jsonl", [f"Q{n}" for n in range(rows)])
    data = load(DataConfig(source=source, limit=limit), 0)
    assert (len(data.train), len(data.held_out)) == sizes
    with pytest.raises(InputError, match=rf"{rows + 1} usable rows are needed \(data.limit {rows + 1}\), {rows} are"):
        load(DataConfig(source=source, limit=rows + 1), 0)
    with pytest.raises(InputError, match=f"{rows + 1} usable rows are needed"):
        load(DataConfig(source=source, limit=rows, held_out=1), 0)
