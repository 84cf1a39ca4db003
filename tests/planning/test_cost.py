"""Sizes that can be worked out by hand, from configurations of published models without their weights."""

from __future__ import annotations

from dataclasses import asdict
from pathlib import Path
from typing import Any

import pytest
from transformers import LlamaConfig

from sparring.models import ModelConfig
from sparring.objectives.spif import Spif
from sparring.planning.cost import Batch, TokenCounts, flops, memory, model_shapes
from sparring.planning.plan import plan
from sparring.planning.tokens import Tokens, tokens_by_part
from sparring.selfplay.config.schema import SelfPlayConfig
from sparring.selfplay.prepared import prepare
from sparring.trainer.arguments import training_arguments

# Llama 2, whose parameters are published: 6.74 and 68.98 billion.
SEVEN = LlamaConfig(
    vocab_size=32000, hidden_size=4096, intermediate_size=11008, num_hidden_layers=32, num_attention_heads=32
)
SEVENTY = LlamaConfig(
    vocab_size=32000,
    hidden_size=8192,
    intermediate_size=28672,
    num_hidden_layers=80,
    num_attention_heads=64,
    num_key_value_heads=8,
)
BATCH = Batch(tokens=1024, predicted=(512,), decoded=4096)


@pytest.mark.parametrize(("config", "parameters"), [(SEVEN, 6_738_415_616), (SEVENTY, 68_976_648_192)])
def test_full_training_in_bf16(config: LlamaConfig, parameters: int, tmp_path: Path) -> None:
    model = model_shapes(ModelConfig(dtype="bfloat16"), config, None)
    args = training_arguments({"gradient_checkpointing": True}, output=tmp_path, seed=0)
    whole, shared = (asdict(memory(model, args, BATCH, shards=shards)) for shards in (1, 8))
    assert [whole[name] for name in ("weights", "gradients", "optimizer")] == [
        2 * parameters,
        2 * parameters,
        4 * parameters,
    ]
    assert [shared[name] for name in ("weights", "gradients", "optimizer")] == [
        parameters // 4,
        parameters // 4,
        parameters // 2,
    ]
    layers, hidden = config.num_hidden_layers, config.hidden_size
    assert whole["activations"] == shared["activations"] == 1024 * hidden * 2 * (layers + 24)
    # Fewer positions than the head takes at once; the probabilities are kept in bf16.
    assert whole["logits"] == 4 * 512 * 32000 + 2 * 512 * 32000
    cache = 2 * layers * config.num_key_value_heads * 128 * 4096 * 2
    assert whole["playing"] == shared["playing"] == 2 * parameters + cache


def test_sampling_on_a_processor_copies_the_linear_layers(tmp_path: Path) -> None:
    model = model_shapes(ModelConfig(dtype="bfloat16"), SEVEN, None)
    args = training_arguments({}, output=tmp_path, seed=0)
    plain, copied = (memory(model, args, BATCH, shards=1, laid_out=way).playing for way in (False, True))
    # All but the embedding, and the two norms of each layer and the last one.
    assert copied - plain == 2 * (6_738_415_616 - 32000 * 4096 - (2 * 32 + 1) * 4096)


@pytest.mark.parametrize("lora", [None, {"r": 4, "target_modules": ["gate_proj", "up_proj"]}])
def test_gates_that_are_not_kept_are_two_numbers_less_a_position_and_unit(lora: Any, tmp_path: Path) -> None:
    model = model_shapes(ModelConfig(dtype="float32"), SEVEN, lora)
    args = training_arguments({}, output=tmp_path, seed=0)
    kept, recomputed = (memory(model, args, BATCH, shards=1, gates_kept=way).activations for way in (True, False))
    assert kept - recomputed == 1024 * 32 * 2 * 11008 * 4


def test_an_adapter_alone_has_gradients_and_optimizer_states(tmp_path: Path) -> None:
    model = model_shapes(ModelConfig(dtype="bfloat16"), SEVEN, {"r": 16, "target_modules": ["q_proj", "v_proj"]})
    args = training_arguments({}, output=tmp_path, seed=0)
    # Two matrices of 4096 by 16 for each of two projections in each of 32 layers.
    adapter = 32 * 2 * 2 * 4096 * 16
    bytes_each = next(p for p in model.parameters() if p.requires_grad).element_size()
    found = memory(model, args, BATCH, shards=1)
    assert (found.gradients, found.optimizer) == (adapter * bytes_each, 2 * adapter * bytes_each)
    # The head is not trained, so it keeps nothing.
    assert found.logits == 4 * 512 * 32000
    work = flops(model, generate=0, score=0, train=1, checkpointing=False)
    assert work["train"] == 4 * 6_738_415_616 + 6 * adapter


@pytest.mark.parametrize(("kind", "bits"), [("nf4", 4 + 8 / 64 + 32 / (64 * 256)), ("int8", 8)])
def test_a_quantised_base_of_7b(kind: Any, bits: float, tmp_path: Path) -> None:
    """All but the embedding, the head and the norms; adapters and the cache keep their formats."""
    model = model_shapes(ModelConfig(dtype="bfloat16"), SEVEN, {"r": 16})
    args = training_arguments({"gradient_checkpointing": True}, output=tmp_path, seed=0)
    plain, quantized = (memory(model, args, BATCH, shards=1, quantization=which) for which in (None, kind))
    layers = 32 * (4 * 4096 * 4096 + 3 * 4096 * 11008)
    scales = 4 * 32 * (5 * 4096 + 2 * 11008) if kind == "int8" else 0
    saved = layers * (16 - bits) / 8 - scales
    assert plain.weights - quantized.weights == pytest.approx(saved, abs=1)
    rebuilt = 2 * 4096 * 11008
    assert plain.playing - quantized.playing == pytest.approx(saved - rebuilt, abs=1)
    assert quantized.activations - plain.activations == rebuilt
    assert (plain.gradients, plain.optimizer) == (quantized.gradients, quantized.optimizer)
    # The adapters are in fp32, so each keeps a copy of its input, of one layer at a time with checkpointing.
    assert plain.activations == 1024 * (4096 * 2 * (32 + 24) + 4 * (6 * 4096 + 11008))
    assert quantized.total < 24e9 < memory(model_shapes(ModelConfig(), SEVEN, {"r": 16}), args, BATCH, shards=1).total


@pytest.mark.parametrize(
    ("prompts", "prompt", "response", "predicted"),
    [
        # 8192 positions hold four prompts of 1000 with two responses of 500, so ten are three rows.
        (10, 1000, 500, (4000, 4000, 2000)),
        (1, 1000, 500, (1000,)),
        # One prompt with its responses is longer than a row.
        (2, 4000, 3000, (3000, 3000, 3000, 3000)),
    ],
)
def test_the_head_keeps_its_share_of_every_row(
    prompts: int, prompt: int, response: int, predicted: tuple[int, ...], tmp_path: Path
) -> None:
    batch = Batch.largest([TokenCounts(prompt, (response, response))], prompts=prompts, sequences=1, limit=10)
    assert batch.predicted == predicted
    model = model_shapes(ModelConfig(dtype="float32"), SEVEN, None)
    found = memory(model, training_arguments({}, output=tmp_path, seed=0), batch, shards=1)
    kept = sum(min(n * 32000, 2**27) for n in predicted)
    # 2²⁴ // 32000 positions at once.
    assert found.logits == 4 * (min(predicted[0], 524) * 32000 + kept)


@pytest.mark.parametrize(
    ("prompts", "response", "tokens", "predicted"),
    [
        (2, 200, 500, (400,)),
        (4, 200, 500, (400,)),
        (4, 100, 500, (334,)),
        (1, 100, 300, (200,)),
        (4, 900, 1900, (1800,)),
    ],
)
def test_a_part_is_full_or_has_one_long_prompt(
    prompts: int, response: int, tokens: int, predicted: tuple[int, ...]
) -> None:
    rows = [TokenCounts(100, (response, response))]
    batch = Batch.largest(rows, prompts=prompts, sequences=1, limit=10, part=500)
    assert (batch.tokens, batch.predicted) == (tokens, predicted)


@pytest.mark.parametrize(("optim", "a_weight"), [("adamw_torch", 8), ("sgd", 0), ("adafactor", 0)])
def test_what_an_optimizer_keeps(optim: str, a_weight: int, tmp_path: Path) -> None:
    model = model_shapes(ModelConfig(dtype="float32"), SEVEN, None)
    args = training_arguments({"optim": optim}, output=tmp_path, seed=0)
    assert memory(model, args, BATCH, shards=1).optimizer == a_weight * 6_738_415_616


def test_two_flops_a_weight_forward_and_six_to_train() -> None:
    model = model_shapes(ModelConfig(dtype="bfloat16"), SEVEN, None)
    found = flops(model, generate=10, score=100, train=1000, checkpointing=False)
    assert found == {name: n * 6_738_415_616 for name, n in (("generate", 20), ("score", 200), ("train", 6000))}


def test_a_plan_without_weights_has_sizes_and_no_times(tiny_folder: Path, tmp_path: Path) -> None:
    shapes = tmp_path / "shapes"
    shapes.mkdir()
    for file in tiny_folder.iterdir():
        if file.suffix != ".safetensors":
            (shapes / file.name).write_bytes(file.read_bytes())
    data = {"source": "arithmetic", "limit": 6, "held_out": 3, "max_response_tokens": 24}
    config = SelfPlayConfig.model_validate({"data": data, "model": {"name": str(shapes)}})
    alone, shared = (plan(config, processes=n, sharded=n > 1, calibrated=False) for n in (1, 4))
    assert alone.seconds == {}
    assert alone.rates is None
    assert shared.memory.weights == alone.memory.weights // 4
    assert shared.memory.playing == alone.memory.playing
    assert "FLOPs" in "".join(str(cell) for column in alone.table().columns for cell in column.cells)


def test_steps_that_are_set_count_instead_of_epochs_and_so_do_all_scorers(tiny_folder: Path) -> None:
    data = {"source": "arithmetic", "limit": 6, "held_out": 0, "max_response_tokens": 24}
    base = {"data": data, "model": {"name": str(tiny_folder)}, "iterations": 3}

    def tokens(processes: int = 1, **more: object) -> dict[str, int]:
        parts = tokens_by_part(prepare(SelfPlayConfig.model_validate(base | more)), processes)
        return asdict(Tokens.total(parts.values()))

    plain = tokens()
    # Six examples are three steps of two, for each of two processes 1.5.
    stepped = {"max_steps": 6, "per_device_train_batch_size": 2, "num_train_epochs": 9}
    assert tokens(training=stepped)["train"] == 2 * plain["train"]
    assert tokens(2, training=stepped)["train"] == 4 * plain["train"]
    # Two policies score at iteration 0 (the first is the base model itself), three at 1 and at 2.
    played = tokens(opponent={"name": "fictitious-play", "history": 2})
    assert played["score"] * 3 == plain["score"] * (1 + 2 + 2)


def test_an_objective_without_a_formula_has_its_number_by_differentiation(
    tiny_folder: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    config = SelfPlayConfig.from_mapping(
        {
            "output": str(tmp_path / "run"),
            "model": {"name": str(tiny_folder), "device": "cpu"},
            "data": {"source": "arithmetic", "limit": 4, "held_out": 2},
            "objective": {"name": "spif", "beta": 1.0, "reward_bound": 1.0},
        }
    )
    (by_formula,) = plan(config, calibrated=False).phases
    monkeypatch.setattr(Spif, "stability", None)
    (differentiated,) = plan(config, calibrated=False).phases
    assert by_formula.stability is not None
    assert differentiated.stability is not None
    assert differentiated.stability.symbol == "step exponent" != by_formula.stability.symbol
    assert differentiated.stability.step_exponent == pytest.approx(by_formula.stability.step_exponent, rel=1e-3)
