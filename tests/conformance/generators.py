"""One row for every generator; a new one fails `test_every_generator_has_a_row` until it has one.

A row holds the settings to build it with, and what it must say of itself.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any, Self

from sparring.examples import EncodedExample
from sparring.generation.batches import as_sample, batches
from sparring.generation.config import CustomConfig, GenerationConfig
from sparring.generation.protocol import GeneratorParts
from sparring.types import Sample


class Repeating:
    """A generator as a user would write one: it says one token until the limit."""

    def __init__(self, config: CustomConfig, parts: GeneratorParts) -> None:
        self._config, self._parts = config, parts

    @classmethod
    def of(cls, config: GenerationConfig, parts: GeneratorParts) -> Self:
        assert isinstance(config, CustomConfig)
        return cls(config, parts)

    def plan(self, prompts: Sequence[EncodedExample]) -> list[list[EncodedExample]]:
        return batches(self._config, prompts)

    def sample(self, batch: Sequence[EncodedExample], *, seed: int) -> list[Sample]:
        ids = [self._config.options["token"]] * self._parts.max_new_tokens
        parts = {"tokenizer": self._parts.tokenizer, "generator": "repeating", "seed": seed}
        return [
            as_sample(prompt, number, ids, stopped=False, **parts)
            for prompt in batch
            for number in range(self._config.samples_per_prompt)
        ]


@dataclass(frozen=True, kw_only=True)
class GeneratorRow:
    """One generator.

    Attributes:
        settings: What it cannot be built without.
        nonsense: Settings that must be refused, each with a part of the reason.
        reached_by: Settings that decide no sample, each with another value than its default or that of `settings`.
        facts: What a run must know of it, as `GenerationConfig` says it.
    """

    settings: Mapping[str, Any] = field(default_factory=dict)
    nonsense: tuple[tuple[Mapping[str, Any], str], ...] = ()
    reached_by: Mapping[str, Any] = field(default_factory=dict)
    facts: Mapping[str, bool]


IN_PLACE = {"one_process": False, "mixes": True, "together": True, "reusable": True}
ENGINE = {"one_process": True, "mixes": False, "together": False, "reusable": False}
OWN = {"one_process": False, "mixes": False, "together": False, "reusable": False}
NO_TOLERANCE = ({"tolerance": 0.0}, "greater than 0")

GENERATOR_ROWS: dict[str, GeneratorRow] = {
    "transformers": GeneratorRow(nonsense=(({"dtype": "float32"}, "Extra inputs"),), facts=IN_PLACE),
    "vllm": GeneratorRow(
        nonsense=(({"dtype": "int8"}, "'auto', 'float32'"), ({"kv_cache_gib": 0}, "greater than"), NO_TOLERANCE),
        reached_by={"gpu_memory_utilization": 0.5, "kv_cache_gib": 2, "tolerance": 0.1},
        facts=ENGINE,
    ),
    "server": GeneratorRow(
        settings={"endpoints": ["http://127.0.0.1:9"]},
        nonsense=(({"endpoints": []}, "at least 1 item"), ({"endpoints": ["here"]}, "is no address"), NO_TOLERANCE),
        reached_by={
            "endpoints": ["http://127.0.0.1:10"],
            "model": "m",
            "api_key_env": "KEY",
            "concurrency": 2,
            "timeout_s": 1.0,
            "retries": 1,
            "tolerance": 0.1,
        },
        facts=ENGINE,
    ),
    "conformance.generators:Repeating": GeneratorRow(
        settings={"token": 40},
        nonsense=(({"temperature": 0.0}, "greater than 0"),),
        facts=OWN,
    ),
}
