"""The judge `discriminator` in a run: what it learns from, what it judges, and what it is refused."""

from __future__ import annotations

import json
import math
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from a_run import a_config
from sparring.errors import InputError
from sparring.files import remove
from sparring.judges import JUDGES, Question
from sparring.planning.plan import plan
from sparring.run_directory import RunDirectory
from sparring.selfplay.loop import resume, run
from sparring.selfplay.prepared import prepare
from sparring.shards import (
    features_path,
    held_out_rewards_path,
    judgements_path,
    read_features,
    read_rewards,
    read_samples,
    read_verdicts,
    rewards_path,
    samples_of,
)

PLAYED: dict[str, Any] = {
    "data": {"source": "arithmetic", "limit": 7, "held_out": 3, "max_response_tokens": 6},
    "iterations": 1,
    "objective": {"name": "sppo"},
    "judge": {"name": "discriminator", "folds": 2, "temperature": 0.5},
    "generation": {"samples_per_prompt": 2, "batch_size": 16},
    "evaluation": {"samples_per_prompt": 2},
    "training": {"learning_rate": 1e-3},
}


def some_experts(folder: Path, *, taught: int, untaught: int) -> dict[str, Any]:
    """Prompts of which only the first have an expert's response."""
    rows = [{"prompt": f"{n} + 1 =", "response": f"{n + 1}" if n < taught else None} for n in range(taught + untaught)]
    path = folder / "rows.jsonl"
    path.write_text("".join(json.dumps(row) + "\n" for row in rows))
    return {"source": str(path), "held_out": 0, "max_response_tokens": 6}


def test_preferences_are_bradley_terry_on_rewards() -> None:
    judge = JUDGES["discriminator"](temperature=2.0).start(Path("unused"))
    (verdict,) = judge([Question(prompt="q", responses=("a", "b", "c"), rewards=(3.0, 1.0, 3.0))])
    assert verdict.pairwise[0][1] == pytest.approx(1 / (1 + math.exp(-1.0)))
    assert verdict.ties == 1
    with pytest.raises(ValueError, match="needs the reward of every response"):
        judge([Question(prompt="q", responses=("a", "b"))])


@pytest.mark.parametrize("expert_plays", [False, True])
def test_a_run_is_judged_by_what_the_reward_player_learnt(
    tiny_folder: Path, tmp_path: Path, expert_plays: bool
) -> None:
    settings = PLAYED | {"judge": PLAYED["judge"] | {"expert_plays": expert_plays}}
    run(a_config(tiny_folder, tmp_path / "run", **settings))
    directory = RunDirectory(tmp_path / "run")
    stage = directory.iteration(0)
    (shard,) = samples_of(stage)
    rewards = {(row["index"], row["sample"]): row["reward"] for row in read_rewards(rewards_path(stage, shard))}
    for row in read_verdicts(judgements_path(stage, shard)):
        compared = [*([None] if expert_plays else []), 0, 1]
        told = np.array([rewards[row["index"], sample] for sample in compared])
        expected = 1 / (1 + np.exp(-(told[:, None] - told[None, :]) / 0.5))
        assert np.allclose(np.array(row["pairwise"]), expected)
    (judged,) = (each for each in directory.events() if "judge/comparisons" in each)
    if expert_plays:
        # The experts are right, and what an untrained model says is not.
        tables = [row["pairwise"] for row in read_verdicts(judgements_path(stage, shard))]
        assert judged["judge/right"] == np.mean([p > 0.5 for table in tables for p in table[0][1:]])
        assert judged["judge/right_pairs"] == 14
    else:
        assert "judge/right" not in judged
    # Every prompt's expert is rewarded too, and so are the held-out responses.
    assert {sample for _, sample in rewards} == {None, 0, 1}
    assert len(read_rewards(held_out_rewards_path(stage))) == 3 * 3
    measured = json.loads(stage.evaluation.read_text())
    assert 0.0 <= measured["rewards/agreement"]["mean"] <= 1.0
    assert measured["rewards/agreement"]["n"] == 3
    (event,) = (each for each in directory.events() if each.get("stage") == "reward" and "reward/pairs" in each)
    assert event["reward/experts"] == event["reward/prompts"] == 7
    assert event["reward/pairs"] == 14


def test_it_learns_from_some_prompts_and_judges_all(tiny_folder: Path, tmp_path: Path) -> None:
    data = some_experts(tmp_path, taught=4, untaught=3)
    run(a_config(tiny_folder, tmp_path / "run", **PLAYED | {"data": data}))
    directory = RunDirectory(tmp_path / "run")
    stage = directory.iteration(0)
    (shard,) = samples_of(stage)
    assert len(read_samples([shard])) == 7
    assert len(read_verdicts(judgements_path(stage, shard))) == 7
    (event,) = (each for each in directory.events() if "reward/pairs" in each)
    assert (event["reward/experts"], event["reward/prompts"]) == (4, 7)
    assert sum(key[1] is None for key in read_features(features_path(stage, shard))) == 4


def test_beside_an_imitation_objective_it_only_measures(tiny_folder: Path, tmp_path: Path) -> None:
    settings = {name: value for name, value in PLAYED.items() if name not in {"judge", "objective", "evaluation"}}
    weights = []
    for explicit in (False, True):
        evaluation = {"samples_per_prompt": 2, "explicit_reward": explicit}
        run(a_config(tiny_folder, tmp_path / str(explicit), **settings, evaluation=evaluation))
        stage = RunDirectory(tmp_path / str(explicit)).iteration(0)
        measured = json.loads(stage.evaluation.read_text())
        assert ("rewards/agreement" in measured) == explicit
        assert stage.rewards.exists() == explicit
        weights.append((stage.model / "model.safetensors").read_bytes())
    assert weights[0] == weights[1]


def test_what_was_computed_is_not_computed_again_and_what_is_missing_has_the_same_bits(
    tiny_folder: Path, tmp_path: Path
) -> None:
    shards = {"generation": PLAYED["generation"] | {"batch_size": 8}, "data": PLAYED["data"] | {"held_out": 0}}
    run(a_config(tiny_folder, tmp_path / "run", **PLAYED | shards))
    stage = RunDirectory(tmp_path / "run").iteration(0)
    shard = max(samples_of(stage))
    kept = {path: path.read_bytes() for path in (*stage.rewards.iterdir(), *stage.judgements.iterdir())}
    assert len(kept) == 6
    for each in (rewards_path(stage, shard), judgements_path(stage, shard), features_path(stage, shard)):
        remove(stage.model)
        remove(each)
        resume(tmp_path / "run")
        assert {path: path.read_bytes() for path in kept} == kept


def test_too_few_experts_are_refused_in_words(tiny_folder: Path, tmp_path: Path) -> None:
    for taught in (0, 1):
        config = a_config(
            tiny_folder, tmp_path / "run", **PLAYED | {"data": some_experts(tmp_path, taught=taught, untaught=3)}
        )
        with pytest.raises(InputError, match=f"one for each fold, and has {taught}") as caught:
            prepare(config)
        assert caught.value.where == "judge.folds"
    data = some_experts(tmp_path, taught=2, untaught=4) | {"prompts_per_iteration": 3}
    with pytest.raises(InputError, match=r"and has [01] in iteration [01]\n  fix: raise data.prompts_per_iteration"):
        prepare(a_config(tiny_folder, tmp_path / "run", **PLAYED | {"data": data, "iterations": 2}))


def test_a_plan_says_what_it_learns_from(tiny_folder: Path, tmp_path: Path) -> None:
    config = a_config(tiny_folder, tmp_path / "run", **PLAYED | {"data": some_experts(tmp_path, taught=4, untaught=3)})
    told = dict(plan(config, calibrated=False).phases[0].rows())
    assert told["reward player"] == "learns from the experts of 4 of 7 prompts"
    verified = a_config(tiny_folder, tmp_path / "run", **PLAYED | {"judge": {"name": "verifier"}})
    learning = a_config(tiny_folder, tmp_path / "run", **PLAYED)
    assert plan(learning, calibrated=False).tokens.score > plan(verified, calibrated=False).tokens.score
    assert plan(learning, calibrated=False).disk.peak.samples > plan(verified, calibrated=False).disk.peak.samples
