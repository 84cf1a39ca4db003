"""What a command asks of the judge that it is given, before anything is loaded."""

from __future__ import annotations

from pathlib import Path

import pytest

from sparring.cli.evaluate.judge import judge
from sparring.cli.evaluate.mt_bench import mt_bench
from sparring.errors import InputError
from sparring.files import write_json_lines


@pytest.fixture
def questions(tmp_path: Path) -> Path:
    path = tmp_path / "question.jsonl"
    write_json_lines(path, [{"question_id": 1, "category": "writing", "turns": ["Write.", "Again."]}])
    return path


@pytest.mark.parametrize(
    ("name", "settings", "where", "problem"),
    [
        ("expert", [], "--judge expert", "never prefers one model's answer to another's"),
        ("verifier", [], "--judge", "compares with right answers"),
        ("reward-model", ["model=/no/such/place"], "judge.model", "no model folder at '/no/such/place'"),
        ("verifer", [], "judge.name", "unknown judge 'verifer'"),
    ],
)
def test_judged_pairs_need_a_judge_of_models(
    tmp_path: Path, name: str, settings: list[str], where: str, problem: str
) -> None:
    with pytest.raises(InputError) as caught:
        judge("a", "b", tmp_path / "to.json", settings, judge=name, instructions=tmp_path / "none.jsonl")
    assert caught.value.where == where
    assert problem in caught.value.problem


@pytest.mark.parametrize(
    ("name", "settings", "where", "problem", "fix"),
    [
        ("pairwise", ["model=m"], "--judge", "the judge pairwise writes no judgments to read", "take llm"),
        ("llm", ["model=m", "template={here}"], "template", "MT-Bench has its own prompts", "give them with --prompts"),
    ],
)
def test_mt_bench_needs_a_judge_that_writes(
    questions: Path, tiny_folder: Path, name: str, settings: list[str], where: str, problem: str, fix: str
) -> None:
    template = questions.with_name("template.txt")
    template.write_text("{prompt} {first} {second}", encoding="utf-8")
    given = [setting.format(here=template) for setting in settings]
    with pytest.raises(InputError) as caught:
        mt_bench(str(tiny_folder), questions, given, name, output=questions.parent / "kept")
    assert (caught.value.where, caught.value.problem, caught.value.fix) == (where, problem, fix)
