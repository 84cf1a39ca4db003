"""MT-Bench: files, two turns, prompts of the judge, what is made of its judgments."""

from __future__ import annotations

import json
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from evaluation.mt_bench_files import PROMPTS, QUESTIONS, REFERENCES, answers, write
from judges.server import ChatServer, serving, status
from sparring.data import PromptTemplate
from sparring.errors import InputError
from sparring.evaluation import LoadedModel
from sparring.evaluation.mt_bench import (
    TEMPERATURES,
    Grade,
    Grader,
    Score,
    answer_questions,
    read_answers,
    read_prompts,
    read_questions,
    read_rating,
    read_winner,
    summarize,
)
from sparring.generation.transformers import TransformersGenerator
from sparring.judges import JUDGES
from sparring.judges.correspondence import Correspondence, Correspondent
from tiny import tiny_model, tiny_tokenizer


@pytest.fixture
def files(tmp_path: Path) -> dict[str, Path]:
    return {
        "questions": write(tmp_path / "question.jsonl", QUESTIONS),
        "prompts": write(tmp_path / "judge_prompts.jsonl", PROMPTS),
        "references": write(tmp_path / "reference.jsonl", REFERENCES),
        "mine": write(tmp_path / "mine.jsonl", answers("mine", "m")),
        "other": write(tmp_path / "other.jsonl", answers("other", "o")),
    }


def grader(files: dict[str, Path], *, compared: bool = False) -> Grader:
    return Grader(
        questions=read_questions(files["questions"]),
        templates=read_prompts(files["prompts"]),
        references=read_answers(files["references"]),
        baseline=read_answers(files["other"]) if compared else None,
    )


def connect(url: str, folder: Path) -> Correspondence:
    settings = JUDGES["llm"](model="judge", base_url=url, api_key_env=None, concurrency=1, patience=5.0)
    assert isinstance(settings, Correspondent)
    return settings.connect(folder)


@pytest.fixture
def server() -> Iterator[ChatServer]:
    with serving(lambda prompt: f"I think [[3]], no, [[{5 + len(prompt) % 3}]]") as running:
        yield running


ASKED = "Rate the answer on a scale of 1 to 10 in brackets.\nFor example, a poor one is: Rating: [[5]]"


@pytest.mark.parametrize(
    ("text", "rating"),
    [
        ("Rating: [[7]]", 7.0),
        ("[[6.5]]", 6.5),
        ("At first [[3]], but [[9]].", 9.0),
        ("[[11]]", None),
        ("[[0]]", None),
        ("[7]", None),
        ("Rating: 7", None),
        ("[[rating]]", None),
        ("<think>Perhaps [[9]]</think>It is [[4]].", 4.0),
        ("<think>Perhaps [[9]], or", None),
        ("Perhaps [[9]]</think>", None),
        ('strictly following this format: "[[rating]]", for example: "Rating: [[5]]".', None),
        (f"{ASKED}\nRating: [[2]]", 2.0),
        (ASKED, None),
    ],
)
def test_ratings_are_read(text: str, rating: float | None) -> None:
    assert read_rating(text, ASKED) == rating


@pytest.mark.parametrize("text", ["[[" + "1" * 300_000, "[[1" * 100_000, "[[" + "1" * 300_000 + ".]]", "[[1." * 75_000])
def test_reading_a_rating_is_linear_in_its_length(text: str) -> None:
    start = time.perf_counter()
    assert read_rating(text, ASKED) is None
    assert read_winner(text, ASKED) is None
    assert time.perf_counter() - start < 2.0


@pytest.mark.parametrize(
    ("text", "value"),
    [
        ("[[A]]", 1.0),
        ("so [[B]]", 0.0),
        ("[[C]]", 0.5),
        ("not [[A]]: [[B]]", 0.0),
        ("A", None),
        ("<think>[[A]]", None),
        ("[THINK][[A]][/THINK][[B]]", 0.0),
        ('"[[A]]" if assistant A is better, "[[B]]" if B is, "[[C]]" for a tie', None),
    ],
)
def test_winners_are_read(text: str, value: float | None) -> None:
    assert read_winner(text, ASKED) == value


class Recorder:
    """A model that keeps the conversations that it was asked to continue."""

    def __init__(self, loaded: LoadedModel) -> None:
        self.loaded, self.loads = loaded, 0

    def __call__(self) -> LoadedModel:
        self.loads += 1
        return self.loaded


@pytest.fixture
def tiny() -> LoadedModel:
    tokenizer = tiny_tokenizer()
    return LoadedModel(model=tiny_model(), tokenizer=tokenizer, template=PromptTemplate.choose(tokenizer, "auto"))


def test_the_first_answer_stands_in_the_second_conversation(
    files: dict[str, Path], tiny: LoadedModel, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    asked: list[tuple[float, str]] = []
    sample = TransformersGenerator.sample

    def recorded(self: Any, batch: Any, *, seed: int) -> Any:
        config = self._config
        heat = 0.0 if config.top_k == 1 else config.temperature
        asked.extend((heat, tiny.tokenizer.decode(each.prompt_ids, skip_special_tokens=False)) for each in batch)
        return sample(self, batch, seed=seed)

    monkeypatch.setattr(TransformersGenerator, "sample", recorded)
    questions, load = read_questions(files["questions"]), Recorder(tiny)
    path = answer_questions(load, questions, name="tiny", max_tokens=6, seed=0, folder=tmp_path / "kept")
    given = read_answers(path)
    assert given.model == "tiny"
    assert list(given.turns) == [1, 2, 3, 4]
    for question in questions:
        first, _ = given.turns[question.id]
        begins = f"<|im_start|>user\n{question.turns[0]}<|im_end|>\n<|im_start|>assistant\n"
        follows = f"{begins}{first}<|im_end|>\n<|im_start|>user\n{question.turns[1]}<|im_end|>\n<|im_start|>assistant\n"
        temperature = TEMPERATURES[question.category]
        turns = [text for heat, text in asked if heat == temperature and text in {begins, follows}]
        assert turns == [begins, follows]
    assert len(asked) == 2 * len(questions)
    (row, *_) = [json.loads(line) for line in path.read_text(encoding="utf-8").splitlines()]
    assert set(row) == {"question_id", "answer_id", "model_id", "choices", "tstamp"}
    # The same questions again are read; another limit is another file.
    assert answer_questions(load, questions, name="tiny", max_tokens=6, seed=0, folder=tmp_path / "kept") == path
    assert load.loads == 1
    assert answer_questions(load, questions, name="tiny", max_tokens=5, seed=0, folder=tmp_path / "kept") != path


def test_answers_are_reproducible(files: dict[str, Path], tiny: LoadedModel, tmp_path: Path) -> None:
    questions = read_questions(files["questions"])
    texts = [
        read_answers(
            answer_questions(lambda: tiny, questions, name="t", max_tokens=3, seed=seed, folder=tmp_path / str(number))
        ).turns
        for number, seed in enumerate((1, 1, 2))
    ]
    assert texts[0] == texts[1]
    assert texts[0][1] != texts[2][1], "writing is sampled"
    assert texts[0][2] == texts[2][2], "math is greedy"


def test_grades_of_single_answers(files: dict[str, Path], server: ChatServer, tmp_path: Path) -> None:
    asking, mine = grader(files), read_answers(files["mine"])
    asking.check()
    grades, said = asking.grade(mine, connect(server.url, tmp_path / "kept"))
    shown = {body["messages"][0]["content"]: [] for body in server.requests}
    for body in server.requests:
        assert [message["role"] for message in body["messages"]] == ["system", "user"]
        assert (body["temperature"], body["model"]) == (0.0, "judge")
        shown[body["messages"][0]["content"]].append(body["messages"][1]["content"])
    assert shown["You are single-v1."] == ["Write a line about rain. || m1a", "Why is {sky} blue? || m4a"]
    assert shown["You are single-math-v1."] == ["2 + 2? (right: 4) || m2a", "3 + 3? (right: 6) || m3a"]
    assert "3 + 3? | Half that? (right: 6 | 3) || m3a | m3b" in shown["You are single-math-v1-multi-turn."]
    prompts = [row.row["user_prompt"] for row in grades]
    assert [grade.value for grade in grades] == [5 + len(prompt) % 3 for prompt in prompts]
    assert [(grade.question, grade.turn) for grade in grades] == [(q, t) for q in (1, 2, 3, 4) for t in (1, 2)]
    assert grades[2].row["judge"] == ["judge", "single-math-v1"]
    assert len(said) == 8
    # Nothing is paid twice.
    again, _ = asking.grade(mine, connect(server.url, tmp_path / "kept"))
    assert [grade.value for grade in again] == [grade.value for grade in grades]
    assert len(server.requests) == 8


def test_what_cannot_be_read_is_counted(files: dict[str, Path], tmp_path: Path) -> None:
    with serving(lambda prompt: "[[8]]" if "m1" in prompt else "I would rather not.") as server:
        server.faults += [None, None, None, status(400, "too long")]
        grades, _ = grader(files).grade(read_answers(files["mine"]), connect(server.url, tmp_path))
    scores = summarize(read_questions(files["questions"]), grades)
    assert (scores["all"].n, scores["all"].unparsable, scores["all"].refused) == (2, 5, 1)
    assert scores["all"].mean == 8.0
    assert scores["all"].standard_error is None
    assert scores["math"] == Score(mean=None, standard_error=None, interval=None, n=0, unparsable=3, refused=1)
    assert [grade.row["score"] for grade in grades] == [8.0, 8.0, -1, -1, -1, -1, -1, -1]


@pytest.mark.parametrize(
    ("answer", "value", "unparsable"),
    [
        # The model's answers begin with m; who stands where is in the prompt.
        (lambda prompt: "[[A]]" if "A: m" in prompt else "[[B]]", 1.0, 0),
        (lambda prompt: "[[B]]" if "A: m" in prompt else "[[A]]", 0.0, 0),
        (lambda _: "[[A]]", 0.5, 0),
        (lambda _: "[[C]]", 0.5, 0),
        (lambda prompt: "[[A]]" if "A: m" in prompt else "[[C]]", 0.5, 0),
        (lambda prompt: "[[A]]" if "A: m" in prompt else "who knows", None, 8),
    ],
)
def test_comparisons_in_both_orders(files: dict[str, Path], tmp_path: Path, answer, value, unparsable) -> None:
    with serving(answer) as server:
        grades, _ = grader(files, compared=True).grade(read_answers(files["mine"]), connect(server.url, tmp_path))
        assert len(server.requests) == 16
    assert {grade.value for grade in grades} == {value}
    assert sum(grade.unparsable for grade in grades) == unparsable
    row = grades[0].row
    assert (row["model_1"], row["model_2"]) == ("mine", "other")
    if value == 1.0:
        assert (row["g1_winner"], row["g2_winner"]) == ("model_1", "model_1")


def test_what_is_missing_is_said_first(files: dict[str, Path], tmp_path: Path) -> None:
    with pytest.raises(InputError, match=r"question 3 \(math\) has no right answers"):
        Grader(questions=read_questions(files["questions"]), templates=read_prompts(files["prompts"])).check()
    write(files["prompts"], PROMPTS[:2])
    with pytest.raises(InputError, match="'single-math-v1' is missing"):
        grader(files).check()
    write(files["prompts"], PROMPTS)
    write(files["other"], answers("other", "o")[:3])
    with pytest.raises(InputError, match="'other' has no answers to 1 questions, the first is 4"):
        grader(files, compared=True).check()


@pytest.mark.parametrize(
    ("row", "message"),
    [
        ({"category": "math", "turns": ["a", "b"]}, "field 'question_id': is missing"),
        ({"question_id": 1, "turns": ["a", "b"]}, "field 'category': is missing"),
        (
            {"question_id": True, "category": "math", "turns": ["a", "b"]},
            "field 'question_id': has a wrong value: True",
        ),
        ({"question_id": 1, "category": "math", "turns": ["a"]}, "must be a list of two texts"),
        ({"question_id": 4, "category": "math", "turns": ["a", "b"]}, "question 4 is there twice"),
    ],
)
def test_bad_questions(tmp_path: Path, row: dict[str, object], message: str) -> None:
    with pytest.raises(InputError, match=message):
        read_questions(write(tmp_path / "q.jsonl", [QUESTIONS[3], row]))


def test_answers_of_two_models_are_refused(tmp_path: Path) -> None:
    mixed = [*answers("one", "1"), *answers("two", "2")]
    with pytest.raises(InputError, match="has answers of one, two"):
        read_answers(write(tmp_path / "a.jsonl", mixed))


def test_what_is_there_twice_is_refused_rather_than_the_last_one_taken(tmp_path: Path) -> None:
    with pytest.raises(InputError, match="line 5: question 1 is answered twice"):
        read_answers(write(tmp_path / "a.jsonl", [*answers("one", "1"), *answers("one", "2")]))
    with pytest.raises(InputError, match="the prompt 'single-v1' is there twice"):
        read_prompts(write(tmp_path / "p.jsonl", [*PROMPTS, PROMPTS[0] | {"prompt_template": "{answer}"}]))


def grade(question: int, turn: int, value: float | None) -> Grade:
    return Grade(question=question, turn=turn, value=value, unparsable=value is None, refused=0, row={})


@settings(max_examples=30)
@given(st.lists(st.lists(st.floats(1, 10), min_size=1, max_size=2), min_size=2, max_size=12))
def test_the_mean_is_over_turns_and_its_error_over_questions(values: list[list[float]]) -> None:
    grades = [grade(q, t, value) for q, turns in enumerate(values) for t, value in enumerate(turns, start=1)]
    score = Score.of(grades, seed=0)
    flat = [value for turns in values for value in turns]
    assert score.mean == pytest.approx(np.mean(flat))
    assert score.n == len(flat)
    if all(len(turns) == 1 for turns in values):
        assert score.standard_error == pytest.approx(np.std(flat, ddof=1) / len(flat) ** 0.5)
    doubled = Score.of([*grades, *(grade(g.question, g.turn, g.value) for g in grades)], seed=0)
    # The same question answered twice tells nothing new.
    assert doubled.standard_error == pytest.approx(score.standard_error)
