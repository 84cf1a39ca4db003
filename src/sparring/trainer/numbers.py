"""The numbers that a row may hold: the opponent's log-probs, and a judge's preferences."""

from __future__ import annotations

import math
from collections.abc import Iterable
from numbers import Real
from typing import Any

from sparring.errors import InputError

# The rounding error that is allowed above a log-prob of 0, or of P_ij + P_ji: 16-bit formats have two digits.
_ROUNDING = 0.01
_ONE_EACH = "give one for each generated response"


def log_probs(names: tuple[str, str], expert: Any, generated: Any, k: int, where: str) -> tuple[Any, Any]:
    """The opponent's log-prob of the expert's response and those of k generated ones, nats; both None if not given.

    Raises:
        InputError: Only one of the two is given, there are not k, or one is positive or not finite.
    """
    if expert is None and generated is None:
        return None, None
    if expert is None or generated is None:
        fix = f"give both {names[0]} and {names[1]}, or neither"
        raise InputError("only one of the opponent's log-probs is given", where=where, fix=fix)
    (one,) = _within([expert], 1, -math.inf, f"{where}, {names[0]}", "log-probs")
    return one, _within(generated, k, -math.inf, f"{where}, {names[1]}", "log-probs")


def preference(given: Any, k: int, where: str) -> list[float] | None:
    """The k numbers P(y_k ≻ π_o); None if not given.

    Raises:
        InputError: There are not k, or one is no probability.
    """
    return None if given is None else _within(given, k, 0.0, f"{where}, preference", "entries")


def pairwise(given: Any, k: int, where: str) -> list[list[float]] | None:
    """The k lists of k numbers P(y_i ≻ y_j); None if not given.

    Raises:
        InputError: They are not k by k, or one is no probability, or P_ij + P_ji is not 1.
    """
    if given is None:
        return None
    where = f"{where}, pairwise"
    rows = [_within(row, k, 0.0, where, "entries") for row in _listed(given, k, where, "entries")]
    for i in range(k):
        for j in range(i + 1):
            if abs(rows[i][j] + rows[j][i] - 1.0) > _ROUNDING:
                problem = f"P of {i} against {j} is {rows[i][j]:g}, and of {j} against {i} {rows[j][i]:g}"
                raise InputError(problem, where=where, fix="give P_ij and P_ji = 1 − P_ij, and ½ on the diagonal")
    return rows


def _within(values: Any, count: int, least: float, where: str, what: str) -> list[float]:
    """A given number of floats within bounds: log-probs, at most 0, or probabilities, from 0 to 1."""
    numbers, most = _listed(values, count, where, what), 0.0 if least < 0.0 else 1.0
    for number in numbers:
        finite = isinstance(number, Real) and math.isfinite(number)
        if finite and least <= number <= most + _ROUNDING:
            continue
        if least < 0.0:
            fix = "give ln of the probability of the whole response, which is negative: no loss, and nothing infinite"
            raise InputError(f"{number!r} is no log-prob", where=where, fix=fix)
        raise InputError(f"{number!r} is no probability", where=where, fix="give numbers from 0 to 1")
    return [float(number) for number in numbers]


def _listed(values: Any, count: int, where: str, what: str) -> list[Any]:
    if isinstance(values, str) or not isinstance(values, Iterable):
        raise InputError(f"must be a list, got {type(values).__name__}", where=where, fix=_ONE_EACH)
    listed = list(values)
    if len(listed) != count:
        raise InputError(f"{len(listed)} {what} are given for {count} generated responses", where=where, fix=_ONE_EACH)
    if any(each is None for each in listed):
        fix = "leave out rows in which the judge did not decide every pair"
        raise InputError("an entry is missing", where=where, fix=fix)
    return listed
