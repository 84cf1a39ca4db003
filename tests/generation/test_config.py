"""Sampling settings and what they refuse."""

from __future__ import annotations

import math
from typing import Any

import pytest
from pydantic import ValidationError

from sparring.generation import generation_config
from sparring.generation.config import CustomConfig, ServerConfig, TransformersConfig, VllmConfig


@pytest.mark.parametrize(
    ("field", "value"),
    [
        ("temperature", 0.0),
        ("temperature", -1.0),
        ("temperature", math.nan),
        ("temperature", math.inf),
        ("top_p", 0.0),
        ("top_p", 1.1),
        ("top_k", -1),
        ("samples_per_prompt", 0),
        ("batch_size", 0),
        ("temprature", 1.0),
    ],
)
def test_nonsense_is_refused(field: str, value: Any) -> None:
    with pytest.raises(ValidationError) as caught:
        generation_config(**{field: value})
    assert [error["loc"] for error in caught.value.errors()] == [("transformers", field)]


def test_a_name_selects_the_settings() -> None:
    known = {"transformers": TransformersConfig, "vllm": VllmConfig, "my.module:Mine": CustomConfig}
    assert {name: type(generation_config(name=name)) for name in known} == known
    assert type(generation_config()) is TransformersConfig
    with pytest.raises(ValidationError, match="'vlllm' found using"):
        generation_config(name="vlllm")
    with pytest.raises(ValidationError, match="dtype"):
        generation_config(name="transformers", dtype="float32")


def test_settings_of_the_users_own_are_kept() -> None:
    config = generation_config(name="my.module:Mine", temperature=0.5, width=3)
    assert isinstance(config, CustomConfig)
    assert (config.options, config.greedy().options) == ({"width": 3}, {"width": 3})
    with pytest.raises(ValidationError, match="should match pattern"):
        generation_config(name="my/module.py:Mine")


def test_the_default_samples_the_policy_itself() -> None:
    config = generation_config()
    assert (config.temperature, config.top_p, config.top_k) == (1.0, 1.0, 0)


def test_several_greedy_samples_of_a_prompt_would_be_the_same() -> None:
    with pytest.raises(ValidationError, match="top_k = 1 is greedy"):
        generation_config(top_k=1, samples_per_prompt=2)
    assert generation_config(samples_per_prompt=5, top_k=3).greedy() == generation_config(top_k=1)


@pytest.mark.parametrize(("batch", "samples", "expected"), [(32, 1, 32), (32, 3, 10), (2, 3, 1), (6, 3, 2)])
def test_prompts_per_batch(batch: int, samples: int, expected: int) -> None:
    assert generation_config(batch_size=batch, samples_per_prompt=samples).prompts_per_batch == expected


def test_another_way_of_sampling_keeps_the_generator() -> None:
    config = generation_config(name="vllm", dtype="bfloat16", temperature=0.3, top_p=0.5, batch_size=8)
    sampled = config.untruncated(3)
    assert (sampled.samples_per_prompt, sampled.temperature, sampled.top_p, sampled.top_k) == (3, 1.0, 1.0, 0)
    for other in (sampled, config.greedy()):
        assert (other.who(), other.batch_size) == (config.who(), 8)
        assert type(other) is type(config)


def test_how_a_generator_is_reached_decides_no_sample() -> None:
    here, there = (
        generation_config(name="server", endpoints=[f"http://{host}"], api_key_env="KEY") for host in ("a", "b")
    )
    assert (
        here.decisive()
        == there.decisive()
        != generation_config(name="server", endpoints=["http://a"]).greedy().decisive()
    )
    assert here.keys == (("KEY", "http://a"),)
    assert here.who() != there.who()


def test_another_generator_is_filled_up_with_the_settings_of_sampling_alone() -> None:
    own = generation_config(name="vllm", dtype="bfloat16", temperature=0.5)
    assert own.filled({"top_k": 3}) == {"name": "vllm", "dtype": "bfloat16", "temperature": 0.5, "top_k": 3}
    assert own.filled({"name": "transformers"}) == {"name": "transformers", "temperature": 0.5}


def test_a_server_needs_an_address() -> None:
    with pytest.raises(ValidationError, match=r"endpoints\n  Field required"):
        generation_config(name="server")


@pytest.mark.parametrize(
    ("endpoints", "problem"),
    [
        ([], "at least 1 item"),
        (["127.0.0.1:8000"], "is no address: write one such as http://127.0.0.1:8000"),
        (["ftp://here"], "is no address: write one such as http://127.0.0.1:8000"),
        (["http://me:secret@here"], "must not carry a password or key"),
        (["http://here?key=secret"], "must not carry a password or key"),
        (["http://here:1", "http://here:1"], "listed twice"),
    ],
)
def test_addresses_that_are_refused(endpoints: list[str], problem: str) -> None:
    with pytest.raises(ValidationError, match=problem):
        ServerConfig(endpoints=endpoints)


def test_addresses_are_told_by_host_and_port() -> None:
    config = ServerConfig(endpoints=["http://here:1/v1/", "https://there"])
    assert config.endpoints == ("http://here:1", "https://there")
    with pytest.raises(ValidationError, match="listed twice"):
        ServerConfig(endpoints=["http://here:1", "http://here:1/v1"])
