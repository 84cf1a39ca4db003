"""A training that explodes saves nothing, and says where it was, what is still good, and what to change."""

from __future__ import annotations

import re
from pathlib import Path
from typing import Any

import pytest
import torch

from a_run import a_config, a_run
from sparring.errors import RunError
from sparring.selfplay.loop import resume, run
from sparring.selfplay.stages.score import score_files

SGD = {"optim": "sgd", "max_grad_norm": 0.0, "lr_scheduler_type": "constant", "per_device_train_batch_size": 2}


def exploding(rate: float, **fields: Any) -> dict[str, Any]:
    return SGD | {"learning_rate": rate, "save_steps": 1} | fields


CASES: dict[str, tuple[dict[str, Any], str, str]] = {
    "last step": (
        {"training": exploding(1e38, max_steps=1)},
        r"iteration 0: after the last step the weight 'model\.embed_tokens\.weight'",
        "training.learning_rate=1e+37",
    ),
    "step with a checkpoint": (
        {"training": exploding(1e38, max_steps=2, logging_steps=2, logging_first_step=False)},
        r"iteration 0: step 1: ",
        "training.learning_rate=1e+37",
    ),
    "last step, still finite": (
        {"training": exploding(1e18, max_steps=1)},
        r"iteration 0: after the last step, log-probs given the prompt of row \d+ are not finite",
        "training.learning_rate=1e+17",
    ),
    "a step before": (
        {"training": exploding(1e30, max_steps=3), "lora": {"r": 2}},
        r"iteration 0: step 2: loss, .* the losses of the prompts of rows \d+, \d+ are not; the weight '.*lora_A",
        "training.learning_rate=1e+29",
    ),
    "warm-up": (
        {"warmup": {"training": exploding(1e38, max_steps=1)}},
        "warm-up: after the last step the weight '",
        "warmup.training.learning_rate=1e+37",
    ),
}


@pytest.mark.parametrize("case", CASES)
def test_a_training_that_explodes_saves_nothing(case: str, tiny_folder: Path, tmp_path: Path) -> None:
    changes, where, setting = CASES[case]
    config = a_config(tiny_folder, tmp_path / "a run", iterations=1, **{"objective": {"name": "spin"}} | changes)
    said = []
    for play in (lambda: run(config), lambda: resume(config.output)):
        with pytest.raises(RunError) as caught:
            play()
        said.append(str(caught.value))
        assert not list(config.output.rglob("model"))
    assert said[0] == said[1]
    assert re.match(where, said[0])
    assert f"`sparring train '{config.output}/config.yaml' 'output={config.output}-2' {setting}`" in said[0]
    assert "The last good policy is the base model" in said[0]


def test_the_last_good_policy_is_kept_and_named(tiny_folder: Path, tmp_path: Path) -> None:
    good = {"iterations": 1, "objective": {"name": "spin"}, "training": {"max_steps": 1}}
    bad = good | {"training": exploding(1e38, max_steps=1)}
    config = a_config(tiny_folder, tmp_path / "run", phases=[good, bad])
    with pytest.raises(RunError, match=r"^iteration 1: .*\n  fix: .*phases\.1\.training\.learning_rate=") as caught:
        run(config)
    model = config.output / "iterations" / "000" / "model"
    assert f"The last good policy is {model}; to start from it, `sparring export" in str(caught.value)
    assert (model / "model.safetensors").exists()
    assert not (config.output / "iterations" / "001" / "model").exists()


def test_a_log_prob_that_is_no_number_names_its_prompt(tiny_folder: Path, tmp_path: Path) -> None:
    playing = a_run(tiny_folder, tmp_path / "run")
    with torch.no_grad():
        playing.policy.model.get_input_embeddings().weight[77] = torch.nan
    part = {(tmp_path / "scores.parquet",): [{(6, None): ([1, 40], [50, 2]), (7, 1): ([1, 41], [51, 2])}]}
    with pytest.raises(RunError, match=r"^here: the log-prob of the expert's response to the prompt of row 6 is nan"):
        score_files(playing, 0, part, title="here")
    assert not (tmp_path / "scores.parquet").exists()
