"""What a GPU must compute as a processor does: run on both where there is one, else on the processor alone.

`pytest -m cuda tests/cuda` runs the GPU's part.
"""

from __future__ import annotations

import json
import os
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest
import torch
from torch import Tensor
from transformers import TrainingArguments

from e2e.command import write_tiny_config
from sparring import SelfPlayTrainer
from sparring.examples import EncodedExample
from sparring.generation import generation_config, generator
from sparring.generation.draws import draw
from sparring.generation.protocol import ChecksItself, GeneratorParts
from sparring.logprobs import check_log_probs, layout_of, segments
from sparring.logprobs.head import token_log_probs
from sparring.logprobs.layout import MAX_TOKENS, SCORES
from sparring.logprobs.ranges import Segment
from sparring.logprobs.readouts import OWN
from sparring.logprobs.segments import segment_attention
from sparring.models import ModelConfig, load_model
from sparring.objectives import OBJECTIVES
from tiny import tiny_model, tiny_tokenizer

NEEDS_GPU = [pytest.mark.cuda, pytest.mark.skipif(not torch.cuda.is_available(), reason="needs a GPU")]
DEVICES = ["cpu", pytest.param("cuda", marks=NEEDS_GPU)]
BOTH = pytest.mark.parametrize("device", DEVICES)
ON_GPU = pytest.mark.parametrize("device", DEVICES[1:])

# A prompt of 70 tokens with two responses that begin alike, and another sequence.
SEGMENTS: list[Segment] = [(-1, 0, 70), (69, 70, 120), (90, 120, 131), (-1, 131, 160)]
BEFORE = [[], [*range(70)], [*range(91)], []]
LENGTH = 160

RANDOM = torch.Generator().manual_seed(0)
PROMPTS = [torch.randint(3, 259, (length,), generator=RANDOM).tolist() for length in (90, 7, 33)]
RESPONSES = [[torch.randint(3, 259, (n,), generator=RANDOM).tolist() for n in (40, 1, 25)] for _ in PROMPTS]


def model(device: str, dtype: torch.dtype = torch.float32) -> Any:
    """Heads of 64 numbers, as flash attention has them; groups of two share keys."""
    built = tiny_model(hidden_size=256, intermediate_size=256, initializer_range=0.05)
    return built.to(device=device, dtype=dtype)


def by_definition(query: Tensor, key: Tensor, value: Tensor, window: int | None) -> Tensor:
    """One softmax over the whole row, in fp64."""
    seen = torch.zeros(LENGTH, LENGTH, dtype=torch.bool)
    for before, (_, start, stop) in zip(BEFORE, SEGMENTS, strict=True):
        sequence = [*before, *range(start, stop)]
        for place in range(len(before), len(sequence)):
            seen[sequence[place], sequence[: place + 1][-(window or LENGTH) :]] = True
    query, key, value = (each.double().cpu() for each in (query, key, value))
    key, value = (each.repeat_interleave(query.shape[1] // each.shape[1], 1) for each in (key, value))
    scores = (query @ key.transpose(-1, -2) / query.shape[-1] ** 0.5).masked_fill(~seen, float("-inf"))
    return scores.softmax(-1) @ value


@BOTH
@pytest.mark.parametrize("window", [None, 20])
@pytest.mark.parametrize("dtype", [torch.float32, torch.bfloat16])
def test_attention_by_segments(device: str, window: int | None, dtype: torch.dtype) -> None:
    numbers = torch.Generator().manual_seed(0)
    states = [torch.randn(1, heads, LENGTH, 64, generator=numbers).to(dtype) for heads in (4, 2, 2)]
    inputs = [each.to(device).requires_grad_() for each in states]
    assert segments._suits_flash(*inputs[::2]) == (device == "cuda" and dtype == torch.bfloat16)
    exact = [each.double().requires_grad_() for each in states]
    ours, wanted = segment_attention(*inputs, SEGMENTS, window=window), by_definition(*exact, window)
    weight = torch.randn(wanted.shape, generator=numbers).to(dtype)
    mine = torch.autograd.grad((ours * weight.to(device)).sum(), inputs)
    theirs = torch.autograd.grad((wanted * weight.double()).sum(), exact)
    tolerance = 1e-5 if dtype == torch.float32 else 2e-2
    for own, other in zip((ours, *mine), (wanted, *theirs), strict=True):
        assert float((own.detach().double().cpu() - other.detach()).norm() / other.detach().norm()) < tolerance


@BOTH
@pytest.mark.parametrize("dtype", [torch.float32, torch.bfloat16])
def test_every_layout_scores_alike(device: str, dtype: torch.dtype) -> None:
    net = model(device, dtype)
    assert layout_of(net).rows == "packed"
    reference = torch.cat(SCORES["whole"](model("cpu"), PROMPTS, RESPONSES, MAX_TOKENS, OWN)).detach()
    spread, gradients = reference.std(), []
    for rows in ("packed", "padded", "single", "whole"):
        found = torch.cat(SCORES[rows](net, PROMPTS, RESPONSES, MAX_TOKENS, OWN))
        off = (found.detach().cpu().double() - reference).abs()
        assert float(off.max()) < (1e-3 if dtype == torch.float32 else 0.5 * spread), rows
        assert float(off.mean()) < (1e-4 if dtype == torch.float32 else 0.03 * spread), rows
        parameters = [*net.parameters()]
        flat = torch.cat([each.flatten().double() for each in torch.autograd.grad(found.sum(), parameters)])
        gradients.append(flat)
    for gradient in gradients[1:]:
        distance = float((gradient - gradients[0]).norm() / gradients[0].norm())
        assert distance < (1e-3 if dtype == torch.float32 else 5e-2)


@BOTH
def test_the_head_reads_in_chunks_what_one_softmax_gives(device: str, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("sparring.logprobs.head._LOGITS_AT_ONCE", 259 * 10)
    net = model(device)
    hidden = torch.randn(64, 256, generator=torch.Generator().manual_seed(1)).to(device).requires_grad_()
    targets = torch.arange(3, 67, device=device)
    wanted = net.lm_head(hidden).log_softmax(-1).gather(-1, targets[:, None])[:, 0]
    found = token_log_probs(net, hidden, targets)
    torch.testing.assert_close(found, wanted, rtol=1e-4, atol=1e-4)
    for own, other in zip(
        *(torch.autograd.grad(each.square().sum(), [hidden, net.lm_head.weight]) for each in (found, wanted)),
        strict=True,
    ):
        assert float((own - other).norm() / other.norm()) < 1e-4


@BOTH
def test_the_same_logits_and_numbers_draw_the_same_tokens(device: str) -> None:
    numbers = torch.Generator().manual_seed(0)
    logits, uniforms = 3 * torch.randn(64, 50_000, generator=numbers), torch.rand(64, generator=numbers).tolist()
    assert draw(logits.to(device), uniforms) == draw(logits, uniforms)


@BOTH
def test_sampling_is_proved_and_repeats_itself(device: str) -> None:
    prompts = [
        EncodedExample(index=number, prompt_ids=ids, expert_ids=[5], prompt="", response="")
        for number, ids in enumerate(PROMPTS)
    ]

    def sampled(on: str) -> list[list[int]]:
        parts = GeneratorParts(model=model(on), tokenizer=tiny_tokenizer(), stop_ids=(2,), max_new_tokens=24)
        built = generator(generation_config(samples_per_prompt=4), parts)
        if isinstance(built, ChecksItself):
            built.check()
        return [list(sample.response_ids) for batch in built.plan(prompts) for sample in built.sample(batch, seed=0)]

    found, again, on_processor = sampled(device), sampled(device), sampled("cpu")
    assert found == again
    # A draw falls on another side where rounding moves the edge between two tokens across its number.
    assert sum(one != other for one, other in zip(found, on_processor, strict=True)) <= 1


def trained(device: str, folder: Path, net: Any, **settings: Any) -> list[float]:
    """The losses of two epochs of SPIN."""
    rows = [
        {"prompt_ids": prompt, "expert_ids": expert, "generated_ids": generated}
        for prompt, (expert, *generated) in zip(PROMPTS, RESPONSES, strict=True)
    ]
    base = {"output_dir": str(folder), "report_to": "none", "save_strategy": "no", "logging_steps": 1}
    args = TrainingArguments(**base, num_train_epochs=2, learning_rate=1e-3, use_cpu=device == "cpu", **settings)
    trainer = SelfPlayTrainer(net, objective=OBJECTIVES["spin"](beta=0.1), args=args, train_dataset=rows)
    trainer.train()
    return [entry["loss"] for entry in trainer.state.log_history if "loss" in entry]


@BOTH
def test_a_training_has_the_losses_of_the_processor(device: str, tmp_path: Path) -> None:
    losses = trained(device, tmp_path, model(device))
    assert losses[0] == pytest.approx(0.6931, abs=1e-3)
    assert losses == pytest.approx(trained("cpu", tmp_path, model("cpu")), rel=1e-3)
    autocast = trained(device, tmp_path, model(device), bf16=True)
    assert autocast == pytest.approx(losses, rel=0.1)


@BOTH
@pytest.mark.parametrize("kind", ["nf4", "int8"])
def test_a_quantised_model_is_scored_right(device: str, kind: Any, tmp_path: Path) -> None:
    tiny_model(hidden_size=256, intermediate_size=256).save_pretrained(tmp_path)
    net = load_model(ModelConfig(name=str(tmp_path), device=device, quantization=kind, dtype="bfloat16"))
    check_log_probs(net)
    assert layout_of(net).rows == "packed"


def launched(*arguments: object, at: Path) -> None:
    done = subprocess.run(
        [sys.executable, "-m", "sparring", *map(str, arguments)],
        check=False,
        cwd=at,
        capture_output=True,
        text=True,
        env=os.environ | {"OMP_NUM_THREADS": "1"},
    )
    assert done.returncode == 0, done.stderr[-2000:]


def logged(run: Path) -> list[float]:
    events = map(json.loads, (run / "metrics.jsonl").read_text().splitlines())
    return [event["loss"] for event in events if "loss" in event]


@ON_GPU
def test_fsdp2_on_one_gpu_trains_as_one_process(device: str, tiny_folder: Path, tmp_path: Path) -> None:
    settings = {"iterations": 1, "warmup": None, "model": {"name": str(tiny_folder), "device": device}}
    config = write_tiny_config(tmp_path / "config.yaml", tiny_folder, **settings)
    launched("train", config, "output=one", at=tmp_path)
    launched("launch", config, "output=sharded", "--processes", 1, "--sharded", at=tmp_path)
    assert logged(tmp_path / "sharded") == pytest.approx(logged(tmp_path / "one"), rel=1e-3, abs=1e-3)
