"""Policies as adapters on one quantised base model: exact, and refused where they could not be."""

from __future__ import annotations

import importlib.util
import pickle
from pathlib import Path
from typing import Any

import pytest
import torch
from transformers import AutoModelForCausalLM

from sparring.errors import InputError
from sparring.logprobs import per_token_log_probs
from sparring.models import ModelConfig
from sparring.models.quantization import quantized_layers
from sparring.planning.plan import plan
from sparring.selfplay.arguments import arguments_of
from sparring.selfplay.checks.quantization import check_quantization
from sparring.selfplay.config.schema import SelfPlayConfig
from sparring.selfplay.policy import Policy
from sparring.selfplay.prepared import prepare
from tiny import move, tiny_model, tiny_tokenizer

KINDS = ["nf4", "int8"]
PROMPTS, RESPONSES = [[1, 40, 50], [1, 41]], [[[60, 61, 2], [62]], [[63, 2]]]
LORA = {"r": 4, "lora_alpha": 8}


def save(folder: Path, *, seed: int = 0) -> Path:
    tiny_model(seed=seed, hidden_size=128, intermediate_size=256).save_pretrained(folder)
    tiny_tokenizer().save_pretrained(folder)
    return folder


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return save(tmp_path_factory.mktemp("wide") / "model")


def policy_on(folder: Path, quantization: Any, **lora: Any) -> Policy:
    config = ModelConfig(name=str(folder), device="cpu", quantization=quantization)
    return Policy(config, tiny_tokenizer(), lora=LORA | lora, seed=3, stop_ids=[2])


def scores(policy: Policy) -> list[list[float]]:
    return [tokens.tolist() for answers in policy.log_probs(PROMPTS, RESPONSES) for tokens in answers]


@pytest.mark.parametrize("kind", KINDS)
def test_every_policy_comes_back_exactly(folder: Path, kind: str, tmp_path: Path) -> None:
    policy = policy_on(folder, kind)
    known: dict[Path | None, list[list[float]]] = {None: scores(policy)}
    for number in range(2):
        policy.start_training(max(known, key=str) if number else None)
        move(policy.model, number)
        known[tmp_path / f"{number}"] = scores(policy)
        policy.save(tmp_path / f"{number}")
    assert len({str(value) for value in known.values()}) == 3
    travelled = pickle.loads(pickle.dumps(policy))
    for player in (policy, travelled):
        for saved, expected in known.items():
            player.activate(saved)
            assert scores(player) == expected
    assert policy.origin(None)["model"]["quantization"] == kind
    ids = torch.tensor([[1, 40, 50]])
    policy.activate(tmp_path / "1")
    with torch.no_grad(), policy.base_forward() as base:
        beside = base(input_ids=ids).logits
    policy.activate(None)
    with torch.no_grad():
        assert torch.equal(policy.causal_lm(input_ids=ids).logits, beside)


@pytest.mark.parametrize("kind", KINDS)
def test_it_gives_way_to_a_teacher_that_is_quantised_too(folder: Path, kind: Any, tmp_path: Path) -> None:
    teacher = ModelConfig(name=str(save(tmp_path / "teacher", seed=9)), device="cpu", quantization=kind)
    policy = policy_on(folder, kind)
    move(policy.model, 0)
    policy.save(tmp_path / "model")
    trained = scores(policy)
    policy.activate_other(teacher)
    assert len([*quantized_layers(policy.model)]) == 14
    assert scores(policy) != trained
    policy.activate(tmp_path / "model")
    assert scores(policy) == trained


@pytest.mark.parametrize("kind", KINDS)
@pytest.mark.parametrize("fields", [{}, {"use_dora": True}, {"bias": "all"}], ids=["lora", "dora", "bias"])
def test_merged_it_is_the_policy_in_plain_weights(folder: Path, kind: str, fields: Any, tmp_path: Path) -> None:
    policy = policy_on(folder, kind, **fields)
    move(policy.model, 0)
    policy.save(tmp_path / "model")
    expected = [value for values in scores(policy) for value in values]
    policy.merged(torch.float32).save_pretrained(tmp_path / "whole")
    whole = AutoModelForCausalLM.from_pretrained(tmp_path / "whole").eval()
    assert [*quantized_layers(whole)] == []
    assert not hasattr(whole.config, "quantization_config")
    with torch.no_grad():
        values = per_token_log_probs(whole, PROMPTS, RESPONSES)
    found = [value for answers in values for tokens in answers for value in tokens.tolist()]
    assert found == pytest.approx(expected, abs=1e-4)


@pytest.mark.parametrize("field", [{"modules_to_save": ["up_proj"]}, {"target_parameters": ["mlp.up_proj.weight"]}])
def test_layers_of_few_bits_are_only_trained_beside(folder: Path, field: Any) -> None:
    with pytest.raises(InputError, match="up_proj' are quantised, and only an adapter beside them can be trained"):
        policy_on(folder, "nf4", target_modules=["q_proj"], **field)


def config(folder: Path, **changes: Any) -> SelfPlayConfig:
    base = {
        "model": {"name": str(folder), "device": "cpu", "quantization": "nf4"},
        "data": {"source": "arithmetic", "limit": 4, "held_out": 0, "max_response_tokens": 8},
        "lora": LORA,
    }
    return SelfPlayConfig.model_validate(base | changes)


@pytest.mark.parametrize(
    ("changes", "said"),
    [
        ({"lora": None}, r"cannot be trained themselves, only adapters.*\n.*add lora"),
        ({"generation": {"name": "vllm"}}, "generator 'vllm' has weights of its own"),
        (
            {"generation": {"name": "server", "endpoints": ["http://127.0.0.1:9"]}},
            "generator 'server' has weights of its own",
        ),
        ({"training": {"fsdp": True}}, r"FSDP shares out the weights.*\n.*launch with DDP"),
    ],
)
def test_what_would_play_other_weights_is_refused(folder: Path, changes: Any, said: str) -> None:
    with pytest.raises(InputError, match=said):
        prepare(config(folder, **changes))


def test_sharding_is_refused_however_it_is_asked_for(folder: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    with pytest.raises(InputError, match="FSDP shares out the weights that are trained, and those of nf4 are not"):
        plan(config(folder), processes=2, sharded=True, calibrated=False)
    args = arguments_of(config(folder), {})
    check_quantization(config(folder), args)
    monkeypatch.setenv("ACCELERATE_USE_FSDP", "true")
    with pytest.raises(InputError, match="FSDP shares out"):
        check_quantization(config(folder), args)


def test_without_bitsandbytes_the_cure_is_told_before_anything_is_read(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    find = importlib.util.find_spec
    monkeypatch.setattr("importlib.util.find_spec", lambda name: None if name == "bitsandbytes" else find(name))
    with pytest.raises(InputError, match=r"pip install 'sparring\[quantization\]'"):
        prepare(config(tmp_path / "nowhere"))
