"""Shards: their names, there and back, and what damage does to them."""

from __future__ import annotations

import math
import struct
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any, get_args

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from pyarrow import parquet

from sparring.data import DataConfig, load
from sparring.errors import InputError
from sparring.policies import BASE, TEACHER, Drawn, How
from sparring.shard_files import read_columns, read_shard, write_shard
from sparring.shards import (
    LogRatioRow,
    SampleRow,
    answers_path,
    held_out_path,
    held_out_samples,
    held_out_scores,
    held_out_scores_path,
    held_out_verdicts_path,
    judgements_path,
    log_ratios_path,
    read_scores,
    samples_of,
    samples_path,
    scores_of,
    scores_path,
)
from sparring.stage_directory import StageDirectory

ROWS: list[dict[str, Any]] = [
    {"index": 7, "sample": 0, "response_ids": [5, 6, 2], "text": "a\nb", "log_prob": -1.1234567890123456, "seed": 0},
    {"index": 7, "sample": 1, "response_ids": [], "text": "é\u2028", "log_prob": -0.1, "seed": 2**31 - 1},
    {"index": 9, "sample": 0, "response_ids": list(range(300)), "text": "", "log_prob": -1e-30, "seed": 3},
]


def test_shards_keep_every_value_exactly(tmp_path: Path) -> None:
    # A folder name that a reader of partitioned data sets would take for a column.
    path = samples_path(StageDirectory(tmp_path / "lr=1e-4"), Drawn(0, "sampled"), 3)
    assert path == tmp_path / "lr=1e-4" / "samples" / "policy-0-sampled-00003.parquet"
    write_shard(path, ROWS)
    assert read_shard(path) == ROWS


def test_shards_sort_by_number(tmp_path: Path) -> None:
    paths = [samples_path(StageDirectory(tmp_path), "data", number) for number in (0, 2, 10, 99_999)]
    assert sorted(paths) == paths
    assert paths[1].name == "data-00002.parquet"


POLICIES = st.sampled_from([BASE, TEACHER]) | st.integers(0, 10**6)
DRAWN = st.builds(Drawn, POLICIES, st.sampled_from(get_args(How)))


@given(by=DRAWN | st.just("data"), number=st.integers(0, 10**6))
def test_who_drew_a_training_sample_is_read_from_its_shards_name(by: Drawn, number: int) -> None:
    with TemporaryDirectory() as folder:
        stage = StageDirectory(Path(folder))
        write_shard(samples_path(stage, by, number), ROWS)
        assert samples_of(stage) == {samples_path(stage, by, number): by}


@given(by=DRAWN | st.sampled_from(["expert", "data"]), number=st.integers(0, 10**6))
def test_whose_responses_are_scored_is_read_from_the_shards_name(by: Drawn, number: int) -> None:
    with TemporaryDirectory() as folder:
        stage = StageDirectory(Path(folder))
        write_shard(held_out_scores_path(stage, by, number), ROWS)
        # Other shards of the folder are none of them.
        for path in (answers_path(stage), log_ratios_path(stage), held_out_verdicts_path(stage, BASE, 0)):
            write_shard(path, ROWS)
        assert held_out_scores(stage) == {held_out_scores_path(stage, by, number): by}
        assert held_out_samples(stage) == {}


@pytest.mark.parametrize("how", get_args(How))
def test_how_a_held_out_response_was_drawn_is_read_from_its_shards_name(tmp_path: Path, how: How) -> None:
    stage = StageDirectory(tmp_path)
    write_shard(held_out_path(stage, how, 2), ROWS)
    assert held_out_samples(stage) == {held_out_path(stage, how, 2): how}


def test_scores_of_one_sample_shard_are_not_those_of_another(tmp_path: Path) -> None:
    stage = StageDirectory(tmp_path)
    one, other = (samples_path(stage, Drawn(policy, "sampled"), 0) for policy in (1, 11))
    for policy in (BASE, 3):
        write_shard(scores_path(stage, one, policy), ROWS)
    write_shard(scores_path(stage, other, 3), ROWS)
    assert [path.stem for path in scores_of(stage, one)] == [
        "policy-1-sampled-00000-under-base",
        "policy-1-sampled-00000-under-policy-3",
    ]
    assert judgements_path(stage, one).name == one.name


def test_the_experts_response_has_no_sample_number(tmp_path: Path) -> None:
    rows = [{"index": 4, "sample": number, "policy": BASE, "log_prob": -1.0, "digest": "a"} for number in (None, 0)]
    write_shard(tmp_path / "scores.parquet", rows)
    assert [row["sample"] for row in read_scores(tmp_path / "scores.parquet")] == [None, 0]


def damaged(path: Path, content: bytes) -> str:
    path.write_bytes(content)
    with pytest.raises(InputError) as caught:
        read_shard(path)
    assert caught.value.where == str(path)
    assert caught.value.problem.startswith("the shard is damaged (")
    assert "\n" not in caught.value.problem
    assert caught.value.fix == (
        "delete it and run `sparring resume RUN`, which computes what is missing again, with the same seed"
    )
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


@pytest.mark.parametrize("name", ["mock:a.parquet", "file:a.parquet", "s3:a.parquet", "a::b.parquet", "%41#?.parquet"])
def test_a_relative_path_is_no_address(name: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    write_shard(Path(name), [{"prompt": "a", "response": "b"}])
    assert [path.name for path in tmp_path.iterdir()] == [name]
    data = load(DataConfig(source=name, held_out=0), 0)
    assert [(example.prompt, example.response) for example in data.train] == [("a", "b")]


WHOLE: dict[type, dict[str, Any]] = {
    SampleRow: {
        "index": 0,
        "sample": 0,
        "prompt": "q",
        "prompt_ids": [1],
        "response_ids": [],
        "finish_reason": "stop",
        "text": "a",
        "generator": "transformers",
        "seed": 3,
    },
    LogRatioRow: {"index": 0, "expert": 0.5, "generated": [0.25]},
}


@pytest.mark.parametrize("row", WHOLE)
def test_columns_of_another_shard_are_refused_by_name(tmp_path: Path, row: type) -> None:
    path = tmp_path / "shard.parquet"
    write_shard(path, [WHOLE[row]])
    assert read_columns(path, row).to_pylist() == [WHOLE[row]]
    for name, value in WHOLE[row].items():
        write_shard(path, [{key: each for key, each in WHOLE[row].items() if key != name}])
        with pytest.raises(InputError, match=f"shard.parquet: the column '{name}' is missing"):
            read_columns(path, row)
        wrong: Any = 7 if isinstance(value, str | list) else "7"
        write_shard(path, [WHOLE[row] | {name: wrong}])
        with pytest.raises(InputError, match=f"the column '{name}' has the type "):
            read_columns(path, row)
        write_shard(path, [WHOLE[row], WHOLE[row] | {name: None}])
        with pytest.raises(InputError, match=f"the column '{name}' lacks values"):
            read_columns(path, row)


def test_a_column_that_may_be_empty_may_be(tmp_path: Path) -> None:
    path = tmp_path / "scores.parquet"
    row = {"index": 0, "sample": None, "policy": 1, "log_prob": -2.0, "digest": "d"}
    write_shard(path, [row])
    assert read_scores(path) == [row]
    write_shard(path, [row | {"token_log_probs": np.array([-1.5, -0.5])}])
    assert read_scores(path) == [row | {"token_log_probs": [-1.5, -0.5]}]
