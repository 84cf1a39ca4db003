"""Mean grades, by category and turn."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Self

import numpy as np

from sparring.evaluation.intervals import errors
from sparring.evaluation.mt_bench.files import Id, MtQuestion
from sparring.evaluation.mt_bench.grading import Grade


@dataclass(frozen=True, kw_only=True)
class Score:
    """A mean over the turns that have a grade.

    Attributes:
        mean: The mean; None where no turn has one.
        standard_error: Over questions, whose turns are not independent; None below two questions.
        interval: Its bootstrap interval of 95 %, of whole questions; None below two.
        n: Turns with a grade.
        unparsable: Judgments that could not be read; they do not count in the mean.
        refused: Judgments that the endpoint refused; likewise.
    """

    mean: float | None
    standard_error: float | None
    interval: tuple[float, float] | None
    n: int
    unparsable: int
    refused: int

    @classmethod
    def of(cls, grades: Sequence[Grade], *, seed: int) -> Self:
        """The score of some grades.

        With s_q the sum and n_q the number of the grades of question q, of Q questions with N grades in all, the mean
        is m = Σ s_q / N, and a question's influence on it Q (s_q − n_q m) / N.
        """
        by_question: dict[Id, list[float]] = {}
        for grade in grades:
            if grade.value is not None:
                by_question.setdefault(grade.question, []).append(grade.value)
        sums = np.array([sum(values) for values in by_question.values()])
        counts = np.array([len(values) for values in by_question.values()], dtype=float)
        mean = float(sums.sum() / counts.sum()) if by_question else None
        error, interval = None, None
        if mean is not None and len(by_question) > 1:
            error, interval = errors(mean, (sums - counts * mean) * len(sums) / counts.sum(), seed=seed)
        return cls(
            mean=mean,
            standard_error=error,
            interval=interval,
            n=int(counts.sum()),
            unparsable=sum(grade.unparsable for grade in grades),
            refused=sum(grade.refused for grade in grades),
        )


def summarize(questions: Sequence[MtQuestion], grades: Sequence[Grade], *, seed: int = 0) -> dict[str, Score]:
    """The score of each category, in the order of the questions, then of each turn, then of all.

    Args:
        questions: The questions.
        grades: The grades of one model.
        seed: The seed of the bootstrap.
    """
    category = {question.id: question.category for question in questions}
    groups = {name: [g for g in grades if category[g.question] == name] for name in dict.fromkeys(category.values())}
    for turn, name in ((1, "first turn"), (2, "second turn")):
        groups[name] = [grade for grade in grades if grade.turn == turn]
    return {name: Score.of(group, seed=seed) for name, group in (groups | {"all": list(grades)}).items()}
