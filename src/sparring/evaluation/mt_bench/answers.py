"""A model's answers to both turns of every question, in FastChat's format."""

from __future__ import annotations

import hashlib
import json
import time
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

from sparring.errors import InputError
from sparring.evaluation.answering import LoadedModel, answer
from sparring.evaluation.mt_bench.files import TURNS, Id, MtQuestion, field, pair
from sparring.evaluation.rows import read_rows
from sparring.files import write_json_lines
from sparring.generation import generation_config
from sparring.seeding import derive_seed

# The published temperatures; 0 is greedy.
TEMPERATURES: dict[str, float] = {
    "writing": 0.7,
    "roleplay": 0.7,
    "extraction": 0.0,
    "math": 0.0,
    "coding": 0.0,
    "reasoning": 0.0,
    "stem": 0.1,
    "humanities": 0.1,
}
_OTHER = 0.7


@dataclass(frozen=True, kw_only=True)
class MtAnswers:
    """One model's answers.

    Attributes:
        model: Its name.
        turns: Both answers to each question.
    """

    model: str
    turns: Mapping[Id, tuple[str, str]]

    def check(self, questions: Sequence[MtQuestion]) -> None:
        """Raises InputError unless there are answers to all of the questions."""
        missing = [question.id for question in questions if question.id not in self.turns]
        if missing:
            problem = f"'{self.model}' has no answers to {len(missing)} questions, the first is {missing[0]}"
            raise InputError(problem, fix="give answers to the same questions")


def read_answers(path: Path) -> MtAnswers:
    """Reads one model's answers, or references; where there are several choices, the first.

    Raises:
        InputError: The file cannot be read, has another format, answers a question twice, or mixes models.
    """
    turns: dict[str, dict[Id, tuple[str, str]]] = {}
    for row in read_rows(path):
        own = turns.setdefault(field(row, "model_id", str), {})
        choices = field(row, "choices", list)
        texts = pair(choices[0].get("turns")) if choices and isinstance(choices[0], dict) else None
        if texts is None:
            problem = "holds no answers to two turns"
            raise InputError(problem, where=f"{row.where}, field 'choices'", fix="write the file as FastChat does")
        number = field(row, "question_id", int | str)
        if number in own:
            problem, fix = f"question {number} is answered twice", "keep one line a question"
            raise InputError(problem, where=row.where, fix=fix)
        own[number] = texts
    if len(turns) > 1:
        raise InputError(f"has answers of {', '.join(sorted(turns))}", where=str(path), fix="keep one model a file")
    (model,) = turns
    return MtAnswers(model=model, turns=turns[model])


def answer_questions(
    load: Callable[[], LoadedModel],
    questions: Sequence[MtQuestion],
    *,
    name: str,
    max_tokens: int,
    seed: int,
    folder: Path,
) -> Path:
    """The file of a model's answers: an existing one, or a new one.

    The second question is asked in the conversation with the first answer. Every category has its published
    temperature; at 0 answers are greedy.

    Args:
        load: Loads the model, if it is needed.
        questions: The questions.
        name: The model's name.
        max_tokens: The limit of an answer.
        seed: The seed of the categories that are sampled.
        folder: The folder of the file, whose name has a digest of the questions and settings.

    Raises:
        InputError: A conversation does not fit into the model's context, or its template cannot write one.
    """
    settings = [[(item.id, item.category, item.turns) for item in questions], TEMPERATURES, max_tokens, seed]
    digest = hashlib.sha256(json.dumps(settings).encode()).hexdigest()
    path = folder / f"answers-{digest[:8]}.jsonl"
    if not path.exists():
        answers = _ask(load(), questions, max_tokens=max_tokens, seed=seed)
        write_json_lines(path, [_row(name, question, answers[question.id]) for question in questions])
    return path


def _ask(
    loaded: LoadedModel, questions: Sequence[MtQuestion], *, max_tokens: int, seed: int
) -> dict[Id, tuple[str, ...]]:
    answers: dict[Id, tuple[str, ...]] = {question.id: () for question in questions}
    for temperature in sorted({_temperature(question) for question in questions}):
        asked = [question for question in questions if _temperature(question) == temperature]
        config = generation_config().greedy() if temperature == 0 else generation_config(temperature=temperature)
        for turn in range(TURNS):
            samples = answer(
                loaded,
                [_conversation(question, answers[question.id]) for question in asked],
                config,
                max_tokens=max_tokens,
                seed=derive_seed(seed, "mt-bench", str(temperature), turn),
                title=f"turn {turn + 1}, temperature {temperature:g}",
            )
            for question, sample in zip(asked, samples, strict=True):
                answers[question.id] += (sample.text.strip(),)
    return answers


def _temperature(question: MtQuestion) -> float:
    return TEMPERATURES.get(question.category, _OTHER)


def _conversation(question: MtQuestion, answers: Sequence[str]) -> list[dict[str, str]]:
    """The turns so far, and the next question."""
    before = [
        {"role": role, "content": text}
        for exchange in zip(question.turns, answers, strict=False)
        for role, text in zip(("user", "assistant"), exchange, strict=True)
    ]
    return [*before, {"role": "user", "content": question.turns[len(answers)]}]


def _row(model: str, question: MtQuestion, turns: Sequence[str]) -> dict[str, object]:
    text = json.dumps([model, question.id, turns])
    return {
        "question_id": question.id,
        "answer_id": hashlib.sha256(text.encode()).hexdigest()[:22],
        "model_id": model,
        "choices": [{"index": 0, "turns": list(turns)}],
        "tstamp": time.time(),
    }
