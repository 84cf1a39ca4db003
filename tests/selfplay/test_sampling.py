"""What a run tells its engine, and which adapters it refuses before anything expensive."""

from __future__ import annotations

from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest
import torch

from sparring.errors import InputError
from sparring.generation.engines import EngineModel
from sparring.selfplay.config.schema import SelfPlayConfig
from sparring.selfplay.engine import engine_model
from sparring.selfplay.manifest import config_fingerprint


def told(folder: Path, **changes: Any) -> EngineModel:
    values = {
        "model": {"name": str(folder), "device": "cpu"},
        "data": {"source": "here.jsonl", "max_response_tokens": 10},
    } | changes
    parts = [
        SimpleNamespace(examples=[SimpleNamespace(prompt_ids=[1] * n) for n in lengths]) for lengths in ((3, 7), (5,))
    ]
    return engine_model(SelfPlayConfig(**values), SimpleNamespace(dtype=torch.float32), *parts)


def test_room_format_and_rank(tiny_folder: Path) -> None:
    plain = told(tiny_folder)
    assert plain == EngineModel(
        base=str(tiny_folder), lora_rank=None, dtype="float32", device="cpu", max_length=17, trust_remote_code=False
    )
    assert told(tiny_folder, training={"bf16": True}).dtype == "bfloat16"
    model = {"name": str(tiny_folder), "device": "cpu"}
    assert told(tiny_folder, model=model | {"dtype": "auto"}).dtype == "float32"
    assert told(tiny_folder, model=model | {"dtype": "float16"}).dtype == "float16"
    assert told(tiny_folder, lora={}).lora_rank == 8
    assert told(tiny_folder, lora={"r": 4, "rank_pattern": {"q_proj": 12}}).lora_rank == 12


@pytest.mark.parametrize(
    "lora", [{"use_dora": True}, {"modules_to_save": ["lm_head"]}, {"bias": "all"}, {"lora_bias": True}], ids=str
)
def test_adapters_that_no_engine_plays(tiny_folder: Path, lora: dict[str, Any]) -> None:
    with pytest.raises(InputError, match=rf"lora\.{next(iter(lora))}: engines do not play adapters with"):
        told(tiny_folder, lora=lora)


def test_where_endpoints_are_is_no_part_of_the_result(tiny_folder: Path) -> None:
    def fingerprint(**generation: Any) -> str:
        return config_fingerprint(SelfPlayConfig(data={"source": "here.jsonl"}, generation=generation))

    here, there = ({"endpoints": [f"http://{host}:8000"]} for host in ("here", "there"))
    assert fingerprint(name="server", server=here) == fingerprint(name="server", server=there)
    assert fingerprint(name="server", server=here) != fingerprint(name="server", server=here, temperature=0.5)
    assert fingerprint(name="vllm") != fingerprint(name="transformers")
