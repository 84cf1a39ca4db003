"""Building components from names and options, and what is said when they are wrong."""

from __future__ import annotations

import math
import re
from dataclasses import dataclass, field

import pytest

from sparring.errors import InputError
from sparring.registry import Registry, build, require_one_of, require_positive


@dataclass(frozen=True, kw_only=True)
class Steady:
    rate: float = 1.0
    kind: str = "plain"
    loud: bool = False
    derived: int = field(default=3, init=False)

    def __post_init__(self) -> None:
        require_positive("rate", self.rate, "nothing would move")
        require_one_of("kind", self.kind, ("plain", "fancy"))


@dataclass(frozen=True, kw_only=True)
class Bare:
    pass


@dataclass(frozen=True, kw_only=True)
class Demanding:
    needed: int


REGISTRY = Registry(object, {"steady": Steady, "bare": Bare, "demanding": Demanding})


def test_builds_with_options_and_defaults() -> None:
    assert build(REGISTRY, "thing", "steady", {"rate": 2}) == Steady(rate=2)
    assert build(REGISTRY, "thing", "bare", {}) == Bare()


@pytest.mark.parametrize(
    ("name", "options", "where", "problem", "fix"),
    [
        ("stedy", {}, "thing.name", "unknown thing 'stedy'", "did you mean 'steady'?"),
        ("zzz", {}, "thing.name", "unknown thing 'zzz'", "known: bare, demanding, steady"),
        ("steady", {"rat": 1}, "thing.rat", "thing 'steady' has no option 'rat'", "did you mean 'rate'?"),
        ("steady", {"zzz": 1}, "thing.zzz", "thing 'steady' has no option 'zzz'", "known: kind, loud, rate"),
        (
            "steady",
            {"derived": 1},
            "thing.derived",
            "thing 'steady' has no option 'derived'",
            "known: kind, loud, rate",
        ),
        ("bare", {"rate": 1}, "thing.rate", "thing 'bare' has no option 'rate'", "it takes no options; remove it"),
        (
            "steady",
            {"rate": 0},
            "thing 'steady'",
            "rate must be a finite number > 0, got 0.0: nothing would move",
            None,
        ),
        (
            "steady",
            {"kind": "fency"},
            "thing 'steady'",
            "kind 'fency' is unknown; did you mean 'fancy'?",
            None,
        ),
        ("steady", {"loud": "yess"}, "thing 'steady', loud", "must be true or false, got 'yess'", None),
        ("steady", {"loud": "false"}, "thing 'steady', loud", "must be true or false, got 'false'", None),
    ],
)
def test_errors(name: str, options: dict[str, object], where: str, problem: str, fix: str | None) -> None:
    with pytest.raises(InputError) as caught:
        build(REGISTRY, "thing", name, options)
    assert (caught.value.where, caught.value.problem, caught.value.fix) == (where, problem, fix)


def test_a_missing_option_is_named() -> None:
    with pytest.raises(InputError, match="thing 'demanding' needs 'needed'") as caught:
        build(REGISTRY, "thing", "demanding", {})
    assert caught.value.where == "thing.needed"


@pytest.mark.parametrize("value", [0, -1.0, math.nan, math.inf, -math.inf, True, "1", None, [1]])
def test_require_positive_rejects(value: object) -> None:
    with pytest.raises(ValueError, match=f"^x must be a finite number > 0, got {re.escape(repr(value))}: why$"):
        require_positive("x", value, "why")  # type: ignore[arg-type]


@pytest.mark.parametrize("value", [1, 1e-300, 1e300])
def test_require_positive_accepts(value: float) -> None:
    require_positive("x", value, "why")


@pytest.mark.parametrize("value", ["c", 1, None, ["a"], {"a": 1}])
def test_require_one_of_rejects_whatever_it_is_given(value: object) -> None:
    with pytest.raises(ValueError, match=r"^x .* is unknown; "):
        require_one_of("x", value, {"a": 1, "b": 2})  # type: ignore[arg-type]
