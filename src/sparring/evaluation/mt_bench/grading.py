"""The judge's verdict on every turn: a grade from 1 to 10, or a comparison with a baseline's answers."""

from __future__ import annotations

import re
import time
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from sparring.errors import InputError
from sparring.evaluation.mt_bench.answers import MtAnswers
from sparring.evaluation.mt_bench.files import TURNS, Id, MtQuestion, Template
from sparring.judges.chat import Prompt
from sparring.judges.correspondence import Correspondence
from sparring.judges.final import final_words
from sparring.judges.replies import Reply
from sparring.progress import progress

# The categories in which the judge is shown right answers.
REFERENCED = frozenset({"math", "reasoning", "coding"})
# By whether there is a reference, then by turn: the names in FastChat's file.
SINGLE = (("single-v1", "single-v1-multi-turn"), ("single-math-v1", "single-math-v1-multi-turn"))
PAIRWISE = (("pair-v2", "pair-v2-multi-turn"), ("pair-math-v1", "pair-math-v1-multi-turn"))

_RATING = re.compile(r"\[\[(\d+(?:\.\d*)?)\]\]")
_WINNER = re.compile(r"\[\[([ABC])\]\]")
_VALUES = {"A": 1.0, "B": 0.0, "C": 0.5}
_NAMES = {1.0: "model_1", 0.0: "model_2", 0.5: "tie", None: "error"}


def read_rating(text: str, question: str) -> float | None:
    """The last `[[rating]]` in what a reply to a question concludes, if it is from 1 to 10; else None."""
    found = _RATING.findall(_without_lists(final_words(text, question), ["[[rating]]"]))
    return float(found[-1]) if found and 1 <= float(found[-1]) <= 10 else None


def read_winner(text: str, question: str) -> float | None:
    """The last of `[[A]]` (1), `[[B]]` (0) and `[[C]]` (½) in what a reply to a question concludes; else None."""
    found = _WINNER.findall(_without_lists(final_words(text, question), ["[[A]]", "[[B]]", "[[C]]"]))
    return _VALUES[found[-1]] if found else None


def _without_lists(text: str, marks: Sequence[str]) -> str:
    """The text without lines that hold all of some marks: they repeat what the instructions list."""
    return "\n".join(line for line in text.splitlines() if not all(mark in line for mark in marks))


@dataclass(frozen=True, kw_only=True)
class Grade:
    """The judgment on one turn of one question.

    Attributes:
        question: The question's id.
        turn: 1 or 2.
        value: The grade, or in a comparison 1, ½ or 0; None where it is not known.
        unparsable: Judgments that could not be read.
        refused: Judgments that the endpoint refused.
        row: The judgment as a row of FastChat's file.
    """

    question: Id
    turn: int
    value: float | None
    unparsable: int
    refused: int
    row: Mapping[str, Any]


@dataclass(frozen=True, kw_only=True)
class _Match:
    """The prompts to the judge about one turn: one, or in a comparison one for each order.

    Attributes:
        question: The question's id.
        turn: 1 or 2.
        template: The template's name.
        prompts: The prompts.
    """

    question: Id
    turn: int
    template: str
    prompts: tuple[Prompt, ...]


@dataclass(frozen=True, kw_only=True)
class Grader:
    """Everything that is needed to grade a model's answers, except the judge.

    Attributes:
        questions: The questions.
        templates: The judge's prompts, by name.
        references: Right answers, which take precedence over the questions' own.
        baseline: The answers to compare with; None grades each answer by itself.
    """

    questions: Sequence[MtQuestion]
    templates: Mapping[str, Template]
    references: MtAnswers | None = None
    baseline: MtAnswers | None = None

    def check(self) -> None:
        """Raises InputError where a prompt, a reference or an answer of the baseline is missing."""
        for question in self.questions:
            for turn in range(TURNS):
                if self._template(question, turn) not in self.templates:
                    problem = f"the judge's prompt '{self._template(question, turn)}' is missing"
                    fix = "give FastChat's judge_prompts.jsonl, or one with the same names"
                    raise InputError(problem, where="--prompts", fix=fix)
            if question.category in REFERENCED and self._reference(question) is None:
                problem = f"question {question.id} ({question.category}) has no right answers to show the judge"
                raise InputError(problem, where="--references", fix="give a file of answers to two turns")
        if self.baseline is not None:
            self.baseline.check(self.questions)

    def grade(self, answers: MtAnswers, judge: Correspondence) -> tuple[list[Grade], list[Reply]]:
        """The grade of every turn, and the judge's replies that they were read from.

        Args:
            answers: The model's.
            judge: The endpoint.

        Raises:
            InputError: The endpoint refuses.
            RunError: It could not be reached; its replies until then are kept.
        """
        matches = [self._match(question, turn, answers) for question in self.questions for turn in range(TURNS)]
        prompts = dict.fromkeys(prompt for match in matches for prompt in match.prompts)
        with progress(f"judge {answers.model}", total=len(prompts), unit="") as meter:
            replies = judge.replies(prompts, on_reply=meter.advance)
        grades = [
            self._grade(match, [replies[prompt] for prompt in match.prompts], answers.model, judge.endpoint.model)
            for match in matches
        ]
        return grades, list(replies.values())

    def _match(self, question: MtQuestion, turn: int, answers: MtAnswers) -> _Match:
        name, values, own = self._template(question, turn), self._shown(question), answers.turns[question.id]
        if self.baseline is None:
            shown = [{"answer": own[0], "answer_1": own[0], "answer_2": own[1]}]
        else:
            other = self.baseline.turns[question.id]
            shown = [_beside(own, other), _beside(other, own)]
        prompts = tuple(self.templates[name].prompt(values | each) for each in shown)
        return _Match(question=question.id, turn=turn + 1, template=name, prompts=prompts)

    def _shown(self, question: MtQuestion) -> dict[str, str]:
        values = {"question": question.turns[0], "question_1": question.turns[0], "question_2": question.turns[1]}
        reference = self._reference(question)
        if question.category in REFERENCED and reference is not None:
            values |= {"ref_answer_1": reference[0], "ref_answer_2": reference[1]}
        return values

    def _reference(self, question: MtQuestion) -> tuple[str, str] | None:
        given = None if self.references is None else self.references.turns.get(question.id)
        return given or question.reference

    def _template(self, question: MtQuestion, turn: int) -> str:
        names = SINGLE if self.baseline is None else PAIRWISE
        return names[question.category in REFERENCED][turn]

    def _grade(self, match: _Match, replies: Sequence[Reply], model: str, judge: str) -> Grade:
        read = read_rating if self.baseline is None else read_winner
        values = [
            None if reply.refusal else read(reply.text, prompt.user)
            for reply, prompt in zip(replies, match.prompts, strict=True)
        ]
        refused = sum(bool(reply.refusal) for reply in replies)
        row: dict[str, Any] = {"question_id": match.question, "judge": [judge, match.template], "turn": match.turn}
        if self.baseline is None:
            value = values[0]
            # FastChat leaves out grades of −1.
            row |= {"model": model, "score": -1 if value is None else value}
            row |= {"user_prompt": match.prompts[0].user, "judgment": replies[0].text}
        else:
            # In the second game the model's answer is B.
            games = (values[0], None if values[1] is None else 1.0 - values[1])
            value = _winner(*games)
            row |= {"model_1": model, "model_2": self.baseline.model}
            for game, won in enumerate(games):
                row[f"g{game + 1}_winner"] = _NAMES[won]
                row[f"g{game + 1}_user_prompt"] = match.prompts[game].user
                row[f"g{game + 1}_judgment"] = replies[game].text
        return Grade(
            question=match.question,
            turn=match.turn,
            value=value,
            unparsable=values.count(None) - refused,
            refused=refused,
            row=row | {"tstamp": time.time()},
        )


def _winner(first: float | None, second: float | None) -> float | None:
    """A win or loss in both orders, a tie where the orders do not agree; None where one of them is not known."""
    if first is None or second is None:
        return None
    return first if first == second else 0.5


def _beside(a: Sequence[str], b: Sequence[str]) -> dict[str, str]:
    answers = {"answer_a": a[0], "answer_a_1": a[0], "answer_a_2": a[1]}
    return answers | {"answer_b": b[0], "answer_b_1": b[0], "answer_b_2": b[1]}
