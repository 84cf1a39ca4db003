"""By what a run knows its configuration again, and what its shards are computed with."""

from __future__ import annotations

import hashlib
import importlib.metadata
import json
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
import torch
from transformers.utils.import_utils import enable_tf32

from sparring.selfplay import manifest
from sparring.selfplay.config.schema import SelfPlayConfig
from sparring.selfplay.manifest import arithmetic, config_fingerprint

LLM = {"name": "llm", "model": "m"}
ELSEWHERE = {"base_url": "http://127.0.0.1:9/v1", "patience": 1.0}
LIMITS = {"oscillation": {"warn": 0.1, "alarm": 0.2}}


def fingerprint(**sections: Any) -> str:
    return config_fingerprint(SelfPlayConfig.from_mapping({"data": {"source": "arithmetic", "limit": 8}} | sections))


@pytest.mark.parametrize(
    ("one", "other"),
    [
        ({}, {"reuse": False}),
        ({"evaluation": {"judge": LLM}}, {"evaluation": {"judge": LLM | ELSEWHERE}}),
        ({"judge": LLM}, {"judge": LLM | ELSEWHERE}),
        ({"judge": LLM, "phases": [{}, {"judge": LLM}]}, {"judge": LLM | ELSEWHERE, "phases": [{}, {"judge": LLM}]}),
        ({"phases": [{"judge": None}, {"judge": LLM}]}, {"phases": [{"judge": None}, {"judge": LLM | ELSEWHERE}]}),
    ],
    ids=["reuse", "judge of held-out responses", "judge", "judge that a phase takes over", "judge of a phase"],
)
def test_what_decides_no_result_is_no_part_of_it(one: dict[str, Any], other: dict[str, Any]) -> None:
    assert fingerprint(**one) == fingerprint(**other)


def test_what_only_reaches_a_judge_is_named() -> None:
    sampled = {"objective": {"name": "sppo"}, "generation": {"samples_per_prompt": 2}}
    judges = {"judge": {"name": "verifier"}, "phases": [{}, {"judge": LLM}], "evaluation": {"judge": LLM}}
    config = SelfPlayConfig.from_mapping({"data": {"source": "arithmetic", "limit": 8}} | sampled | judges)
    named = [key for key in manifest.elsewhere(config) if "judge" in key]
    settings = ("base_url", "api_key_env", "concurrency", "requests_per_minute", "timeout", "patience")
    assert named == [f"{judge}.{name}" for judge in ("phases.1.judge", "evaluation.judge") for name in settings]


@pytest.mark.parametrize("measured", [{"judge": LLM}, {"judge": "none"}, {"embedder": "m"}], ids=str)
def test_what_is_measured_besides_is_part_of_it(measured: dict[str, Any]) -> None:
    assert fingerprint(evaluation=measured) != fingerprint()


@pytest.mark.parametrize(
    ("written", "where"),
    [
        (None, "index"),
        ({"url": "file:///home/me/sparring", "dir_info": {"editable": True}}, "folder"),
        ({"url": "https://example.org/s.git", "vcs_info": {"vcs": "git", "commit_id": "0a1b"}}, "commit 0a1b"),
    ],
)
def test_where_the_package_was_installed_from(
    written: dict[str, Any] | None, where: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    folder = tmp_path / "sparring-9.dist-info"
    folder.mkdir()
    (tmp_path / "sparring").mkdir()
    if written is not None:
        (folder / "direct_url.json").write_text(json.dumps(written))
    found = importlib.metadata.PathDistribution(folder)
    monkeypatch.setattr(importlib.metadata, "distribution", lambda _: found)
    assert manifest.installed() == where


def test_changed_code_computes_something_else(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    before = arithmetic()
    package = tmp_path / "sparring"
    (package / "training").mkdir(parents=True)
    (package / "training" / "manifest.py").write_text("pass")
    monkeypatch.setattr(manifest, "__file__", str(package / "training" / "manifest.py"))
    manifest._source_digest.cache_clear()
    after = arithmetic()
    manifest._source_digest.cache_clear()
    assert {name for name in before if before[name] != after[name]} == {"source"}
    assert after["source"] == hashlib.sha256(b"training/manifest.py\npass").hexdigest()


def test_limits_decide_a_run_only_where_an_alarm_may_end_it() -> None:
    assert fingerprint(stability=LIMITS) == fingerprint() == fingerprint(stop={"alarms": []})
    armed = fingerprint(stop={"alarms": ["oscillation"]})
    assert len({fingerprint(), armed, fingerprint(stop={"alarms": ["oscillation"]}, stability=LIMITS)}) == 3


@pytest.fixture
def precision() -> Iterator[None]:
    """Gives the process its own way of multiplying back."""
    before = torch.backends.fp32_precision
    yield
    torch.backends.fp32_precision = before


@pytest.mark.usefixtures("precision")
def test_tf32_is_other_arithmetic() -> None:
    exact = arithmetic()
    enable_tf32(enable=True)
    fast = arithmetic()
    assert json.loads(json.dumps(fast)) == fast
    assert {name for name in exact if exact[name] != fast[name]} == {"float32_precision"}


@pytest.mark.parametrize("program", ["/usr/bin/sparring", "/site-packages/sparring/__main__.py"])
def test_the_command_is_one_that_can_be_given_again(program: str, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("sys.argv", [program, "train", "auto", "data.source=https://ada:pw@example.org/a"])
    assert manifest._command() == ["sparring", "train", "auto", "data.source=https://***@example.org/a"]
