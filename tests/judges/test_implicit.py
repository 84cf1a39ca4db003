"""The judge `implicit`: Bradley–Terry on the policy's own rewards, in exact games and in a run."""

from __future__ import annotations

import math
from pathlib import Path
from typing import Any

import pytest
import torch

from a_run import a_config
from sparring.errors import InputError
from sparring.games import PreferenceGame
from sparring.judges import JUDGES, Question, Verdict
from sparring.objectives import OBJECTIVES
from sparring.policies import BASE
from sparring.run_directory import RunDirectory
from sparring.selfplay.config.schema import SelfPlayConfig
from sparring.selfplay.loop import run
from sparring.selfplay.phases import phases_of
from sparring.shard_files import read_shard
from sparring.shards import judgements_path, read_samples, read_scores, samples_of, scores_path


def judged(ratios: tuple[float, ...], lengths: tuple[int, ...], **settings: Any) -> Verdict:
    question = Question(prompt="q", responses=("y",) * len(ratios), log_ratios=ratios, lengths=lengths)
    (verdict,) = JUDGES["implicit"](**settings).start(Path("unused"))([question])
    return verdict


def sigmoid(x: float) -> float:
    return 1.0 / (1.0 + math.exp(-x))


def test_preferences_are_bradley_terry_on_rewards_with_a_price_on_length() -> None:
    plain = judged((3.0, 1.0, 3.0), (10, 2, 4), beta=0.5)
    assert plain.pairwise[0][1] == pytest.approx(sigmoid(0.5 * 2.0))
    assert plain.ties == 1
    # The rewards 1.5 − 1, 0.5 − 0.2 and 1.5 − 0.4.
    priced = judged((3.0, 1.0, 3.0), (10, 2, 4), beta=0.5, length_penalty=0.1)
    assert priced.pairwise[0][1] == pytest.approx(sigmoid(0.2))
    assert priced.pairwise[2][0] == pytest.approx(sigmoid(0.6))
    with pytest.raises(ValueError, match="needs the log ratio and the length"):
        JUDGES["implicit"]().start(Path("unused"))([Question(prompt="q", responses=("a", "b"))])


def test_after_dpo_it_is_the_table_that_dpo_learnt_from() -> None:
    score = torch.tensor([0.8, -0.3, 0.1, 0.0], dtype=torch.float64)
    table = (score.unsqueeze(1) - score.unsqueeze(0)).sigmoid()
    game = PreferenceGame(preference=table, reference=torch.tensor([0.4, 0.3, 0.2, 0.1], dtype=torch.float64))
    play = game.play(OBJECTIVES["dpo"](beta=0.7, pairs="all"), opponent="base", iterations=1)
    ratios = play.log_policies[1] - game.reference.log()
    verdict = judged(tuple(ratios.tolist()), (1, 1, 1, 1), beta=0.7)
    assert torch.allclose(torch.tensor(verdict.pairwise, dtype=torch.float64), table, atol=1e-8)


DATA = {"source": "arithmetic", "limit": 3, "held_out": 0, "max_response_tokens": 6}
PLAYED = {
    "data": DATA,
    "iterations": 1,
    "objective": {"name": "dpo"},
    "judge": {"name": "implicit", "beta": 0.3, "length_penalty": 0.05},
    "generation": {"samples_per_prompt": 2, "batch_size": 6},
    "training": {"learning_rate": 1e-3},
}


@pytest.mark.parametrize("expert_plays", [False, True])
def test_a_run_tells_it_the_scores_of_the_policy_and_of_the_base_model(
    tiny_folder: Path, tmp_path: Path, expert_plays: bool
) -> None:
    settings = PLAYED | {"judge": PLAYED["judge"] | {"expert_plays": expert_plays}}
    run(a_config(tiny_folder, tmp_path / "run", **settings, warmup={"training": {"max_steps": 2}}))
    stage = RunDirectory(tmp_path / "run").iteration(0)
    (shard,) = samples_of(stage)
    log_probs = {
        policy: {
            (row["index"], row["sample"]): row["log_prob"] for row in read_scores(scores_path(stage, shard, policy))
        }
        for policy in (0, BASE)
    }
    samples = read_samples([shard])
    verdicts = read_shard(judgements_path(stage, shard))
    assert len(verdicts) == 3
    for verdict in verdicts:
        index = verdict["index"]
        compared = [*([None] if expert_plays else []), 0, 1]
        ratios = tuple(log_probs[0][index, key] - log_probs[BASE][index, key] for key in compared)
        assert all(ratio != 0.0 for ratio in ratios)
        lengths = [len(row["response_ids"]) for row in samples[index]]
        if expert_plays:
            # Cut at the limit, as it is scored and trained on.
            lengths = [DATA["max_response_tokens"], *lengths]
        rewards = [0.3 * ratio - 0.05 * length for ratio, length in zip(ratios, lengths, strict=True)]
        for i, row in enumerate(verdict["pairwise"]):
            assert row == pytest.approx([sigmoid(rewards[i] - other) for other in rewards])


def test_a_policy_that_is_the_base_model_has_no_reward() -> None:
    config = SelfPlayConfig.from_mapping(PLAYED)
    with pytest.raises(InputError, match="every pair would tie") as caught:
        phases_of(config)
    assert caught.value.where == "judge.name"
    phases_of(SelfPlayConfig.from_mapping(PLAYED | {"warmup": {}}))
    later = [{"objective": {"name": "sft"}, "judge": None}, {}]
    assert phases_of(SelfPlayConfig.from_mapping(PLAYED | {"phases": later}))[1].scorers(1) == (1, BASE)
