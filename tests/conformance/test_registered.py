"""Every registered name has a row, explains itself, refuses nonsense and has a page."""

from __future__ import annotations

import dataclasses
from pathlib import Path
from typing import Any

import pytest

from conformance.rows import REGISTRIES, Row, cases, settings_of
from sparring.log_ratios import DRAWN_FIELDS, PREFERENCE_FIELDS, LogRatios
from sparring.metrics import METRICS
from sparring.objectives import OBJECTIVES
from sparring.opponents import OPPONENTS
from sparring.regularizers import REGULARIZERS
from sparring.types import Objective, Opponent, Regularizer

DOCS = Path(__file__).parents[2] / "docs"


@pytest.mark.parametrize("kind", REGISTRIES)
def test_every_registered_name_has_a_row_and_no_row_is_left_over(kind: str) -> None:
    registry, rows = REGISTRIES[kind]
    assert set(registry) == set(rows)


@pytest.mark.parametrize(("build", "settings", "row"), cases(*REGISTRIES))
def test_is_a_frozen_keyword_only_dataclass_that_explains_itself(
    build: type, settings: dict[str, Any], row: Row
) -> None:
    component = build(**settings)
    options = [field for field in dataclasses.fields(build) if field.init]
    assert all(field.kw_only for field in options)
    assert build.__dataclass_params__.frozen
    assert hash(component) == hash(build(**settings))
    assert "Source: " in build.__doc__
    assert all(f"{field.name}: " in build.__doc__ for field in options)


PROTOCOLS = {"objective": Objective, "regularizer": Regularizer, "opponent": Opponent}


@pytest.mark.parametrize("kind", PROTOCOLS)
def test_every_component_derives_from_its_protocol_and_leaves_nothing_of_it_out(kind: str) -> None:
    for build in REGISTRIES[kind][0].values():
        assert PROTOCOLS[kind] in build.__mro__
        assert not build.__abstractmethods__


@pytest.mark.parametrize(("build", "settings", "row"), cases("objective", "regularizer"))
def test_what_it_requires_are_fields_of_log_ratios(build: type, settings: dict[str, Any], row: Row) -> None:
    requires = build(**settings).requires
    assert isinstance(requires, frozenset)
    assert requires <= {field.name for field in dataclasses.fields(LogRatios)}


@pytest.mark.parametrize(("build", "settings", "row"), cases("objective"))
def test_an_objective_declares_its_facts(build: type, settings: dict[str, Any], row: Row) -> None:
    objective = build(**settings)
    assert build.compares_any_pair is row.any_pair
    assert (objective.stability is not None) is row.converges
    if row.any_pair:
        # Otherwise nothing says which of the two is preferred.
        assert objective.requires & PREFERENCE_FIELDS


@pytest.mark.parametrize(("build", "settings", "row"), cases("regularizer"))
def test_a_regularizer_declares_its_facts(build: type, settings: dict[str, Any], row: Row) -> None:
    regularizer = build(**settings)
    assert REGULARIZERS[regularizer.name] is build
    assert regularizer.weighs_draws is getattr(regularizer, "importance", False)
    # A weight is of a draw.
    assert not regularizer.weighs_draws or regularizer.requires & DRAWN_FIELDS


@pytest.mark.parametrize(
    ("build", "settings", "reason"),
    [
        pytest.param(registry[name], settings_of(kind, name, settings), reason, id=f"{kind}-{name}-{settings}")
        for kind, (registry, rows) in REGISTRIES.items()
        for name, row in rows.items()
        if name in registry
        for settings, reason in row.nonsense
    ],
)
def test_nonsense_is_refused_with_the_reason(build: type, settings: dict[str, Any], reason: str) -> None:
    with pytest.raises(ValueError) as caught:  # noqa: PT011 - the reason is looked for below
        build(**settings)
    assert reason in str(caught.value)


def test_every_algorithm_has_its_page() -> None:
    for name in OBJECTIVES:
        assert (DOCS / "algorithms" / f"{name}.md").exists()
    for page, registry in (("regularizers.md", REGULARIZERS), ("opponents.md", OPPONENTS), ("metrics.md", METRICS)):
        text = (DOCS / page).read_text(encoding="utf-8")
        assert all(f"`{name}`" in text for name in registry)
