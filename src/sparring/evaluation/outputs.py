"""Answers in the format that `alpaca_eval` evaluates."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Self

from sparring.data.text_files import Row
from sparring.errors import InputError
from sparring.evaluation.rows import read_rows
from sparring.files import write_json


@dataclass(frozen=True, kw_only=True)
class Outputs:
    """One model's answers to some instructions.

    Attributes:
        generator: The model's name.
        texts: The answers, in the order of the instructions.
    """

    generator: str
    texts: tuple[str, ...]

    @classmethod
    def read(cls, path: Path, instructions: Sequence[str]) -> Self:
        """Reads answers from a file with `instruction`, `output` and `generator`, as `write_outputs` writes them.

        Raises:
            InputError: The file cannot be read, lacks a field or an answer, has several answers to an instruction, or
                those of several models.
        """
        answers: dict[str, dict[str, str]] = {}
        for row in read_rows(path):
            instruction, output, generator = (_text(row, name) for name in ("instruction", "output", "generator"))
            if answers.setdefault(generator, {}).setdefault(instruction, output) != output:
                problem = f"is another answer to the instruction {instruction[:60]!r}"
                raise InputError(problem, where=row.where, fix="keep one answer to an instruction")
        if len(answers) > 1:
            problem = f"has answers of several models: {', '.join(sorted(answers))}"
            raise InputError(problem, where=str(path), fix="keep one `generator` a file")
        ((generator, texts),) = answers.items()
        missing = [text for text in instructions if text not in texts]
        if missing:
            problem = f"{len(missing)} instructions have no answer, the first is {missing[0][:60]!r}"
            raise InputError(problem, where=str(path), fix="answer the same instructions")
        return cls(generator=generator, texts=tuple(texts[text] for text in instructions))


def write_outputs(path: Path, instructions: Sequence[str], answers: Sequence[str], *, generator: str) -> None:
    """Writes one answer to each instruction, as `alpaca_eval --model_outputs PATH` reads them.

    Args:
        path: A `.json` file.
        instructions: N instructions.
        answers: N answers.
        generator: The model's name.
    """
    rows = zip(instructions, answers, strict=True)
    write_json(path, [{"instruction": text, "output": answer, "generator": generator} for text, answer in rows])


def _text(row: Row, field: str) -> str:
    value = row.values.get(field)
    if not isinstance(value, str):
        fix = "write answers as `sparring evaluate outputs` does"
        raise InputError("is missing or is not text", where=f"{row.where}, field '{field}'", fix=fix)
    return value
