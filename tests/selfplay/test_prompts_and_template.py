"""A run's prompts by iteration, and its template's variables and clock, from the start to the export."""

from __future__ import annotations

import json
import shutil
from pathlib import Path
from typing import Any

import pytest
from transformers import AutoTokenizer

from a_run import a_config
from sparring.data import Clock
from sparring.errors import InputError
from sparring.exports.policy import export
from sparring.planning.plan import plan
from sparring.run_directory import RunDirectory
from sparring.selfplay.config.schema import SelfPlayConfig
from sparring.selfplay.loop import resume, run
from sparring.selfplay.manifest import run_clock
from sparring.selfplay.notes import notes
from sparring.selfplay.prepared import prepare
from sparring.shards import read_samples
from tiny import CHATML, save_tiny

TEMPLATE = (
    "{{ strftime_now('%d %b %Y %H:%M:%S') }}{% if mood is defined %} {{ mood }}{% endif %}\n"
    "{% for message in messages if message['role'] != 'system' %}" + CHATML.split("%}", 1)[1]
)
TRAINING = {"max_steps": 1, "per_device_train_batch_size": 1}


def rows(folder: Path, count: int = 4) -> str:
    path = folder / "rows.jsonl"
    turns = [{"role": "system", "content": "Be terse."}, {"role": "user", "content": "Why {}?"}]
    text = json.dumps({"messages": [*turns, {"role": "assistant", "content": "So {}."}], "topic": "why"})
    path.write_text("\n".join(text.replace("{}", str(number)) for number in range(count)))
    return str(path)


def settings(folder: Path, **data: Any) -> dict[str, Any]:
    return {
        "data": {"source": rows(folder), "held_out": 0, "max_response_tokens": 6, **data},
        "objective": {"name": "spin"},
        "training": TRAINING,
    }


def test_each_iteration_has_its_own_prompts(tiny_folder: Path, tmp_path: Path) -> None:
    config = a_config(tiny_folder, tmp_path / "run", **settings(tmp_path, prompts_per_iteration=2), iterations=2)
    half = plan(config, calibrated=False).tokens
    whole = plan(a_config(tiny_folder, tmp_path / "x", **settings(tmp_path), iterations=2), calibrated=False).tokens
    assert (half.generate, half.score) == (whole.generate / 2, whole.score / 2)
    run(config)
    directory = RunDirectory(tmp_path / "run")
    played = [
        {*read_samples(sorted(directory.iteration(iteration).path.glob("samples/*.parquet")))} for iteration in (0, 1)
    ]
    assert [len(part) for part in played] == [2, 2]
    assert not played[0] & played[1]


def test_an_objective_of_the_first_policys_responses_takes_the_same_prompts(tiny_folder: Path, tmp_path: Path) -> None:
    several = settings(tmp_path, prompts_per_iteration=2) | {"objective": {"name": "t-spin"}}
    with pytest.raises(InputError, match="earlier policies' responses to the same prompts") as caught:
        prepare(a_config(tiny_folder, tmp_path / "run", **several))
    assert caught.value.where == "data.prompts_per_iteration"


def test_the_clock_and_the_options_last_from_the_start_to_the_export(tmp_path: Path) -> None:
    model = save_tiny(tmp_path / "model", chat_template=TEMPLATE)
    config = a_config(model, tmp_path / "run", **settings(tmp_path, template_options={"mood": "gay"}), iterations=1)
    run(config)
    directory = RunDirectory(tmp_path / "run")
    told = json.loads(directory.manifest.read_text())["data"]["template"]
    assert told == {"options": {"mood": "gay"}, "unset_variables": [], "clock": str(run_clock(directory))}
    # As a run would be that was killed years ago.
    record = json.loads(directory.manifest.read_text())
    directory.result.unlink()
    shutil.rmtree(directory.iteration(0).path / "model")
    resume(tmp_path / "run")
    assert json.loads(directory.manifest.read_text())["fingerprints"] == record["fingerprints"]
    export(tmp_path / "run", tmp_path / "out", "iterations/000", card=lambda merged, shipped: "")
    text = AutoTokenizer.from_pretrained(tmp_path / "out").apply_chat_template(
        [{"role": "user", "content": "Why?"}], tokenize=False, return_dict=False
    )
    day = run_clock(directory).strftime("%d %b %Y %H:%M:%S")
    assert text == f"{day} gay<|im_start|>user\nWhy?<|im_end|>\n"


def test_the_tokens_are_those_of_the_time_that_is_given(tmp_path: Path) -> None:
    config = a_config(save_tiny(tmp_path / "model", chat_template=TEMPLATE), tmp_path / "run", **settings(tmp_path))
    first, again, other = (prepare(config, Clock.read(f"20{year}-01-31T12:00:00")) for year in (20, 20, 21))
    assert first.train.examples == again.train.examples
    assert first.train.examples != other.train.examples


def test_what_a_person_should_know_is_said_before_the_run(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("sparring.selfplay.arguments.multiplies_bf16", lambda: False)
    model = save_tiny(tmp_path / "model", chat_template=TEMPLATE)
    config = a_config(model, tmp_path / "run", **settings(tmp_path, max_response_tokens=5))
    told = notes(prepare(config))
    assert told[:2] == [
        "columns that hold something and are not read: topic",
        "warning: the chat template reads mood, which nobody sets; data.template_options sets such variables",
    ]
    assert told[2].startswith("warning: training examples: 4 of 8 turns are not written by the chat template")
    assert told[3].startswith("warning: training examples: 4 of 4 responses are cut at data.max_response_tokens (5)")
    assert plan(config, calibrated=False).notes == told


def test_an_unread_right_answer_is_named_before_what_auto_plays(tmp_path: Path) -> None:
    source = tmp_path / "mixed.jsonl"
    rows = [{"prompt": f"{n}?", **({"response": "#### 1"} if n % 2 else {"answer": 1})} for n in range(24)]
    source.write_text("\n".join(map(json.dumps, rows)), encoding="utf-8")
    values: dict[str, Any] = {
        "recipe": "auto",
        "model": {"name": str(save_tiny(tmp_path / "model"))},
        "data": {"source": str(source)},
    }
    told = notes(prepare(SelfPlayConfig.from_mapping(values)))
    assert told[:2] == [
        "columns that hold something and are not read: answer",
        "if 'answer' is the right answer, set data.columns.ground_truth=answer and data.verifier",
    ]
    assert told[2].startswith("auto: ")
    values["data"] |= {"verifier": "exact", "columns": {"ground_truth": "answer"}}
    assert notes(prepare(SelfPlayConfig.from_mapping(values)))[0].startswith("auto: ")
