"""A run of which some held-out prompts have an expert's response, and the others a right answer alone."""

from __future__ import annotations

import json
from pathlib import Path

from a_run import a_config
from sparring.files import read_json
from sparring.reports.samples import read_answers
from sparring.run_directory import RunDirectory
from sparring.selfplay import loop
from sparring.shard_files import read_shard
from sparring.shards import log_ratios_path


def test_accuracy_is_of_all_held_out_prompts_and_what_needs_an_expert_of_those_with_one(
    tiny_folder: Path, tmp_path: Path
) -> None:
    rows = [{"prompt": f"{n} + 1?", "response": f"#### {n + 1}" if n < 10 else None} for n in range(20)]
    source = tmp_path / "rows.jsonl"
    source.write_text("".join(json.dumps(row | {"ground_truth": str(n + 1)}) + "\n" for n, row in enumerate(rows)))
    config = a_config(
        tiny_folder,
        tmp_path / "run",
        data={"source": str(source), "verifier": "final-number", "held_out": 5, "max_response_tokens": 8},
        objective={"name": "sppo"},
        judge={"name": "verifier"},
        generation={"samples_per_prompt": 2, "batch_size": 4},
        iterations=1,
    )
    loop.run(config)
    directory = RunDirectory(tmp_path / "run")
    found = read_json(directory.iteration(0).evaluation)
    assert {name: found[name]["n"] for name in ("accuracy/greedy", "length/sampled", "log_likelihood/token")} == {
        "accuracy/greedy": 5,
        "length/sampled": 5,
        "log_likelihood/token": 2,
    }
    # The game against the opponent is measured on those with an expert, as the stability monitor reads it.
    played = [row["index"] for row in read_shard(log_ratios_path(directory.iteration(0)))]
    assert [index < 10 for index in played] == [True, True]
    answers = read_answers([("iteration 0", directory.iteration(0))])
    assert answers is not None
    assert sorted(answers.values(0, "expert", "ends")) == sorted(played)
    assert len(answers.values(0, "greedy", "right")) == 5
