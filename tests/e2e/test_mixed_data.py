"""One data set with demonstrations, comparisons and prompts alone, and phases that each play on what they can."""

from __future__ import annotations

import json
import math
from collections.abc import Callable
from pathlib import Path
from types import SimpleNamespace

import pytest
from pyarrow import parquet

from sparring.run_directory import RunDirectory
from sparring.shard_files import read_shard
from sparring.stage_directory import StageDirectory

ANSWERS = ["Because.", "No."]
KINDS: list[dict[str, object]] = [
    {"response": "It is so."},
    {"responses": ANSWERS, "scores": [0.9, 0.2]},
    {"responses": ANSWERS[::-1], "scores": [0.1, 0.7], "response": "It is so."},
    {},
]


@pytest.fixture
def data(tmp_path: Path) -> dict[str, object]:
    """Eight rows, two of each kind; a column that a row lacks is null there."""
    columns = ("response", "responses", "scores")
    rows = [{"prompt": f"Why {n}?"} | dict.fromkeys(columns) | KINDS[n % 4] for n in range(8)]
    path = tmp_path / "mixed.jsonl"
    path.write_text("\n".join(map(json.dumps, rows)), encoding="utf-8")
    return {"source": str(path), "held_out": 2, "max_response_tokens": 12}


def played(stage: StageDirectory) -> dict[int, list[str]]:
    rows = [row for path in sorted(stage.samples.glob("*.parquet")) for row in read_shard(path)]
    found: dict[int, list[str]] = {}
    for row in rows:
        found.setdefault(row["index"], []).append(row["text"])
    return found


def test_each_phase_plays_on_the_rows_that_have_what_it_needs(
    cli: Callable[..., SimpleNamespace],
    tiny_config: Callable[..., Path],
    tiny_folder: Path,
    tmp_path: Path,
    data: object,
) -> None:
    judged = {
        "objective": {"name": "sppo"},
        "judge": {"name": "pairwise", "model": str(tiny_folder)},
        "generation": {"samples_per_prompt": 2},
    }
    phases = [{"objective": {"name": "spin"}}, {"objective": {"name": "dpo"}, "responses": "data"}, judged]
    done = cli("train", tiny_config(data=data, iterations=1, phases=phases, warmup={}, stop={"enabled": False}))
    assert done.returncode == 0, done.stderr
    run = RunDirectory(tmp_path / "run")
    demonstrations, comparisons, prompts = (played(run.iteration(number)) for number in range(3))
    # Two of the four rows with an expert response are held out.
    assert {index % 4 for index in demonstrations} <= {0, 2}
    assert len(demonstrations) == 2
    assert 1 in {index % 4 for index in comparisons} <= {1, 2}
    assert all(sorted(texts) == ANSWERS for texts in comparisons.values())
    assert len(prompts) == 6
    assert "phase 0, objective 'spin': iteration 0, on 2 of 6 prompts" in " ".join(done.stderr.split())
    # Before its first step DPO knows nothing of who wins: log 2.
    first = next(event for event in run.events() if event.get("phase") == 1 and "rewards/margins" in event)
    assert first["loss"] == pytest.approx(math.log(2), abs=1e-4)
    assert "objective" in json.loads(run.iteration(0).evaluation.read_text())
    assert "log_likelihood/token" in json.loads(run.iteration(2).evaluation.read_text())

    assert cli("export-samples", run.path, tmp_path / "samples.parquet").returncode == 0
    rows = [row for row in parquet.read_table(tmp_path / "samples.parquet").to_pylist() if row["split"] == "train"]
    assert {row["response"] for row in rows if row["player"] == "data"} == set(ANSWERS)
    assert {row["index"] % 4 for row in rows if row["player"] == "expert"} <= {0, 2}
    assert all(row["response"] is not None for row in rows)


def test_prompts_alone_are_played_and_measured_by_what_is_known(
    cli: Callable[..., SimpleNamespace], tiny_config: Callable[..., Path], tiny_folder: Path, tmp_path: Path
) -> None:
    path = tmp_path / "prompts.jsonl"
    path.write_text("\n".join(json.dumps({"prompt": f"Why {n}?"}) for n in range(6)), encoding="utf-8")
    config = tiny_config(
        data={"source": str(path), "held_out": 2, "max_response_tokens": 16},
        iterations=1,
        warmup=None,
        objective={"name": "sppo"},
        regularizers=[{"name": "reverse-kl", "weight": 0.1}],
        judge={"name": "pairwise", "model": str(tiny_folder)},
        generation={"samples_per_prompt": 2},
    )
    planned = cli("plan", config, "--json", "--no-calibration")
    assert json.loads(planned.stdout)["tokens"]["generate"] == 4 * 2 * 16 + 2 * 2 * 2 * 16
    done = cli("train", config)
    assert done.returncode == 0, done.stderr
    measured = json.loads((tmp_path / "run" / "iterations" / "000" / "evaluation.json").read_text())
    assert {"length/sampled", "kl_to_base"} <= set(measured)
    assert not {"length/expert", "log_likelihood/token", "accuracy/greedy"} & set(measured)
    assert json.loads((tmp_path / "run" / "result.json").read_text())["metric"] == "win_rate/base"


def test_prompts_with_a_ground_truth_alone_are_verified_and_the_demonstrated_ones_warm_up(
    cli: Callable[..., SimpleNamespace], tiny_config: Callable[..., Path], tmp_path: Path
) -> None:
    path = tmp_path / "truths.jsonl"
    rows: list[dict[str, object]] = [{"prompt": f"Why {n}?", "response": None, "ground_truth": n} for n in range(5)]
    rows.append({"prompt": "Why 9?", "response": "so #### 8", "ground_truth": 9})
    path.write_text("\n".join(map(json.dumps, rows)), encoding="utf-8")
    held_out = tmp_path / "held.jsonl"
    held_out.write_text("\n".join(json.dumps(row | {"prompt": f"{row['prompt']}?"}) for row in rows[:2]))
    config = tiny_config(
        data={
            "source": str(path),
            "held_out_source": str(held_out),
            "verifier": "final-number",
            "max_response_tokens": 16,
        },
        iterations=1,
        warmup={},
        objective={"name": "sppo"},
        judge={"name": "verifier"},
        generation={"samples_per_prompt": 2},
    )
    planned = cli("plan", config, "--no-calibration")
    told = " ".join((planned.stdout + planned.stderr).split())
    assert "1 of 6 training prompts have an expert's response; of the others, 5 have a ground truth" in told
    assert "1 of 1 expert responses beside a ground truth are wrong by it" in told
    done = cli("train", config)
    assert done.returncode == 0, done.stderr
    run = RunDirectory(tmp_path / "run")
    assert len(played(run.iteration(0))) == 6
    measured = json.loads(run.iteration(0).evaluation.read_text())
    assert "accuracy/greedy" in measured
    assert "log_likelihood/token" not in measured
    assert json.loads(run.result.read_text())["metric"] == "accuracy/greedy"

    assert cli("export-samples", run.path, tmp_path / "samples.parquet").returncode == 0
    exported = parquet.read_table(tmp_path / "samples.parquet").to_pylist()
    assert {row["ground_truth"] for row in exported if row["split"] == "train"} == {*map(str, range(5)), "9"}
    assert {row["right"] for row in exported if row["player"] == "expert"} == {False}
    assert all(row["right"] is not None for row in exported)
