"""`sparring game`: one objective, and several beside each other."""

from __future__ import annotations

import json
import sys
from collections.abc import Callable, Iterator
from pathlib import Path

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


LOSS = """
from dataclasses import dataclass
from typing import ClassVar

from sparring.types import Objective, ObjectiveOutput, Regularizer


@dataclass(frozen=True, kw_only=True)
class Mine({base}):
    weight: float = 1.0
    name: ClassVar[str] = "mine"
    requires: ClassVar[frozenset[str]] = frozenset({{{requires}}})

    def __call__(self, ratios):
        margin = ratios.require("policy_generated").mean(-1) - ratios.require("generated").mean(-1)
        return ObjectiveOutput(loss={loss})
"""


@pytest.fixture
def own(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Callable[..., None]]:
    """`own(requires=…, loss=…)` writes a class of one's own, `own_loss:Mine`, into the working directory."""
    monkeypatch.chdir(tmp_path)
    monkeypatch.setattr(sys, "path", list(sys.path))

    def write(**parts: str) -> None:
        text = LOSS.format(**{"base": "Objective", "requires": "'policy_generated', 'generated'"} | parts)
        (tmp_path / "own_loss.py").write_text(text, encoding="utf-8")

    yield write
    sys.modules.pop("own_loss", None)


BROKEN = {
    "scalar": ({"loss": "margin.mean()"}, "its loss must be a tensor [B], one number a prompt"),
    "left out": ({"loss": "margin", "requires": "'policy_generated'"}, "LogRatios.generated [B, K] is needed here"),
    "misspelt": ({"loss": "margin", "requires": "'genrated'"}, "it requires 'genrated', which is no field"),
}


@pytest.mark.parametrize("case", BROKEN)
@pytest.mark.parametrize("game", ["imitation", "preference"])
def test_a_broken_objective_of_ones_own_is_refused(
    sparring: Sparring, own: Callable[..., None], game: str, case: str
) -> None:
    parts, said = BROKEN[case]
    own(**parts)
    code, told = sparring("game", game, "own_loss:Mine")
    assert (code, said in told, "objective 'own_loss:Mine' (own_loss.py, line " in told) == (2, True, True), told


def test_a_broken_regularizer_of_ones_own_is_refused(sparring: Sparring, own: Callable[..., None]) -> None:
    own(base="Regularizer", loss="margin.mean()")
    code, told = sparring("game", "preference", "sppo", "--regularizer", "own_loss:Mine:weight=0.5")
    assert (code, "regularizer 'own_loss:Mine' (own_loss.py, line " in told) == (2, True), told


def test_regularizers_are_played_and_told_in_both_games(sparring: Sparring) -> None:
    given = ("game", "imitation", "sft", "-r", "forward-kl:weight=0.5", "--iterations", 1)
    code, told = sparring(*given, "--json")
    play = json.loads(told)
    # The minimum of −Σ π_E log π − ½ Σ π_ref log π, by hand.
    wanted = [(expert + 0.5 * start) / 1.5 for expert, start in zip((0.6, 0.3, 0.1), (0.2, 0.3, 0.5), strict=True)]
    assert (code, play["policies"][-1]) == (0, pytest.approx(wanted))
    assert (play["objective"], play["regularizers"]) == ("sft", ["forward-kl:weight=0.5"])
    assert "imitation, sft + forward-kl:weight=0.5" in sparring(*given)[1]

    given = ("game", "preference", "sppo", "-r", "reverse-kl:weight=1", "-r", "chi-squared:weight=1")
    code, told = sparring(*given, "--iterations", 1, "--json")
    assert (code, json.loads(told)["regularizers"]) == (0, ["reverse-kl:weight=1", "chi-squared:weight=1"])
    code, told = sparring(*given, "-r", "reverse-kl:weight=1")
    assert (code, "regularizer 'reverse-kl' is listed 2 times" in told) == (2, True)


@pytest.mark.parametrize(
    ("given", "said"),
    [
        (("imitation", "sppo"), "objective 'sppo': it reads preference, and this game has no preference"),
        (("preference", "spif:beta=1"), "objective 'spif:beta=1': it reads expert, and this game has no expert"),
        (("preference", "tpaw"), "objective 'tpaw': it reads team_expert, team_generated, and this game has no expert"),
        (
            ("preference", "sppo", "-r", "sft:weight=1"),
            "regularizer 'sft:weight=1': it reads policy_expert, and this game has no expert",
        ),
    ],
    ids=lambda given: given[1] if isinstance(given, tuple) else "",
)
def test_what_the_other_game_plays_is_told_so(sparring: Sparring, given: tuple[str, ...], said: str) -> None:
    other = "preference" if given[0] == "imitation" else "imitation"
    code, told = sparring("game", *given)
    assert (code, told) == (2, f"sparring: {said}\n  fix: `sparring game {other}` plays it\n")


@pytest.mark.parametrize("game", ["imitation", "preference"])
def test_what_no_exact_game_plays_is_told_so(sparring: Sparring, own: Callable[..., None], game: str) -> None:
    own(requires="'expert', 'preference', 'policy_generated', 'generated'", loss="margin")
    assert "fix: no exact game has an expert and preferences" in sparring("game", game, "own_loss:Mine")[1]


def test_the_help_of_a_game_shows_an_objective_of_it(sparring: Sparring) -> None:
    assert "sppo:eta=1" in sparring("game", "preference", "--help")[1]
    assert "spif:beta=1" in sparring("game", "imitation", "--help")[1]


@pytest.mark.parametrize(
    ("game", "option"),
    [("imitation", "expert"), ("imitation", "initial"), ("preference", "reference"), ("preference", "preference")],
)
def test_what_is_no_list_of_numbers_is_told_of_its_option(sparring: Sparring, game: str, option: str) -> None:
    code, told = sparring("game", game, f"--{option}", f"0.5,x{'9' * 100}")
    problem = f"'0.5,x{'9' * 55}' is not a comma-separated list of numbers"
    assert (code, told) == (2, f"sparring: --{option}: {problem}\n  fix: write e.g. 0.6,0.3,0.1\n")
