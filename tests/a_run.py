"""A real run of the tiny model, set up and not yet played."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any, cast

from sparring.examples import EncodedExample
from sparring.judges import StartedJudge
from sparring.run_directory import RunDirectory
from sparring.selfplay.config.schema import SelfPlayConfig
from sparring.selfplay.prepared import prepare
from sparring.selfplay.run import Judges, Run
from sparring.selfplay.set_up import set_up
from sparring.shards import SampleRow


def a_config(model: Path, output: Path, **settings: Any) -> SelfPlayConfig:
    """Four arithmetic prompts, nothing held out, on the CPU, unless the settings say otherwise."""
    base = {
        "output": str(output),
        "model": {"name": str(model), "device": "cpu"},
        "data": {"source": "arithmetic", "limit": 4, "held_out": 0, "max_response_tokens": 60},
        "reuse": False,
    }
    return SelfPlayConfig.from_mapping(base | settings)


def a_run(model: Path, output: Path, **settings: Any) -> Run:
    """The run of such a configuration."""
    config = a_config(model, output, **settings)
    output.mkdir(parents=True, exist_ok=True)
    return set_up(prepare(config), RunDirectory(config.output))


def on(run: Run, *, train: Sequence[EncodedExample] = (), held_out: Sequence[EncodedExample] = ()) -> Run:
    """The same run on other prompts, where some are given."""
    prepared = run.prepared
    if train:
        prepared = replace(prepared, train=replace(prepared.train, examples=list(train)))
    if held_out:
        prepared = replace(prepared, held_out=replace(prepared.train, examples=list(held_out)))
    return replace(run, prepared=prepared)


def judged_by(run: Run, judge: StartedJudge) -> Run:
    """The same run with one judge of everything."""
    phases = {phase.number: judge for phase in run.prepared.phases}
    return replace(run, judges=Judges(of_phases=phases, of_held_out=judge))


def a_sample(**fields: Any) -> SampleRow:
    """A row of a shard of samples, of which only some fields matter."""
    row: SampleRow = {
        "index": 0,
        "sample": 0,
        "prompt": "",
        "prompt_ids": [1],
        "response_ids": [2],
        "finish_reason": "stop",
        "text": "",
        "generator": "transformers",
        "seed": 0,
    }
    return cast("SampleRow", row | fields)
