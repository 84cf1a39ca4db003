"""One row for every registered objective, regularizer and opponent; the tests of this folder run over all of them.

A new one fails `test_every_registered_name_has_a_row` until it has one. A row holds only what cannot be looked up:
settings worth running with, settings that are nonsense, and where in an exact game the gradient is zero.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

import pytest

from sparring.objectives import OBJECTIVES
from sparring.opponents import OPPONENTS
from sparring.regularizers import REGULARIZERS


@dataclass(frozen=True, kw_only=True)
class Row:
    """One registered name.

    Attributes:
        settings: The settings to run every test with.
        nonsense: Settings that must be refused, each with a part of the reason.
        rests_at: Where the exact gradient is zero: "common" where all policies are the same one, whatever it is;
            "uniform" where they are all the uniform one.
        chosen: Settings that may be a word, by which the loss chooses a number from the batch. The gradient is that at
            the number, held fixed, and a metric of the setting's name reports it.
        held: A setting by which the loss weighs with numbers that it holds fixed; at 0 there are none. Its gradient is
            its value's there only.
        any_pair: Whether the objective learns from any two responses of which one is preferred.
        converges: Whether the objective's exact iteration ends at the expert, so that it has a stability number.
    """

    settings: tuple[Mapping[str, Any], ...]
    nonsense: tuple[tuple[Mapping[str, Any], str], ...] = ()
    rests_at: str = "common"
    chosen: tuple[str, ...] = ()
    held: str | None = None
    any_pair: bool = False
    converges: bool = False


def scale(name: str) -> tuple[tuple[dict[str, Any], str], ...]:
    """What every positive number refuses."""
    values = (0, -1.0, float("nan"), float("inf"), True, "1")
    return tuple(({name: value}, f"{name} must be a finite number > 0") for value in values)


LINKS = ("logistic", "hinge", "exponential", "linear", "squared")
F = ("kl", "reverse_kl", "js", "pearson", "neyman", "squared_hellinger")
PAIRS = ({}, {"pairs": "all"})
UNKNOWN_PAIRS = ({"pairs": "best"}, "known: all, best-worst")
CLIPPED = (*scale("weight"), *scale("clip"), ({"clip": 31.0}, "clip must be at most 30"))

OBJECTIVE_ROWS = {
    "spin": Row(
        settings=tuple({"beta": 0.5, "link": link} for link in LINKS),
        nonsense=(*scale("beta"), ({"link": "logistics"}, "did you mean 'logistic'")),
        converges=True,
    ),
    "spif": Row(
        settings=({}, {"beta": 0.1, "reward_bound": 0.5}),
        nonsense=(*scale("beta"), *scale("reward_bound")),
        converges=True,
    ),
    "space": Row(settings=({}, {"beta": 0.5, "mu": 3.0}), nonsense=(*scale("beta"), *scale("mu")), converges=True),
    "t-spin": Row(
        settings=({}, {"beta": 0.1, "history_weight": 0}),
        nonsense=(*scale("beta"), ({"history_weight": -1.0}, "history_weight must be a finite number > 0")),
        rests_at="uniform",
    ),
    "f-divergence": Row(
        settings=tuple({"beta": 0.5, "divergence": f} for f in F),
        nonsense=(*scale("beta"), ({"divergence": "tv"}, "known: js, kl")),
        converges=True,
    ),
    "renyi": Row(
        settings=tuple({"alpha": alpha} for alpha in (-1.0, 0, 0.5, 1, 3.0, "adaptive")),
        nonsense=(
            *scale("beta"),
            *(({"alpha": value}, "alpha must be a finite number") for value in (float("nan"), float("inf"), "1", True)),
            ({"alpha": 0.999}, "so near 1"),
            ({"alpha": -0.001}, "so near 0"),
            ({"alpha": "adaptve"}, "a finite number or 'adaptive'"),
        ),
        chosen=("alpha",),
        converges=True,
    ),
    "sppo": Row(
        settings=({}, {"eta": 5.0, "pairs": "best-worst"}),
        nonsense=(*scale("eta"), UNKNOWN_PAIRS),
    ),
    "dpo": Row(settings=PAIRS, nonsense=(*scale("beta"), UNKNOWN_PAIRS), any_pair=True),
    "ipo": Row(settings=PAIRS, nonsense=(*scale("tau"), UNKNOWN_PAIRS), any_pair=True),
    "inpo": Row(
        settings=PAIRS,
        nonsense=(*scale("tau"), *scale("eta"), UNKNOWN_PAIRS, ({"tau": 2.0}, "tau must be at most eta")),
        any_pair=True,
    ),
    "nash-md": Row(settings=({}, {"eta": 5.0}), nonsense=scale("eta")),
    "raft": Row(settings=({},)),
    "tpaw": Row(
        settings=({}, {"beta": 0.5, "guard": 1.0}, {"guard": 2.5, "sharpness": 3.0}),
        nonsense=(
            *scale("beta"),
            *scale("guard"),
            ({"guard": 0.9}, "guard must be at least 1"),
            ({"sharpness": -1.0}, "sharpness must be a finite number > 0"),
        ),
        held="sharpness",
    ),
    "distill": Row(
        settings=tuple({"divergence": name} for name in ("reverse_kl", "forward_kl", "js")),
        nonsense=(({"divergence": "kl"}, "known: forward_kl, js, reverse_kl"),),
    ),
    "dft": Row(settings=({},), rests_at="uniform"),
    "sft": Row(settings=({},)),
}

REGULARIZER_ROWS = {
    "reverse-kl": Row(
        settings=tuple({"estimator": k, "importance": w} for k in ("k1", "k2", "k3") for w in (False, True)),
        nonsense=(*CLIPPED, ({"estimator": "k4"}, "known: k1, k2, k3")),
    ),
    "forward-kl": Row(
        settings=({}, {"samples": "generated"}, {"samples": "generated", "importance": True}),
        nonsense=(*CLIPPED, ({"samples": "base"}, "known:"), ({"importance": True}, 'samples="generated"')),
    ),
    "chi-squared": Row(
        settings=tuple({"estimator": k, "importance": w} for k in ("k1", "k3") for w in (False, True)),
        nonsense=(*CLIPPED, ({"estimator": "k2"}, "known: k1, k3")),
    ),
    "sft": Row(settings=({}, {"length_normalized": True}), nonsense=scale("weight")),
    "raft": Row(settings=({}, {"length_normalized": True}), nonsense=scale("weight")),
    "entropy": Row(settings=({}, {"importance": False}), nonsense=CLIPPED, rests_at="uniform"),
}

OPPONENT_ROWS = {
    "previous": Row(settings=({},)),
    "previous-two": Row(settings=({},)),
    "fictitious-play": Row(
        settings=({}, {"history": 2}, {"history": 3, "mixture": "geometric"}),
        nonsense=(
            *(({"history": value}, "history must be an integer") for value in (0, -1, 1.5, True, "all")),
            ({"mixture": "harmonic"}, "known: arithmetic, geometric"),
        ),
    ),
    "geometric-mixture": Row(
        settings=({}, {"alpha": 0.9}, {"samples": "mixture"}),
        nonsense=(
            *scale("alpha"),
            ({"alpha": 1.0}, "the opponent `base`"),
            ({"samples": "base"}, "known: mixture, policy"),
        ),
    ),
    "base": Row(settings=({},)),
    "team": Row(
        settings=({}, {"size": 1}),
        nonsense=tuple(
            ({"size": value}, "size must be an integer of at least 1") for value in (0, -1, 1.5, True, "all")
        ),
    ),
}

REGISTRIES: dict[str, tuple[Mapping[str, type], Mapping[str, Row]]] = {
    "objective": (OBJECTIVES, OBJECTIVE_ROWS),
    "regularizer": (REGULARIZERS, REGULARIZER_ROWS),
    "opponent": (OPPONENTS, OPPONENT_ROWS),
}


def settings_of(kind: str, name: str, settings: Mapping[str, Any]) -> dict[str, Any]:
    return {"weight": 0.7, **settings} if kind == "regularizer" else dict(settings)


def cases(*kinds: str) -> list[Any]:
    """Every registered name of these kinds, under each of its settings."""
    return [
        pytest.param(registry[name], settings_of(kind, name, settings), row, id=f"{kind}-{name}-{number}")
        for kind, (registry, rows) in REGISTRIES.items()
        if kind in kinds
        for name, row in rows.items()
        if name in registry
        for number, settings in enumerate(row.settings)
    ]
