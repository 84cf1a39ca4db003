"""Rules that judge responses: built-in ones by name, a pattern, or a Python function."""

from __future__ import annotations

import importlib
import inspect
import re
from collections.abc import Callable, Iterator
from contextlib import suppress
from dataclasses import dataclass

from sparring.consent import runs_code
from sparring.data import VERIFIERS
from sparring.errors import InputError, RunError, did_you_mean
from sparring.judges.protocol import JudgeSettings

Rule = Callable[[str, str], float | bool | None]
"""Whether a response is right, or its score, given the response and the reference answer; None abstains."""
_PATTERN = "regex"


@dataclass(frozen=True, kw_only=True)
class RuleSettings(JudgeSettings):
    """The settings of a judge that reads responses by a rule.

    Attributes:
        rule: A name in `VERIFIERS`, `regex`, or `package.module:function`.
        pattern: The regular expression for `regex`.

    Raises:
        ValueError: The rule is unknown, or `pattern` is missing, given without `regex`, or no regular expression.
    """

    rule: str = "final-number"
    pattern: str | None = None

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
        self.imported()

    def needs_consent(self) -> Iterator[str]:
        """The Python function, which would run."""
        if self.is_function:
            yield runs_code(f"judges with the Python function '{self.rule}'")

    def imports(self) -> Iterator[str]:
        """The rule, where it is a Python function."""
        if self.is_function:
            yield self.rule

    @property
    def is_instant(self) -> bool:
        """True of every rule that is not the user's own function."""
        return not self.is_function

    @property
    def is_function(self) -> bool:
        """Whether the rule is a Python function, not a built-in rule."""
        return self.rule not in {*VERIFIERS, _PATTERN}

    def imported(self) -> Rule:
        """The rule as a function.

        Raises:
            InputError: It is a Python function that cannot be imported, or needs a package that is not installed.
        """
        if self.pattern is not None:
            return _same_match(re.compile(self.pattern))
        return VERIFIERS[self.rule]() if self.rule in VERIFIERS else _import(self.rule)


def apply(name: str, rule: Rule, response: str, answer: str) -> float | None:
    """The result of the rule `name` for a response, as a number.

    Raises:
        RunError: The rule failed.
    """
    try:
        return _score(rule(response, answer))
    except Exception as error:
        raise RunError(
            f"the rule '{name}' failed on the response {response[:200]!r} ({type(error).__name__}: {error}); "
            "mend it, then `sparring resume --trust-remote-code`: finished verdicts are kept"
        ) from error


class ReturnError(TypeError):
    """A rule returned something that is no score."""


def _score(returned: object) -> float | None:
    if returned is None:
        return None
    # A text may look like a number, and yet is no score.
    if not isinstance(returned, str | bytes):
        with suppress(TypeError, ValueError):
            return float(returned)  # type: ignore[arg-type]  # tensors and numpy's numbers are none to mypy
    shown = repr(returned)
    raise ReturnError(f"must return a bool, a number or None, got {shown if len(shown) <= 80 else shown[:80] + '…'}")


def _same_match(pattern: re.Pattern[str]) -> Rule:
    def found(text: str) -> str | None:
        match = pattern.search(text)
        return None if match is None else match.group(1 if pattern.groups else 0)

    def right(response: str, answer: str) -> bool:
        return found(response) is not None and found(response) == found(answer)

    return right


def _import(name: str) -> Rule:
    module, _, attribute = name.partition(":")
    try:
        rule: Rule = getattr(importlib.import_module(module), attribute)
    except Exception as error:  # a module runs when it is imported, and may fail in any way
        problem = f"the rule '{name}' cannot be imported ({type(error).__name__}: {error})"
        fix = "write package.module:function, not a path; put its folder on PYTHONPATH; and check that it imports"
        raise InputError(problem, where="judge.rule", fix=fix) from error
    if not callable(rule) or isinstance(rule, type):
        fix = "name one of (response, answer); a judge that is a class is given as the judge's name"
        raise InputError(f"'{name}' is not a function", where="judge.rule", fix=fix)
    _check_arguments(name, rule)
    return rule


def _check_arguments(name: str, rule: Rule) -> None:
    """Raises InputError for a rule that does not take a response and a reference answer as arguments."""
    try:
        signature = inspect.signature(rule)
    except ValueError:  # what is written in C may not say what it takes
        return
    try:
        signature.bind("response", "answer")
    except TypeError as error:
        problem = f"the rule '{name}' takes ({', '.join(signature.parameters)}), not (response, answer)"
        fix = f"write def {name.rpartition(':')[2]}(response: str, answer: str) -> float, bool or None"
        raise InputError(problem, where="judge.rule", fix=fix) from error
