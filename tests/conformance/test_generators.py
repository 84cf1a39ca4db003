"""Every generator has a row, says what a run must know of it, refuses nonsense, and samples a run's prompts."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path
from typing import Any, get_args

import pytest
from pydantic import ValidationError

import fake_vllm
from a_run import a_run
from completions_server import CompletionsServer
from conformance.generators import GENERATOR_ROWS, GeneratorRow
from sparring.generation import GENERATORS, AnyGenerationConfig, GenerationConfig, generation_config
from sparring.generation.config import CUSTOM
from sparring.generation.protocol import Generator
from sparring.selfplay.config.schema import SelfPlayConfig
from sparring.selfplay.manifest import config_fingerprint
from sparring.selfplay.stages.generate import generate
from sparring.shard_files import read_shard
from tiny_engine import TinyEngine

ROWS = [pytest.param(name, row, id=name) for name, row in GENERATOR_ROWS.items()]


def settings(name: str, row: GeneratorRow, **changes: Any) -> GenerationConfig:
    return generation_config(**({"name": name} | dict(row.settings) | changes))


def fingerprint(config: GenerationConfig) -> str:
    return config_fingerprint(SelfPlayConfig(data={"source": "here.jsonl"}, generation=config))


def test_every_generator_has_a_row() -> None:
    union, _ = get_args(AnyGenerationConfig)
    tags = [get_args(member)[1].tag for member in get_args(union)]
    assert tags == [*GENERATORS, CUSTOM]
    assert [name if name in GENERATORS else CUSTOM for name in GENERATOR_ROWS] == tags
    assert [get_args(member)[0] for member in get_args(union)][:-1] == list(GENERATORS.values())


@pytest.mark.parametrize(("name", "row"), ROWS)
def test_facts_and_pages(name: str, row: GeneratorRow) -> None:
    config = settings(name, row)
    assert {fact: getattr(config, fact) for fact in row.facts} == row.facts
    assert config.code == (name if ":" in name else None)
    own = set(type(config).model_fields) - set(GenerationConfig.model_fields)
    assert all(f"{field}: " in type(config).__doc__ for field in own)
    if name in GENERATORS:
        docs = Path(__file__).parents[2] / "docs"
        assert f"`{name}`" in (docs / "generators.md").read_text(encoding="utf-8")


@pytest.mark.parametrize(("name", "row"), ROWS)
def test_what_it_is_reached_by_sets_no_runs_apart(name: str, row: GeneratorRow) -> None:
    config = settings(name, row)
    assert set(row.reached_by) == config.reached_by <= set(type(config).model_fields)
    for field, value in row.reached_by.items():
        other = settings(name, row, **{field: value})
        assert getattr(other, field) != getattr(config, field)
        assert other.decisive() == config.decisive()
        assert fingerprint(other) == fingerprint(config)
    assert fingerprint(settings(name, row, temperature=0.5)) != fingerprint(config)


@pytest.mark.parametrize(("name", "row"), ROWS)
def test_keys_go_nowhere_unless_one_is_named(name: str, row: GeneratorRow) -> None:
    assert settings(name, row).keys == ()
    if "api_key_env" in row.reached_by:
        assert {variable for variable, _ in settings(name, row, api_key_env="KEY").keys} == {"KEY"}


@pytest.mark.parametrize(
    ("name", "nonsense", "reason"),
    [
        pytest.param(name, *each, id=f"{name}-{each[0]}")
        for name, row in GENERATOR_ROWS.items()
        for each in row.nonsense
    ],
)
def test_nonsense_is_refused_with_the_reason(name: str, nonsense: dict[str, Any], reason: str) -> None:
    with pytest.raises(ValidationError) as caught:
        settings(name, GENERATOR_ROWS[name], **nonsense)
    assert reason in str(caught.value)


@pytest.fixture
def reachable(tiny_folder: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[dict[str, dict[str, Any]]]:
    """What a generator needs to be there at all, by its name."""
    fake_vllm.install(monkeypatch)
    with CompletionsServer(TinyEngine(tiny_folder)).running() as server:
        yield {"server": {"endpoints": [server.url]}}


@pytest.mark.parametrize(("name", "row"), ROWS)
def test_a_run_samples_with_it(
    name: str, row: GeneratorRow, reachable: dict[str, dict[str, Any]], tiny_folder: Path, tmp_path: Path
) -> None:
    chosen = settings(name, row, samples_per_prompt=2, batch_size=4, **reachable.get(name, {}))
    run = a_run(tiny_folder, tmp_path / "run", generation=chosen)
    assert (run.prepared.engine is None) == (chosen.engine is None)
    built = run.generator(chosen)
    assert isinstance(built, Generator)
    plan = built.plan(run.train)
    assert plan == built.plan(list(reversed(run.train)))
    shards = generate(run, 0)
    assert len(shards) == len(plan) == 2
    for batch, shard in zip(plan, shards, strict=True):
        rows = read_shard(shard)
        assert [(each["index"], each["sample"]) for each in rows] == [(p.index, k) for p in batch for k in range(2)]
        for each in rows:
            stopped = each["response_ids"][-1] in run.stop_ids
            assert each["finish_reason"] == ("stop" if stopped else "length")
            assert stopped or len(each["response_ids"]) == run.config.data.max_response_tokens
