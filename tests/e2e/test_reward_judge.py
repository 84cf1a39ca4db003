"""A reward model is trained here on right and wrong answers, and judges a run."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from types import SimpleNamespace

import torch

from judges.reward import problems, train_reward_model, wrong
from sparring.data import VERIFIERS
from sparring.judges import JUDGES, Question
from sparring.run_directory import RunDirectory
from sparring.shard_files import read_shard
from sparring.shards import read_samples


def test_a_reward_model_that_was_trained_here_judges_a_run(
    cli: Callable[..., SimpleNamespace], tiny_config: Callable[..., Path], tmp_path: Path
) -> None:
    seen, unseen = problems(40, 20)
    settings = JUDGES["reward-model"](model=train_reward_model(tmp_path / "reward", seen, steps=40))
    judge = settings.start(tmp_path)
    questions = [Question(prompt=each.prompt, responses=(each.response, wrong(each))) for each in unseen]
    assert not any(VERIFIERS["final-number"]()(wrong(each), each.response) for each in unseen)
    assert min(verdict.pairwise[0][1] for verdict in judge(questions)) > 0.9

    done = cli(
        "train",
        tiny_config(
            iterations=1,
            objective={"name": "sppo"},
            judge={"name": "reward-model", "model": settings.model},
            generation={"samples_per_prompt": 3, "batch_size": 12},
        ),
    )
    assert done.returncode == 0, done.stderr
    stage = RunDirectory(tmp_path / "run").iteration(0)
    samples = read_samples(sorted(stage.samples.iterdir()))
    judged = [row for path in stage.judgements.iterdir() for row in read_shard(path)]
    assert len(judged) == 12
    for verdict in judged:
        rows = samples[verdict["index"]]
        (again,) = judge([Question(prompt=rows[0]["prompt"], responses=tuple(row["text"] for row in rows))])
        assert torch.allclose(torch.tensor(verdict["pairwise"]), torch.tensor(again.pairwise))
    assert stage.model.exists()
