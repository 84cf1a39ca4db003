"""Pauses that grow."""

from __future__ import annotations

from sparring.pauses import Pauses


def test_pauses_double_up_to_the_longest() -> None:
    pauses = Pauses(first_s=1.0, longest_s=30.0)
    assert [pauses.after(failures) for failures in range(1, 8)] == [1.0, 2.0, 4.0, 8.0, 16.0, 30.0, 30.0]


def test_no_number_of_failures_is_too_large() -> None:
    assert Pauses(first_s=0.5, longest_s=30.0).after(100_000) == 30.0
