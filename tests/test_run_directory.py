"""The run directory: where things are, shards and events."""

from __future__ import annotations

import math
import struct
from pathlib import Path
from typing import Any

import pytest
from pyarrow import parquet

from sparring.errors import InputError
from sparring.run_directory import BASE, RunDirectory, read_shard, shard_path, write_shard

ROWS: list[dict[str, Any]] = [
    {"index": 7, "sample": 0, "response_ids": [5, 6, 2], "text": "a\nb", "log_prob": -1.1234567890123456, "seed": 0},
    {"index": 7, "sample": 1, "response_ids": [], "text": "é\u2028", "log_prob": -0.1, "seed": 2**31 - 1},
    {"index": 9, "sample": 0, "response_ids": list(range(300)), "text": "", "log_prob": -1e-30, "seed": 3},
]


def test_shards_keep_every_value_exactly(tmp_path: Path) -> None:
    # A folder name that a reader of partitioned data sets would take for a column.
    path = shard_path(tmp_path / "lr=1e-4" / "samples", 3, "policy-0")
    assert path.name == "policy-0-00003.parquet"
    write_shard(path, ROWS)
    assert read_shard(path) == ROWS


def test_shards_sort_by_number(tmp_path: Path) -> None:
    paths = [shard_path(tmp_path, number) for number in (0, 2, 10, 99_999)]
    assert sorted(paths) == paths
    assert paths[1].name == "part-00002.parquet"


def damaged(path: Path, content: bytes) -> str:
    path.write_bytes(content)
    with pytest.raises(InputError) as caught:
        read_shard(path)
    assert caught.value.where == str(path)
    assert caught.value.problem.startswith("the shard is damaged (")
    assert "\n" not in caught.value.problem
    assert caught.value.fix == "delete this file and run `sparring resume`: it is computed again, with the same seed"
    return str(caught.value)


def test_a_flipped_bit_in_the_data_is_found(tmp_path: Path) -> None:
    path = tmp_path / "part-00000.parquet"
    log_probs = [-1.0 / math.sqrt(2 + n) for n in range(200)]
    write_shard(path, [{"index": n, "log_prob": value} for n, value in enumerate(log_probs)])
    content = bytearray(path.read_bytes())
    content[content.index(struct.pack("<d", log_probs[100])[1:]) + 3] ^= 1
    path.write_bytes(bytes(content))
    # Without the checksum the changed number would be taken for good.
    changed = parquet.read_table(path).column("log_prob").to_pylist()
    assert sum(one != other for one, other in zip(changed, log_probs, strict=True)) == 1
    assert str(path) in damaged(path, bytes(content))


@pytest.mark.parametrize("kept", [0, 3, 4, 0.5, -1])
def test_a_cut_shard_is_found(tmp_path: Path, kept: float) -> None:
    path = tmp_path / "part-00000.parquet"
    write_shard(path, ROWS)
    whole = path.read_bytes()
    damaged(path, whole[: int(len(whole) * kept) if isinstance(kept, float) else kept])


def test_no_flipped_byte_changes_a_value_unseen(tmp_path: Path) -> None:
    path = tmp_path / "part-00000.parquet"
    rows = [{"index": n, "log_prob": -n / 7, "text": f"answer {n}"} for n in range(30)]
    write_shard(path, rows)
    whole = path.read_bytes()
    found = 0
    for place in range(0, len(whole), 3):
        content = bytearray(whole)
        content[place] ^= 0x5A
        path.write_bytes(bytes(content))
        try:
            read = read_shard(path)
        except InputError:
            found += 1
            continue
        # The footer has no checksum: the name or the type of a column may change there, which the next reader
        # trips over, but no value under its own name.
        for row, right in zip(read, rows, strict=True):
            for name in row.keys() & right.keys():
                value = row[name].decode() if isinstance(row[name], bytes) else row[name]
                assert value == right[name], (place, row)
    assert found > len(whole) / 3 / 2


def test_events_are_logged_once_a_step_as_last_seen(tmp_path: Path) -> None:
    run = RunDirectory(tmp_path)
    assert run.events() == []
    train = {"stage": "train", "iteration": 0}
    run.log({"stage": "warmup", "step": 1, "loss": 9.0})
    run.log({**train, "step": 1, "loss": 3.0})
    run.log({**train, "step": 2, "loss": 2.0})
    run.log({**train, "step": 3, "loss": 99.0})
    run.log({**train, "step": 2, "loss": 2.0})  # resumed from the checkpoint of step 1
    run.log({**train, "step": 3, "loss": 1.0})
    run.log({"stage": "train", "iteration": 1, "step": 3, "loss": 0.5})
    steps = [(event["stage"], event.get("iteration"), event["step"], event["loss"]) for event in run.events()]
    assert steps == [
        ("warmup", None, 1, 9.0),
        ("train", 0, 1, 3.0),
        ("train", 0, 2, 2.0),
        ("train", 0, 3, 1.0),
        ("train", 1, 3, 0.5),
    ]


def test_the_summary_of_a_stage_does_not_hide_its_last_step(tmp_path: Path) -> None:
    run = RunDirectory(tmp_path)
    run.log({"stage": "train", "iteration": 0, "step": 1, "loss": 0.5})
    run.log({"stage": "train", "iteration": 0, "step": 1, "train_loss": 0.5, "train_runtime": 3.0})
    (event,) = run.events()
    assert event["loss"] == 0.5
    assert event["train_runtime"] == 3.0


def test_times_of_a_stage_that_was_interrupted_all_count(tmp_path: Path) -> None:
    run = RunDirectory(tmp_path)
    for seconds in (4.0, 6.0):
        run.log({"kind": "time", "stage": "generate", "iteration": 0, "seconds": seconds})
    assert [event["seconds"] for event in run.events()] == [4.0, 6.0]


def test_where_the_policies_are_without_a_warmup(tmp_path: Path) -> None:
    run = RunDirectory(tmp_path)
    assert run.weights(BASE) is None
    assert run.weights(0) is None
    assert run.stage(BASE) == run.stage(0) == run.base
    assert run.weights(1) == tmp_path / "iterations" / "000" / "model"
    assert run.stage(12).evaluation == tmp_path / "iterations" / "011" / "evaluation.json"


def test_where_the_policies_are_after_a_warmup(tmp_path: Path) -> None:
    run = RunDirectory(tmp_path)
    run.warmup.model.mkdir(parents=True)
    assert run.weights(BASE) is None
    assert run.stage(BASE) == run.base
    assert run.weights(0) == tmp_path / "warmup" / "model"
    assert run.weights(1) == tmp_path / "iterations" / "000" / "model"
