"""What `sparring plan` counts without running anything."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest

from sparring.planning.plan import _comparisons, _held_out_comparisons, plan
from sparring.planning.tokens import Tokens, count_tokens, scored_rows, trained_rows
from sparring.selfplay.config.schema import SelfPlayConfig
from sparring.selfplay.prepared import prepare


@pytest.fixture
def count(tiny_folder: Path) -> Any:
    def tokens(**opponent: Any) -> Tokens:
        data = {"source": "arithmetic", "limit": 6, "held_out": 3, "max_response_tokens": 24}
        config = {"data": data, "model": {"name": str(tiny_folder)}, "iterations": 3, "opponent": opponent}
        return count_tokens(prepare(SelfPlayConfig.model_validate(config)), 1)

    return tokens


def test_the_game_is_told_and_that_preferences_have_no_number(tiny_folder: Path) -> None:
    config = {
        "model": {"name": str(tiny_folder)},
        "data": {"source": "arithmetic", "limit": 5, "held_out": 0, "max_response_tokens": 60},
        "objective": {"name": "sppo"},
        "regularizers": [{"name": "reverse-kl", "weight": 0.5}],
        "judge": {"name": "verifier"},
        "generation": {"samples_per_prompt": 2},
        "iterations": 1,
    }
    (phase,) = plan(SelfPlayConfig.model_validate(config), calibrated=False).phases
    assert phase.rows()[:2] == [
        (
            "game",
            "objective 'sppo' with judge 'verifier' + 0.5 × reverse-kl, against 'previous'; 1 iteration on 5 prompts",
        ),
        ("stability", "depends on the preferences: there is no number to check beforehand"),
    ]


@pytest.mark.parametrize(("expert_plays", "pairs"), [(False, 3), (True, 6)])
def test_every_pair_is_compared_in_every_iteration(expert_plays: bool, pairs: int) -> None:
    config = SelfPlayConfig.model_validate(
        {
            "data": {"source": "arithmetic", "limit": 6},
            "iterations": 2,
            "generation": {"samples_per_prompt": 3},
            "judge": {"name": "verifier", "expert_plays": expert_plays},
        }
    )
    assert _comparisons(config, 6) == 2 * 6 * pairs
    assert _comparisons(config.model_copy(update={"judge": None}), 6) == 0


@pytest.mark.parametrize(("warmup", "rivals"), [(None, 1 + 2), ({}, 1 + 2 + 2)])
def test_every_policy_is_beside_the_base_model_and_the_previous_one(
    tiny_folder: Path, warmup: dict[str, Any] | None, rivals: int
) -> None:
    data = {"source": "arithmetic", "limit": 6, "held_out": 3, "max_response_tokens": 24}
    config = {"data": data, "model": {"name": str(tiny_folder)}, "iterations": 2, "warmup": warmup}
    assert _held_out_comparisons(prepare(SelfPlayConfig.model_validate(config))) == 0
    judged = config | {"evaluation": {"judge": {"name": "verifier"}, "samples_per_prompt": 4}}
    assert _held_out_comparisons(prepare(SelfPlayConfig.model_validate(judged))) == rivals * 3 * 4


def test_a_token_of_a_mixture_is_read_by_two_models(count: Any) -> None:
    plain, scored = count(name="previous"), count(name="geometric-mixture")
    mixed = count(name="geometric-mixture", samples="mixture")
    assert (mixed.score, mixed.train) == (scored.score, scored.train)
    assert plain.generate == scored.generate < mixed.generate
    # Four policies with two held-out answers each are as before; three mixtures add one held-out answer.
    assert mixed.generate < 2 * scored.generate


@pytest.mark.parametrize(
    ("settings", "scored", "trained", "reference"),
    [
        ({"objective": {"name": "spin"}}, 1 + 3, 1 + 3, 0),
        ({"objective": {"name": "t-spin"}}, 1 + 3, 1 + 3 + 3, 0),
        ({"objective": {"name": "spin"}, "regularizers": [{"name": "forward-kl", "weight": 0.1}]}, 4, 1 + 3 + 3, 3),
        ({"objective": {"name": "sppo"}, "judge": {"name": "verifier"}}, 3, 3, 0),
        ({"objective": {"name": "sppo"}, "judge": {"name": "verifier", "expert_plays": True}}, 4, 1 + 3, 0),
    ],
    ids=["spin", "t-spin", "forward-kl", "sppo", "the expert plays"],
)
def test_every_response_that_is_laid_out_counts(
    tiny_folder: Path, settings: dict[str, Any], scored: int, trained: int, reference: int
) -> None:
    data = {"source": "arithmetic", "limit": 4, "held_out": 0, "max_response_tokens": 24}
    base = {"data": data, "model": {"name": str(tiny_folder)}, "iterations": 2, "generation": {"samples_per_prompt": 3}}
    prepared = prepare(SelfPlayConfig.model_validate(base | settings))
    (phase,) = prepared.phases
    assert [len(row.responses) for row in scored_rows(prepared, phase, 0)] == 4 * [scored]
    assert [len(row.responses) for row in trained_rows(prepared, phase, 0)] == 4 * [trained]
    # A generated response is taken to be as long as the expert's, which the base model samples once, not an iteration.
    experts = sum(len(item.expert_ids) for item in prepared.train.examples)
    prompts = sum(len(item.prompt_ids) for item in prepared.train.examples)
    assert count_tokens(prepared, 1).generate == (2 * 3 + reference) * experts
    assert count_tokens(prepared, 1).train == 2 * (prompts + trained * experts)
