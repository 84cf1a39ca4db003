"""Rules that tell right responses from wrong ones, given a reference answer: a ground truth or an expert's response."""

from __future__ import annotations

import importlib.util
import json
import re
from collections.abc import Callable, Iterable
from dataclasses import dataclass
from decimal import Decimal
from typing import Any, NoReturn, Protocol

from sparring.errors import InputError
from sparring.examples import Answered

_MARK = "####"
# A minus is a sign only if nothing before it could be its left operand: "10-5" ends in 5, not -5.
_NUMBER = re.compile(r"((?<![\w.)])[-−])?\$?((?:[0-9]{1,3}(?:,[0-9]{3})+|[0-9]+)(?:\.[0-9]+)?|(?<![0-9])\.[0-9]+)")


class Verifier(Protocol):
    """A rule that tells a right response from a wrong one."""

    def __call__(self, response: str, answer: str) -> bool:
        """Whether `response` is right, given that `answer` is."""
        ...


@dataclass(frozen=True)
class FinalNumber:
    """Right when the final number equals the reference answer's, as in GSM8K.

    The final number is the first one after the last `####`, or, without that mark, the last number of the text.
    Numbers are compared as exact decimals: `1,200`, `$1200` and `1200.00` are equal. A response without a number
    is wrong, and so is one with nothing after its `####`.
    """

    def __call__(self, response: str, answer: str) -> bool:
        """Whether both end in the same number."""
        found = final_number(response)
        return found is not None and found == final_number(answer)


@dataclass(frozen=True)
class Exact:
    """Right when the text equals the reference answer's, apart from white space at either end."""

    def __call__(self, response: str, answer: str) -> bool:
        """Whether the stripped texts are equal."""
        return response.strip() == answer.strip()


@dataclass(frozen=True)
class Json:
    """Right when the whole text is JSON that equals the reference answer's; order of keys and white space don't count.

    Numbers are compared as exact decimals: `1` and `1.0` are equal, `1` and `true` are not. `NaN` is no JSON.
    """

    def __call__(self, response: str, answer: str) -> bool:
        """Whether both are JSON, and equal."""
        try:
            return _same(*(json.loads(text, **_READING) for text in (response, answer)))
        except (ValueError, ArithmeticError, RecursionError):
            return False


def _same(one: object, other: object) -> bool:
    """Whether two values of JSON are equal; unlike in Python, 1 is not True."""
    if isinstance(one, dict) and isinstance(other, dict):
        return one.keys() == other.keys() and all(_same(one[key], other[key]) for key in one)
    if isinstance(one, list) and isinstance(other, list):
        return len(one) == len(other) and all(map(_same, one, other))
    return type(one) is type(other) and one == other


def _no_json(constant: str) -> NoReturn:
    raise ValueError(f"{constant} is no JSON")


_READING: dict[str, Any] = {"parse_int": Decimal, "parse_float": Decimal, "parse_constant": _no_json}


@dataclass(frozen=True)
class Mathematics:
    r"""Right when the last formula equals the reference answer's: `1/2`, `\frac{1}{2}` and `0.5` are equal.

    Parsed and compared by the package math-verify; a response in which it finds no formula is wrong.

    Raises:
        InputError: The package is not installed.
    """

    def __post_init__(self) -> None:
        if importlib.util.find_spec("math_verify") is None:
            raise InputError(
                "the verifier 'math' needs the package math-verify",
                where="data.verifier",
                fix="pip install 'sparring[math]'",
            )

    def __call__(self, response: str, answer: str) -> bool:
        """Whether both end in the same formula."""
        import math_verify

        gold = math_verify.parse(answer)
        return bool(gold) and bool(math_verify.verify(gold, math_verify.parse(response)))


VERIFIERS: dict[str, type[Verifier]] = {
    "final-number": FinalNumber,
    "exact": Exact,
    "json": Json,
    "math": Mathematics,
}


def is_right(verifier: Callable[[str, str], bool] | None, response: str, answer: str | None) -> bool | None:
    """The verifier's verdict; None where there is no verifier, or no reference answer to compare with."""
    return None if verifier is None or answer is None else bool(verifier(response, answer))


def fitting_rule(answers: Iterable[Answered]) -> str | None:
    """The name of the rule that fits right answers; None where no row tells one apart from its response.

    It is `final-number` where every ground truth is a number and every expert's response ends in one, else `exact`.
    """
    known = [each for each in answers if each.reference_answer is not None]
    truths = [each.ground_truth for each in known if each.ground_truth is not None]
    if not truths:
        return None
    # An expert's response is an answer to verify against too, and a row is wrong where the rule finds none in it.
    numbers = all(map(is_number, truths)) and all(
        final_number(str(each.reference_answer)) is not None for each in known
    )
    return "final-number" if numbers else "exact"


def is_number(text: str) -> bool:
    """Whether the text is a number and nothing else, or ends in one after `####`."""
    _, _, tail = text.rpartition(_MARK)
    return _NUMBER.fullmatch(tail.strip()) is not None


def final_number(text: str) -> Decimal | None:
    """The number that a worked solution ends in, or None; see `FinalNumber`."""
    _, mark, tail = text.rpartition(_MARK)
    numbers = list(_NUMBER.finditer(tail))
    if not numbers:
        return None
    sign, digits = (numbers[0] if mark else numbers[-1]).groups()
    value = Decimal(digits.replace(",", ""))
    return value.copy_negate() if sign else value
