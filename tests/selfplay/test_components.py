"""Which judge goes with which objective, before anything expensive."""

from __future__ import annotations

from typing import Any

import pytest

from sparring.errors import InputError
from sparring.judges import JUDGES, JudgeSettings
from sparring.opponents import OPPONENTS
from sparring.registry import build
from sparring.selfplay.checks.players import check_importance, check_judge
from sparring.selfplay.components import held_out_judge, judge_of, objective_of
from sparring.selfplay.config.schema import Component, SelfPlayConfig


def judge(**sections: Any) -> JudgeSettings | None:
    settings = {"objective": {"name": "dpo"}, "judge": {"name": "expert", "expert_plays": True}} | sections
    config = SelfPlayConfig.from_mapping({"data": {"source": "arithmetic", "limit": 8}} | settings)
    found = judge_of(config)
    check_judge(config, objective_of(config), found)
    return found


def test_the_expert_plays_against_one_response_and_one_alone_against_nobody() -> None:
    assert judge() == JUDGES["expert"]()
    with pytest.raises(InputError, match="nothing to compare one response with"):
        judge(judge={"name": "verifier"})


@pytest.mark.parametrize(
    "regularizer",
    [
        {"name": "reverse-kl"},
        {"name": "reverse-kl", "importance": True},
        {"name": "chi-squared"},
        {"name": "entropy"},
        {"name": "entropy", "importance": False},
        {"name": "forward-kl", "samples": "generated"},
    ],
    ids=str,
)
def test_an_average_over_draws_of_the_opponent_leaves_no_place_for_the_expert(regularizer: dict[str, Any]) -> None:
    regularized = {"regularizers": [regularizer | {"weight": 0.1}]}
    with pytest.raises(InputError, match=rf"regularizer '{regularizer['name']}' averages over draws of the opponent"):
        judge(**regularized)
    more = {"judge": {"name": "verifier"}, "generation": {"samples_per_prompt": 2}}
    assert judge(**regularized, **more) is not None


@pytest.mark.parametrize("name", ["sft", "forward-kl", "raft"])
def test_an_average_over_other_responses_does(name: str) -> None:
    assert judge(regularizers=[{"name": name, "weight": 0.1}]) == JUDGES["expert"]()


def check(opponent: dict[str, Any], regularizer: dict[str, Any], **generation: Any) -> None:
    settings = {"opponent": opponent, "regularizers": [regularizer | {"weight": 0.1}], "generation": generation}
    config = SelfPlayConfig.from_mapping({"data": {"source": "arithmetic", "limit": 8}} | settings)
    player = build(OPPONENTS, "opponent", config.opponent.name, config.opponent.options)
    check_importance(config, objective_of(config), player)


WEIGHTED = {"name": "reverse-kl", "estimator": "k3", "importance": True}


@pytest.mark.parametrize(
    "opponent",
    [
        {"name": "base"},
        {"name": "previous-two"},
        {"name": "geometric-mixture"},
        {"name": "geometric-mixture", "samples": "mixture"},
        {"name": "fictitious-play", "mixture": "geometric"},
    ],
    ids=str,
)
def test_importance_weights_are_for_draws_of_the_opponent_that_is_scored(opponent: dict[str, Any]) -> None:
    with pytest.raises(InputError, match=rf"weight e\^Δ of 'reverse-kl'.*opponent '{opponent['name']}' draws from"):
        check(opponent, WEIGHTED)
    check(opponent, {"name": "reverse-kl"})


def test_importance_weights_are_for_draws_at_temperature_one() -> None:
    for opponent in ({"name": "previous"}, {"name": "fictitious-play", "history": 3}):
        check(opponent, WEIGHTED)
        for skewed in ({"temperature": 0.7}, {"top_p": 0.9}, {"top_k": 20}):
            with pytest.raises(InputError, match="temperature, top-p or top-k changes them"):
                check(opponent, {"name": "chi-squared"}, **skewed)
            check(opponent, {"name": "chi-squared", "importance": False}, **skewed)


EXPERT, RULE, PAID = JUDGES["expert"](), JUDGES["verifier"](), JUDGES["llm"](model="m", api_key_env=None)


@pytest.mark.parametrize(
    ("wanted", "of_training", "expected"),
    [
        (None, [None, RULE, PAID], RULE),
        (None, [JUDGES["reward-model"](model="m")], JUDGES["reward-model"](model="m")),
        # It may cost money, so it must be asked for.
        (None, [PAID], None),
        ("training", [PAID], PAID),
        ("none", [RULE], None),
        (Component(name="verifier", rule="exact"), [None], JUDGES["verifier"](rule="exact")),
        (Component(name="verifier", rule="exact"), [PAID], JUDGES["verifier"](rule="exact")),
        # It never prefers one policy to another.
        (None, [EXPERT], None),
        (None, [EXPERT, RULE], RULE),
        (None, [None], None),
    ],
)
def test_the_judge_of_held_out_responses(wanted: Any, of_training: list[Any], expected: JudgeSettings | None) -> None:
    assert held_out_judge(wanted, of_training) == expected


@pytest.mark.parametrize(
    ("wanted", "of_training", "problem"),
    [
        ("training", [None, EXPERT], "no judge of training can compare two policies"),
        (Component(name="expert"), [RULE], "never prefers one policy to another"),
        (Component(name="verifer"), [None], "did you mean 'verifier'"),
    ],
)
def test_a_judge_of_held_out_responses_that_is_none(wanted: Any, of_training: list[Any], problem: str) -> None:
    with pytest.raises(InputError) as caught:
        held_out_judge(wanted, of_training)
    assert problem in str(caught.value)
