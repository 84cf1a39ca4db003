"""What a model's folder says of where a response ends, and of how to sample."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest
import torch
from transformers import AutoModelForCausalLM, GenerationConfig

from sparring.errors import InputError
from sparring.models import ModelConfig
from sparring.models.endings import end_ids, sampling_settings, tell_endings
from tiny import save_tiny, tiny_model


def folder(tmp_path: Path, **settings: Any) -> ModelConfig:
    """The tiny model with a generation_config.json as a hub repository might ship it."""
    saved = save_tiny(tmp_path / "model")
    known = json.loads((saved / "generation_config.json").read_text())
    (saved / "generation_config.json").write_text(json.dumps(known | settings))
    return ModelConfig(name=str(saved), device="cpu")


@pytest.mark.parametrize(("shipped", "expected"), [(2, {2}), ([2, 77, 78], {2, 77, 78}), (None, set())])
def test_every_end_token_of_the_generation_config_counts(tmp_path: Path, shipped: Any, expected: set[int]) -> None:
    assert end_ids(folder(tmp_path, eos_token_id=shipped)) == expected


def test_without_the_file_it_is_what_the_models_own_configuration_says(tmp_path: Path) -> None:
    config = folder(tmp_path)
    (Path(config.name) / "generation_config.json").unlink()
    assert end_ids(config) == {2}


def test_a_file_that_is_no_json_is_named(tmp_path: Path) -> None:
    config = folder(tmp_path)
    (Path(config.name) / "generation_config.json").write_text("{")
    with pytest.raises(InputError, match=r"generation_config\.json"):
        end_ids(config)


def test_a_saved_model_says_what_it_ends_with(tmp_path: Path) -> None:
    model = tiny_model()
    tell_endings(model, [77, 5])
    model.save_pretrained(tmp_path / "saved")
    again = AutoModelForCausalLM.from_pretrained(tmp_path / "saved")
    assert again.generation_config.eos_token_id == again.config.eos_token_id == [2, 5, 77]


@pytest.mark.parametrize(
    "shipped",
    [
        {"temperature": 0.6, "top_p": 0.9},
        {"top_k": 20, "min_p": 0.05},
        {"do_sample": False, "temperature": 0.7},
        {"typical_p": 0.8},
        {"repetition_penalty": 1.3, "suppress_tokens": [5], "forced_bos_token_id": 7},
        {"num_beams": 1, "early_stopping": True, "length_penalty": 2.0},
    ],
    ids=str,
)
def test_whatever_sampling_settings_a_model_came_with_it_can_be_saved(tmp_path: Path, shipped: dict[str, Any]) -> None:
    model = tiny_model()
    model.generation_config = GenerationConfig(eos_token_id=2, **shipped)
    tell_endings(model, [2, 9])
    model.save_pretrained(tmp_path / "saved")
    assert GenerationConfig.from_pretrained(tmp_path / "saved").eos_token_id == [2, 9]
    for name in {"temperature", "top_p", "top_k", "min_p", "repetition_penalty"} & shipped.keys():
        assert getattr(GenerationConfig.from_pretrained(tmp_path / "saved"), name) == shipped[name]


def test_the_sampling_settings_of_a_model_are_told_without_ids_and_lengths() -> None:
    plain = GenerationConfig(eos_token_id=[1, 2], pad_token_id=0, max_new_tokens=9)
    assert sampling_settings(plain) == {}
    shipped = GenerationConfig(do_sample=True, temperature=0.7, repetition_penalty=1.05, eos_token_id=2)
    assert sampling_settings(shipped) == {"do_sample": True, "temperature": 0.7, "repetition_penalty": 1.05}


@pytest.mark.parametrize("shipped", [{}, {"do_sample": False, "top_p": 0.9}, {"do_sample": True, "top_k": 20}], ids=str)
def test_a_temperature_of_nothing_is_greedy(tmp_path: Path, shipped: dict[str, Any]) -> None:
    model = tiny_model()
    greedy = model.generate(torch.tensor([[5, 6]]), do_sample=False, max_new_tokens=6)
    model.generation_config = GenerationConfig(eos_token_id=2, temperature=0.0, **shipped)
    tell_endings(model, [2])
    model.save_pretrained(tmp_path / "saved")
    again = AutoModelForCausalLM.from_pretrained(tmp_path / "saved")
    assert again.generate(torch.tensor([[5, 6]]), max_new_tokens=6).tolist() == greedy.tolist()
