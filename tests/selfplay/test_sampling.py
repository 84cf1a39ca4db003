"""What a run tells its engine, and which adapters it refuses before anything expensive."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest

from sparring.data import Encoded
from sparring.errors import InputError
from sparring.examples import EncodedExample
from sparring.generation.protocol import EngineModel
from sparring.models import load_config
from sparring.selfplay.config.schema import SelfPlayConfig
from sparring.selfplay.engine import engine_model
from sparring.selfplay.manifest import config_fingerprint


def told(folder: Path, **changes: Any) -> EngineModel:
    values = {
        "model": {"name": str(folder), "device": "cpu"},
        "data": {"source": "here.jsonl", "max_response_tokens": 10},
    } | changes
    examples = [EncodedExample(index=n, prompt_ids=[1] * n, expert_ids=[5, 2], prompt="") for n in (3, 7, 5)]
    counts = dict.fromkeys(
        ("dropped_prompts", "truncated_prompts", "dropped_responses", "truncated_responses", "template_mismatch"), 0
    )
    train, held_out = (
        Encoded(examples=part, stop_ids=(2,), skipped=[], findings=(), **counts)
        for part in (examples[:2], examples[2:])
    )
    config = SelfPlayConfig(**values)
    return engine_model(config, load_config(config.model), train, held_out)


def test_room_format_and_rank(tiny_folder: Path) -> None:
    plain = told(tiny_folder)
    assert plain == EngineModel(
        base=str(tiny_folder),
        lora_rank=None,
        dtype="float32",
        device="cpu",
        max_length=17,
        vocabulary=259,
        trust_remote_code=False,
    )
    assert told(tiny_folder, training={"bf16": True}).dtype == "bfloat16"
    model = {"name": str(tiny_folder), "device": "cpu"}
    assert told(tiny_folder, model=model | {"dtype": "auto"}).dtype == "float32"
    assert told(tiny_folder, model=model | {"dtype": "float16"}).dtype == "float16"
    assert told(tiny_folder, lora={}).lora_rank == 8
    assert told(tiny_folder, lora={"r": 4, "rank_pattern": {"q_proj": 12}}).lora_rank == 12


@pytest.mark.parametrize(
    "lora",
    [
        {"use_dora": True},
        {"modules_to_save": ["lm_head"]},
        {"bias": "all"},
        {"lora_bias": True},
        {"target_parameters": ["experts.down_proj"]},
        {"trainable_token_indices": [5]},
        {"use_qalora": True},
    ],
    ids=str,
)
def test_adapters_that_no_engine_plays(tiny_folder: Path, lora: dict[str, Any]) -> None:
    with pytest.raises(InputError, match=rf"lora\.{next(iter(lora))}: engines do not play adapters with"):
        told(tiny_folder, lora=lora)


def test_where_endpoints_are_is_no_part_of_the_result(tiny_folder: Path) -> None:
    def fingerprint(**generation: Any) -> str:
        return config_fingerprint(SelfPlayConfig(data={"source": "here.jsonl"}, generation=generation))

    here, there = ({"name": "server", "endpoints": [f"http://{host}:8000"]} for host in ("here", "there"))
    assert fingerprint(**here) == fingerprint(**there, concurrency=3)
    assert fingerprint(**here) != fingerprint(**here, temperature=0.5)
    assert fingerprint(name="vllm") == fingerprint(name="vllm", kv_cache_gib=2)
    assert len({fingerprint(name="vllm", dtype=each) for each in ("float32", "bfloat16")}) == 2
    assert len({fingerprint(name=each) for each in ("vllm", "transformers", "mine:Sampler")}) == 3
    assert fingerprint(name="mine:Sampler", width=2) != fingerprint(name="mine:Sampler", width=3)


def test_nor_is_it_in_phases() -> None:
    def fingerprint(host: str, **changes: Any) -> str:
        generation = {"name": "server", "endpoints": [f"http://{host}:8000"]}
        phases = [{"generation": changes}, {"generation": {"batch_size": 8}}]
        return config_fingerprint(SelfPlayConfig(data={"source": "here.jsonl"}, generation=generation, phases=phases))

    assert fingerprint("here") == fingerprint("there") != fingerprint("here", temperature=0.5)
