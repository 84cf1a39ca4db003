"""Settings by dotted keys."""

from __future__ import annotations

from typing import Any

import pytest

from sparring.settings import flatten, penalty, remove


@pytest.mark.parametrize(
    ("key", "left"),
    [
        ("a", {"b": [{"c": 1, "d": 2}]}),
        ("b.0.c", {"a": {"x": 1}, "b": [{"d": 2}]}),
        ("a.x", {"a": {}, "b": [{"c": 1, "d": 2}]}),
        *((key, None) for key in ("z", "a.y", "a.x.y", "b.1.c", "b.x.c", "b.0", "b.0.c.e")),
    ],
)
def test_a_setting_is_taken_out_if_it_is_there(key: str, left: Any) -> None:
    values = {"a": {"x": 1}, "b": [{"c": 1, "d": 2}]}
    remove(values, key)
    assert values == (left or {"a": {"x": 1}, "b": [{"c": 1, "d": 2}]})


def test_a_regularizer_is_told_with_its_weight_where_it_has_one() -> None:
    assert penalty("reverse-kl", {"weight": 0.5}) == "0.5 × reverse-kl"
    assert penalty("mine:Pull", {"strength": 2.0}) == "mine:Pull"


def test_nested_settings_get_dotted_keys() -> None:
    assert flatten({"a": {"b": {"c": 1}, "d": {}}, "e": [1]}) == {"a.b.c": 1, "a.d": {}, "e": [1]}
