"""The files of MT-Bench: questions and the judge's prompts."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from sparring.data.text_files import Row
from sparring.errors import InputError
from sparring.evaluation.rows import read_rows
from sparring.judges.chat import Prompt
from sparring.judges.template import fill

Id = int | str
"""The number or name of a question."""
TURNS = 2


@dataclass(frozen=True, kw_only=True)
class MtQuestion:
    """A question and the one that follows it.

    Attributes:
        id: Its number or name.
        category: Its category, e.g. "math".
        turns: The two questions.
        reference: Right answers to both, where the file has them.
    """

    id: Id
    category: str
    turns: tuple[str, str]
    reference: tuple[str, str] | None = None


@dataclass(frozen=True, kw_only=True)
class Template:
    """A prompt of the judge, with fields to fill in.

    Attributes:
        name: Its name in the file, e.g. "single-v1".
        system: The system's turn.
        user: The user's turn, with fields such as `{question}`.
    """

    name: str
    system: str
    user: str

    def prompt(self, values: Mapping[str, str]) -> Prompt:
        """The template filled in."""
        return Prompt(fill(self.user, values), fill(self.system, values))


def read_questions(path: Path) -> list[MtQuestion]:
    """Reads questions as FastChat's question.jsonl has them: `question_id`, `category`, `turns`, perhaps `reference`.

    Raises:
        InputError: The file cannot be read, a field is missing or wrong, or a question is repeated.
    """
    questions: dict[Id, MtQuestion] = {}
    for row in read_rows(path):
        turns, reference = pair(row.values.get("turns")), pair(row.values.get("reference"))
        number = field(row, "question_id", int | str)
        if turns is None:
            raise InputError("must be a list of two texts", where=f"{row.where}, field 'turns'", fix="ask two turns")
        if number in questions:
            raise InputError(f"question {number} is there twice", where=row.where, fix="number every question once")
        questions[number] = MtQuestion(
            id=number,
            category=field(row, "category", str),
            turns=turns,
            reference=reference,
        )
    return list(questions.values())


def read_prompts(path: Path) -> dict[str, Template]:
    """Reads the judge's prompts as FastChat's judge_prompts.jsonl has them, by name.

    Raises:
        InputError: The file cannot be read, a row lacks `name`, `system_prompt` or `prompt_template`, or a name is
            repeated.
    """
    templates: dict[str, Template] = {}
    for row in read_rows(path):
        name = field(row, "name", str)
        if name in templates:
            raise InputError(f"the prompt '{name}' is there twice", where=row.where, fix="keep one of the two")
        system, user = field(row, "system_prompt", str), field(row, "prompt_template", str)
        templates[name] = Template(name=name, system=system, user=user)
    return templates


def field(row: Row, name: str, kind: Any) -> Any:
    """A field of a row; raises InputError where it is missing or not of that type."""
    value = row.values.get(name)
    # True is a number in Python, and no number of a question.
    if not isinstance(value, kind) or isinstance(value, bool):
        problem = "is missing" if value is None else f"has a wrong value: {repr(value)[:40]}"
        raise InputError(problem, where=f"{row.where}, field '{name}'", fix="write the file as FastChat does")
    return value


def pair(value: Any) -> tuple[str, str] | None:
    """A list of two texts as a pair; None for any other value."""
    match value:
        case [str(first), str(second)]:
            return first, second
        case _:
            return None
