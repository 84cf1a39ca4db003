"""What `sparring plan` counts without running anything."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest

from sparring.planning.phases import comparisons, held_out_comparisons
from sparring.planning.plan import plan, seconds_of
from sparring.planning.rates import Rates
from sparring.planning.tokens import Tokens, scored_rows, tokens_by_part, trained_rows
from sparring.selfplay.config.schema import SelfPlayConfig
from sparring.selfplay.prepared import prepare


@pytest.fixture
def count(tiny_folder: Path) -> Any:
    def tokens(**opponent: Any) -> Tokens:
        data = {"source": "arithmetic", "limit": 6, "held_out": 3, "max_response_tokens": 24}
        config = {"data": data, "model": {"name": str(tiny_folder)}, "iterations": 3, "opponent": opponent}
        return Tokens.total(tokens_by_part(prepare(SelfPlayConfig.model_validate(config)), 1).values())

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
        ("stability", "depends on the preferences, so no number is known beforehand"),
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
    assert comparisons(config, 6) == 2 * 6 * pairs
    assert comparisons(config.model_copy(update={"judge": None}), 6) == 0


@pytest.mark.parametrize(("warmup", "rivals"), [(None, 1 + 2), ({}, 1 + 2 + 2)])
def test_every_policy_is_beside_the_base_model_and_the_previous_one(
    tiny_folder: Path, warmup: dict[str, Any] | None, rivals: int
) -> None:
    data = {"source": "arithmetic", "limit": 6, "held_out": 3, "max_response_tokens": 24}
    config = {"data": data, "model": {"name": str(tiny_folder)}, "iterations": 2, "warmup": warmup}
    assert held_out_comparisons(prepare(SelfPlayConfig.model_validate(config))) == 0
    judged = config | {"evaluation": {"judge": {"name": "llm", "model": "some"}, "samples_per_prompt": 4}}
    assert held_out_comparisons(prepare(SelfPlayConfig.model_validate(judged))) == rivals * 3 * 4


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
    total = Tokens.total(tokens_by_part(prepared, 1).values())
    assert total.generate == (2 * 3 + reference) * experts
    assert total.train == 2 * (prompts + trained * experts)


JUDGED_BY = {
    "data": {"source": "arithmetic", "limit": 4, "held_out": 0, "max_response_tokens": 24},
    "iterations": 1,
    "judge": {"name": "verifier"},
}


@pytest.mark.parametrize(
    ("objective", "samples", "apart", "alike"),
    [
        ("dpo", 4, "2 of the 4", "all"),
        ("ipo", 3, "2 of the 3", "all"),
        ("inpo", 4, "2 of the 4", "all"),
        ("raft", 4, "1 of the 4", "none"),
        ("raft", 2, "1 of the 2", "none"),
        ("dpo", 2, None, None),
        ("sppo", 4, None, None),
    ],
)
def test_what_the_verdicts_leave_out_of_training_is_told(
    tiny_folder: Path, objective: str, samples: int, apart: str | None, alike: str | None
) -> None:
    config = JUDGED_BY | {
        "model": {"name": str(tiny_folder)},
        "objective": {"name": objective},
        "judge": {"name": "consensus", "rule": "final-number"},
        "generation": {"samples_per_prompt": samples},
    }
    notes = plan(SelfPlayConfig.model_validate(config), calibrated=False).notes
    assert [note for note in notes if "trains on" in note] == (
        []
        if apart is None
        else [
            f"{objective} trains on {apart} responses to a prompt where no two tie, and on {alike} where all tie: "
            "training, and a control beside it, may take less than is counted here"
        ]
    )


def test_what_raft_trains_on_by_a_rule_is_counted_as_the_most_that_chance_makes_it(tiny_folder: Path) -> None:
    config = JUDGED_BY | {
        "model": {"name": str(tiny_folder)},
        "objective": {"name": "raft"},
        "generation": {"samples_per_prompt": 4},
    }
    planned = plan(SelfPlayConfig.model_validate(config), calibrated=False)
    # Of four samples that are right with probability p, 4p are right, but for p⁴ in which all are: 4p − 4p⁴, which is
    # largest at p³ = ¼. Some of them are right and some wrong with probability 1 − p⁴ − (1 − p)⁴, 7/8 at most.
    most = 3 * 0.25 ** (1 / 3)
    assert [note for note in planned.notes if "trains on" in note] == [
        "raft trains on right responses, and only where a prompt has right and wrong ones: on average at most "
        f"{most:.1f} of the 4, which is what is counted here for training and for a control beside it"
    ]
    examples = prepare(SelfPlayConfig.model_validate(config)).train.examples
    prompts, responses = (sum(len(getattr(item, name)) for item in examples) for name in ("prompt_ids", "expert_ids"))
    assert planned.parts["play"].tokens.train == pytest.approx(7 / 8 * prompts + most * responses, abs=1)
    assert planned.parts["play"].tokens.generate == 4 * responses
    shown = dict(zip(*(column.cells for column in planned.table().columns), strict=True))
    assert shown["of that, play"].startswith("at most ")


def test_verdicts_of_a_rule_leave_dpo_every_response(tiny_folder: Path) -> None:
    config = JUDGED_BY | {
        "model": {"name": str(tiny_folder)},
        "objective": {"name": "dpo"},
        "generation": {"samples_per_prompt": 4},
    }
    assert not any("trains on" in note for note in plan(SelfPlayConfig.model_validate(config), calibrated=False).notes)


def test_a_judge_that_takes_no_time_is_not_told_of(tiny_folder: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    config = JUDGED_BY | {
        "model": {"name": str(tiny_folder)},
        "objective": {"name": "sppo"},
        "generation": {"samples_per_prompt": 3},
    }
    (ruled,) = plan(SelfPlayConfig.model_validate(config), calibrated=False).phases
    assert (ruled.comparisons, [name for name, _ in ruled.rows()]) == (4 * 3, ["game", "stability"])
    monkeypatch.setenv("OPENAI_API_KEY", "none")
    asked = config | {"judge": {"name": "llm", "model": "some"}}
    (paid,) = plan(SelfPlayConfig.model_validate(asked), calibrated=False).phases
    assert paid.rows()[-1] == ("judge", "12 comparisons, whose time is not in the total")


def test_of_given_preferences_the_data_bring_the_responses(tiny_folder: Path, tmp_path: Path) -> None:
    rows = [{"prompt": f"{n}?", "chosen": f"{n}", "rejected": "x"} for n in range(4)]
    scored = [{"prompt": f"{n}?", "responses": ["a", "b", "c"], "scores": [1, 2, 3]} for n in range(4)]
    found = []
    for name, data in (("pairs", rows), ("scored", scored)):
        (tmp_path / f"{name}.jsonl").write_text("\n".join(map(json.dumps, data)), encoding="utf-8")
        config = {
            "data": {"source": str(tmp_path / f"{name}.jsonl"), "held_out": 1},
            "model": {"name": str(tiny_folder)},
            "objective": {"name": "dpo"},
            "responses": "data",
            "iterations": 1,
        }
        planned = plan(SelfPlayConfig.model_validate(config), calibrated=False)
        found.append([note.partition(" where")[0] for note in planned.notes if "trains on" in note])
        named = [*planned.table().columns[0].cells]
        assert "generate, held out" in named
        assert "generate" not in named
    assert found == [[], ["dpo trains on 2 of the 3 responses to a prompt"]]


def test_what_each_part_takes_of_the_whole(tiny_folder: Path) -> None:
    config = {
        "data": {"source": "arithmetic", "limit": 4, "held_out": 0, "max_response_tokens": 24},
        "model": {"name": str(tiny_folder)},
        "iterations": 2,
        "objective": {"name": "spin"},
        "warmup": {"training": {"num_train_epochs": 3}},
        "control": True,
    }
    planned = plan(SelfPlayConfig.model_validate(config), calibrated=False)
    parts = {name: part.tokens for name, part in planned.parts.items()}
    # Nothing is held out, and no teacher writes.
    assert list(parts) == ["warm-up", "play", "control"]
    examples = prepare(SelfPlayConfig.model_validate(config)).train.examples
    prompts, experts = (sum(len(getattr(item, name)) for item in examples) for name in ("prompt_ids", "expert_ids"))
    assert parts["warm-up"] == Tokens(generate=0, score=0, train=3 * (prompts + experts))
    # Two iterations on the expert's response and one of the opponent's.
    play = parts["play"]
    assert (play.generate, play.train) == (2 * experts, 2 * (prompts + 2 * experts))
    # For as much computation: a token that is read takes a third of one that is trained on.
    assert parts["control"].train == play.train + (play.generate + play.score) // 3
    assert planned.tokens == Tokens.total(parts.values())
    shown = dict(zip(*(column.cells for column in planned.table().columns), strict=True))
    assert shown["generate"].startswith(f"{2 * experts:,} tokens")
    assert shown["of that, warm-up"] == f"{3 * (prompts + experts):,} tokens"
    assert planned.to_json()["parts"]["control"]["tokens"]["train"] == parts["control"].train


def test_a_part_takes_the_time_of_its_tokens() -> None:
    rates = Rates(generate=10.0, score=100.0, train=50.0)
    tokens = Tokens(generate=20, score=400, train=50)
    assert seconds_of(tokens, rates, 2) == {"generate": 1.0, "score": 2.0, "train": 0.5}
    assert seconds_of(tokens, None, 2) == {}
