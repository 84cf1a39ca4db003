"""Whether a value fits the type that an option is declared with, and what is said where it does not."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, Literal

import pytest

from sparring.errors import InputError
from sparring.option_types import as_declared, called, declared, fits
from sparring.registry import Registry, build

if TYPE_CHECKING:
    from decimal import Decimal


@pytest.mark.parametrize(
    ("kind", "right", "wrong", "name"),
    [
        (bool, [True, False], ["yes", 1, None], "true or false"),
        (int, [3, -1], [True, 1.0, "1"], "a whole number"),
        (float, [3, 0.5], [True, "1"], "a number"),
        (str, ["a", ""], [1, None, ["a"]], "text"),
        (int | None, [None, 2], ["all", 1.5], "a whole number or null"),
        (float | str, [0.5, "adaptive"], [None, [1]], "a number or text"),
        (Literal["a", "b", 1], ["a", 1], ["c", True], "a, b or 1"),
        (tuple[str, ...], [["a"], ("a", "b"), []], ["a", [1]], "a list, each text"),
        (tuple[float, int], [[0.5, 1]], [[0.5], [1, 0.5]], "a list of 2: a number, a whole number"),
        (list[int], [[1]], [1, [0.5]], "a list, each a whole number"),
        (Sequence[str], [["a"]], [{"a": 1}, [1]], "a list, each text"),
        (list, [[1, "a"]], ["a"], "a list"),
        (dict[str, int], [{"a": 1}], [[1]], "a mapping"),
        (Mapping[str, Any], [{}], ["a"], "a mapping"),
    ],
    ids=str,
)
def test_values_and_types(kind: Any, right: list[object], wrong: list[object], name: str) -> None:
    assert all(fits(value, kind) for value in right)
    assert not any(fits(value, kind) for value in wrong)
    assert called(kind) == name


def test_nobody_judges_a_type_that_is_not_simple() -> None:
    assert fits("anything", Any)
    assert fits(3, type("Other", (), {}))


@dataclass(frozen=True, kw_only=True)
class Mixed:
    size: int = 1
    names: tuple[str, ...] = ()
    span: tuple[float, float] | None = None
    mode: Literal["fast", "slow"] = "fast"


@dataclass(frozen=True, kw_only=True)
class Unresolved:
    price: Decimal | None = None


REGISTRY = Registry(object, {"mixed": Mixed, "unresolved": Unresolved})


def test_lists_become_the_tuples_that_a_component_can_be_known_by() -> None:
    built = build(REGISTRY, "thing", "mixed", {"names": ["a", "b"], "span": [1, 2]})
    assert built == Mixed(names=("a", "b"), span=(1, 2))
    assert hash(built)
    assert as_declared([[1], [2]], tuple[tuple[int, ...], ...]) == ((1,), (2,))


def test_a_whole_number_becomes_the_float_that_a_field_is_declared_as() -> None:
    kinds: list[Any] = [float, float | None, float | str, tuple[float, ...], int, Any]
    given = [1, 1, 1, [1, 2], 1, 1]
    assert [repr(as_declared(value, kind)) for value, kind in zip(given, kinds, strict=True)] == [
        *["1.0"] * 3,
        "(1.0, 2.0)",
        "1",
        "1",
    ]
    assert as_declared(value=True, kind=float) is True


@pytest.mark.parametrize(
    ("options", "problem"),
    [
        ({"size": "big"}, "thing 'mixed', size: must be a whole number, got 'big'"),
        ({"size": True}, "thing 'mixed', size: must be a whole number, got True"),
        ({"names": "a"}, "thing 'mixed', names: must be a list, each text, got 'a'"),
        ({"span": [1]}, "thing 'mixed', span: must be a list of 2: a number, a number or null, got [1]"),
        ({"mode": "fest"}, "thing 'mixed', mode: must be fast or slow, got 'fest'"),
    ],
    ids=str,
)
def test_a_wrong_type_is_said_in_plain_words(options: dict[str, object], problem: str) -> None:
    with pytest.raises(InputError) as caught:
        build(REGISTRY, "thing", "mixed", options)
    assert str(caught.value) == problem


def test_types_that_cannot_be_resolved_are_not_checked() -> None:
    assert declared(Unresolved) == {}
    assert build(REGISTRY, "thing", "unresolved", {"price": 3}).price == 3
