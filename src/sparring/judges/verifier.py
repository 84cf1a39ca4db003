"""A judge that is a rule: right responses beat wrong ones."""

from __future__ import annotations

import importlib
import re
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import ClassVar

from sparring.consent import runs_code
from sparring.data import VERIFIERS
from sparring.errors import InputError, RunError, did_you_mean
from sparring.judges.protocol import Judge, JudgeSettings, Question, Verdict, verdict_of_scores

Rule = Callable[[str, str], float | bool | None]
"""Whether a response is right, or its score, given the response and the expert's; None abstains."""
_PATTERN = "regex"


@dataclass(frozen=True, kw_only=True)
class VerifierJudge(JudgeSettings):
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

    rule: str = "final-number"
    pattern: str | None = None

    needs_expert: ClassVar[bool] = True
    may_cost_money: ClassVar[bool] = False

    def __post_init__(self) -> None:
        if not isinstance(self.rule, str) or (self.rule not in {*VERIFIERS, _PATTERN} and ":" not in self.rule):
            known = did_you_mean(str(self.rule), [*VERIFIERS, _PATTERN])
            raise ValueError(f"rule '{self.rule}' is unknown; {known}, or name a function as package.module:function")
        if (self.rule == _PATTERN) != (self.pattern is not None):
            raise ValueError(f"pattern and rule '{_PATTERN}' need each other, got rule '{self.rule}'")
        if self.pattern is not None:
            try:
                re.compile(self.pattern)
            except re.error as error:
                raise ValueError(f"pattern '{self.pattern}' is no regular expression: {error}") from error

    def check(self) -> None:
        """Raises InputError where the rule is a Python function that cannot be imported."""
        self._rule()

    def check_experts(self, experts: Sequence[str]) -> None:
        """Raises InputError where a built-in rule finds no answer in any of them, or another rule fails on one."""
        if self._is_function:
            self._try(experts[0])
        elif not any(self._finds_answer(expert) for expert in experts):
            problem = f"'{self.rule}' finds no answer in any expert response, such as {experts[0]!r}"
            raise InputError(problem, where="judge.rule", fix="take a rule, or a pattern, that fits the data")

    def needs_consent(self) -> Iterator[str]:
        """The Python function that would run."""
        if self._is_function:
            yield runs_code(f"judges with the Python function '{self.rule}'")

    def imports(self) -> Iterator[str]:
        """The rule, where it is a Python function."""
        if self._is_function:
            yield self.rule

    def start(self, cache: Path) -> Judge:
        """The judge, with the rule imported."""
        return _VerifyingJudge(self.rule, self._rule(), abstains_without_answer=not self._is_function)

    @property
    def _is_function(self) -> bool:
        """Whether the rule is a Python function, not a built-in rule."""
        return self.rule not in {*VERIFIERS, _PATTERN}

    def _try(self, expert: str) -> None:
        """Calls the rule once, with an expert's response twice, before anything expensive."""
        try:
            score = self._rule()(expert, expert)
            _ = None if score is None else float(score)
        except Exception as error:  # the function may fail in any way
            reason = f"{type(error).__name__}: {error}"
            problem = f"the rule '{self.rule}' failed on an expert response, {expert[:200]!r} ({reason})"
            fix = "have it take (response, expert) and return true, false, a number or None"
            raise InputError(problem, where="judge.rule", fix=fix) from error

    def _finds_answer(self, expert: str) -> bool:
        return bool(self._rule()(expert, expert))

    def _rule(self) -> Rule:
        if self.pattern is not None:
            return _same_match(re.compile(self.pattern))
        return VERIFIERS[self.rule]() if self.rule in VERIFIERS else _import(self.rule)


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
        try:
            score = self.rule(response, question.expert)
            return None if score is None else float(score)
        except Exception as error:
            raise RunError(
                f"the rule '{self.name}' failed on the response {response[:200]!r} ({type(error).__name__}: {error}); "
                "mend it, then `sparring resume --trust-remote-code`: finished verdicts are kept"
            ) from error


def _same_match(pattern: re.Pattern[str]) -> Rule:
    def found(text: str) -> str | None:
        match = pattern.search(text)
        return None if match is None else match.group(1 if pattern.groups else 0)

    def right(response: str, expert: str) -> bool:
        return found(response) is not None and found(response) == found(expert)

    return right


def _import(name: str) -> Rule:
    module, _, attribute = name.partition(":")
    try:
        rule: Rule = getattr(importlib.import_module(module), attribute)
    except Exception as error:  # a module runs when it is imported, and may fail in any way
        problem = f"the rule '{name}' cannot be imported ({type(error).__name__}: {error})"
        fix = "write package.module:function, not a path; put its folder on PYTHONPATH; and check that it imports"
        raise InputError(problem, where="judge.rule", fix=fix) from error
    if not callable(rule):
        raise InputError(f"'{name}' is not a function", where="judge.rule", fix="name one of (response, expert)")
    return rule
