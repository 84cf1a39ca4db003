"""A judge that is a rule: right responses beat wrong ones."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import ClassVar

from sparring.errors import InputError
from sparring.judges.protocol import Judge, Question, Verdict, verdict_of_scores
from sparring.judges.rules import Rule, RuleSettings, apply


@dataclass(frozen=True, kw_only=True)
class VerifierJudge(RuleSettings):
    """Prefers a right response to a wrong one, P = 1, by a rule; two right or two wrong ones tie, P = ½.

    The rule gets a response and the reference answer (the prompt's ground truth, or else the expert's response), and
    returns whether the response is right, or a score, of which the higher wins; None abstains. A built-in rule abstains
    from a prompt if it finds no answer in the reference answer, since no response could be right then.

    Source: reinforcement learning with verifiable rewards, as preferences; derived here.

    Attributes:
        rule: A name in `VERIFIERS`, such as `final-number`; `regex`; or `package.module:function`, any Python function
            that can be imported. It is run, so name only code that you trust.
        pattern: For `regex`: the pattern to search for in the response and in the reference answer. The response is
            right if the first group, or the whole match of a pattern without groups, is the same in both.

    Raises:
        ValueError: The rule is unknown, or `pattern` is missing, given without `regex`, or no regular expression.
    """

    needs_reference_answer: ClassVar[bool] = True
    may_cost_money: ClassVar[bool] = False

    @property
    def right_or_wrong(self) -> bool:
        """True of built-in rules; a function of the user's own may return any number."""
        return not self.is_function

    def check_answers(self, answers: Sequence[str]) -> None:
        """Raises InputError where a built-in rule finds no answer in any of them."""
        if not self.is_function and not any(self._finds_answer(answer) for answer in answers):
            problem = f"'{self.rule}' finds no answer in any reference answer, such as {answers[0]!r}"
            raise InputError(problem, where="judge.rule", fix="take a rule, or a pattern, that fits the data")

    def start(self, cache: Path) -> Judge:
        """The judge, with the rule imported."""
        return _VerifyingJudge(self.rule, self.imported(), abstains_without_answer=not self.is_function)

    def _finds_answer(self, answer: str) -> bool:
        return bool(self.imported()(answer, answer))


@dataclass(frozen=True)
class _VerifyingJudge:
    """The judge at work.

    Attributes:
        name: The rule's name.
        rule: The rule.
        abstains_without_answer: Whether it abstains from a prompt whose reference answer the rule itself does not find
            right, since it finds no answer in it.
    """

    name: str
    rule: Rule
    abstains_without_answer: bool

    def __call__(self, questions: Sequence[Question]) -> list[Verdict]:
        return [verdict_of_scores(self._scores(question), 0.0) for question in questions]

    def _scores(self, question: Question) -> list[float | None]:
        answer = question.reference_answer
        if self.abstains_without_answer and answer is not None and not self._score(question, answer):
            return [None for _ in question.responses]
        return [self._score(question, text) for text in question.responses]

    def _score(self, question: Question, response: str) -> float | None:
        if question.reference_answer is None:
            raise ValueError("a verifier compares with a reference answer, and there is none")
        return apply(self.name, self.rule, response, question.reference_answer)
