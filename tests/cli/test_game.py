"""`sparring game`: one objective, and several beside each other."""

from __future__ import annotations

import json
from collections.abc import Callable

import pytest

Sparring = Callable[..., tuple[object, str]]


def test_the_stability_number_is_told(sparring: Sparring) -> None:
    code, told = sparring("game", "imitation", "spin:beta=0.8", "--iterations", 2)
    number = "β = 0.8; converges: near the expert the exact iteration multiplies the error by 0.25"
    assert (code, told.splitlines()[-1]) == (0, f"stability against 'previous': {number}")


def test_where_there_is_no_stability_number_the_reason_is_told(sparring: Sparring) -> None:
    said = "t-spin has no stability number at the expert: it is no fixed point: the loss against itself has gradient"
    given = ("game", "imitation", "t-spin", "--iterations", 1)
    assert sparring(*given)[1].splitlines()[-1].startswith(said)
    assert json.loads(sparring(*given, "--json")[1])["stability"] is None
    told = sparring("game", "imitation", "spin", "t-spin", "--iterations", 1)[1].splitlines()
    assert told[-1].startswith(said)
    assert "t-spin" in next(row for row in told if "none" in row)


def test_against_another_opponent_the_table_says_of_which_the_number_is(sparring: Sparring) -> None:
    told = sparring("game", "imitation", "spin", "spif", "--opponent", "fictitious-play", "--iterations", 1)[1]
    assert "stability against 'previous'" in told


def test_several_objectives_are_compared(sparring: Sparring) -> None:
    objectives = ["spin:beta=0.8", "space:beta=0.4", "spin:link=hinge"]
    given = ("game", "imitation", *objectives, "--iterations", 2)
    code, told = sparring(*given, "--json")
    spin, space, hinge = json.loads(told)["plays"]
    assert code == 0
    assert [each["objective"] for each in (spin, space, hinge)] == objectives
    # Both factors by hand: |1 − 1/β|.
    factors = [each["stability"]["contraction_factor"] for each in (spin, space)]
    assert factors == pytest.approx([0.25, 1.5])
    assert spin["log_error"][2] / spin["log_error"][1] == pytest.approx(0.25)
    assert hinge["stability"]["contraction_factor"] == "Infinity"
    assert (hinge["policies"], "no smooth minimiser" in hinge["stopped"]) == ([], True)
    rows = sparring(*given)[1].splitlines()
    assert any("spin:beta=0.8" in row and "β = 0.8, × 0.25" in row for row in rows)


def test_preferences_have_no_number_and_a_page_has_one_objective(sparring: Sparring) -> None:
    code, told = sparring("game", "preference", "sppo", "ipo", "--iterations", 2)
    assert (code, "stability" in told) == (0, False)
    code, told = sparring("game", "imitation", "spin", "spif", "--html", "page.html")
    assert (code, told) == (
        2,
        "sparring: --html: is a page of one objective\n  fix: give one objective, or leave it out\n",
    )


def test_what_learns_from_fewer_outcomes_than_the_others_is_told(sparring: Sparring) -> None:
    told = sparring("game", "preference", "sppo", "ipo", "dpo:beta=1", "ipo:pairs=all", "--iterations", 1)[1]
    said = "from the best and the worst outcome only (pairs=best-worst; pairs=all takes every one): ipo, dpo:beta=1"
    assert told.splitlines()[-1] == said
    assert "best and the worst" not in sparring("game", "preference", "sppo", "nash-md", "--iterations", 1)[1]
