"""The JSON schema: what a run takes is valid, and what editors should mark is not."""

from __future__ import annotations

from typing import Any

import jsonschema
import pytest
import yaml

from sparring.recipes import find, recipes
from sparring.selfplay.config.json_schema import json_schema
from sparring.selfplay.config.schema import SelfPlayConfig

SCHEMA = json_schema()
VALIDATOR = jsonschema.Draft202012Validator(SCHEMA)
DATA = {"source": "x.jsonl"}


# The recipe `auto` waits for the data of its user.
@pytest.mark.parametrize("name", sorted(recipes().keys() - {"auto"}))
def test_every_recipe_is_valid_as_written_and_with_all_defaults(name: str) -> None:
    VALIDATOR.validate(yaml.safe_load(find(name).read_text(encoding="utf-8")))
    written = yaml.safe_load(SelfPlayConfig.from_yaml(find(name)).to_yaml())
    VALIDATOR.validate(written)


@pytest.mark.parametrize(
    "settings",
    [
        {"generation": {"temperature": 0.7}},
        {"objective": {"name": "mine:Objective", "anything": 1}},
        {"lora": {"r": 8}},
        {"warmup": {}},
        {"phases": [{"iterations": 1, "objective": {"name": "spin"}}]},
    ],
)
def test_what_a_run_takes_is_valid(settings: dict[str, Any]) -> None:
    VALIDATOR.validate({"data": DATA, **settings})


@pytest.mark.parametrize(
    "settings",
    [
        {"learning_rate": 1e-4},
        {"objective": "spin"},
        {"objective": {"name": "SPIN"}},
        {"judge": {"name": "nobody"}},
        {"training": {"per_device_batch_size": 2}},
        {"warmup": {"training": {"lr": 1}}},
        {"lora": {"rank": 8}},
        {"lora": True},
        {"phases": [{"opponent": {"name": "previos"}}]},
    ],
)
def test_what_a_run_refuses_is_not(settings: dict[str, Any]) -> None:
    assert not VALIDATOR.is_valid({"data": DATA, **settings})


def test_keys_are_described_as_in_the_documentation() -> None:
    assert SCHEMA["properties"]["seed"]["description"].startswith("The seed from which every use of random numbers")
    assert SCHEMA["$defs"]["PhaseConfig"]["properties"]["iterations"]["description"].startswith("T, the number of")
    assert SCHEMA["$defs"]["WarmupConfig"]["properties"]["training"]["description"].startswith("Fields of")
    assert "Number of training examples" in SCHEMA["$defs"]["DataConfig"]["properties"]["limit"]["description"]
