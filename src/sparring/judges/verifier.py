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

    The rule is given a response and the expert's response, and returns whether the former is right, or a score, of
    which the higher wins; None abstains. A built-in rule abstains from a prompt where it finds no answer in the
    expert's response, since no response could be right there.

    Source: reinforcement learning with verifiable rewards, as preferences; derived here.

    Attributes:
        rule: A name in `VERIFIERS` (`final-number`, `exact`, `math`); `regex`; or `package.module:function`, any Python
            function that can be imported. It is run, so name only code that you trust.
        pattern: For `regex`: the pattern that is searched for in the response and in the expert's. The response is
            right where the first group, or the whole match of a pattern without groups, is the same in both.

    Raises:
        ValueError: The rule is unknown, or `pattern` is missing, of no use, or no regular expression.
    """

    needs_expert: ClassVar[bool] = True
    may_cost_money: ClassVar[bool] = False

    def check_experts(self, experts: Sequence[str]) -> None:
        """Raises InputError where a built-in rule finds no answer in any of them, or another rule fails on one."""
        if self.is_function:
            self._try(experts[0])
        elif not any(self._finds_answer(expert) for expert in experts):
            problem = f"'{self.rule}' finds no answer in any expert response, such as {experts[0]!r}"
            raise InputError(problem, where="judge.rule", fix="take a rule, or a pattern, that fits the data")

    def start(self, cache: Path) -> Judge:
        """The judge, with the rule imported."""
        return _VerifyingJudge(self.rule, self.imported(), abstains_without_answer=not self.is_function)

    def _try(self, expert: str) -> None:
        """Calls the rule once, with an expert's response twice, before anything expensive."""
        try:
            score = self.imported()(expert, expert)
            _ = None if score is None else float(score)
        except Exception as error:  # the function may fail in any way
            reason = f"{type(error).__name__}: {error}"
            problem = f"the rule '{self.rule}' failed on an expert response, {expert[:200]!r} ({reason})"
            fix = "have it take (response, expert) and return true, false, a number or None"
            raise InputError(problem, where="judge.rule", fix=fix) from error

    def _finds_answer(self, expert: str) -> bool:
        return bool(self.imported()(expert, expert))


@dataclass(frozen=True)
class _VerifyingJudge:
    """The judge at work.

    Attributes:
        name: The rule's name.
        rule: The rule.
        abstains_without_answer: Whether a prompt counts only where the rule finds an answer in the expert's response,
            which it then takes for right.
    """

    name: str
    rule: Rule
    abstains_without_answer: bool

    def __call__(self, questions: Sequence[Question]) -> list[Verdict]:
        return [verdict_of_scores(self._scores(question), 0.0) for question in questions]

    def _scores(self, question: Question) -> list[float | None]:
        expert = question.expert
        if self.abstains_without_answer and expert is not None and not self._score(question, expert):
            return [None for _ in question.responses]
        return [self._score(question, text) for text in question.responses]

    def _score(self, question: Question, response: str) -> float | None:
        if question.expert is None:
            raise ValueError("a verifier compares with the expert's response, and there is none")
        return apply(self.name, self.rule, response, question.expert)
