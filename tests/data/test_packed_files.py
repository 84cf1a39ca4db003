"""Packed files are unpacked as they are read."""

from __future__ import annotations

import gzip
from dataclasses import replace
from pathlib import Path

import pyarrow
import pytest

from bad_data import GOOD, failure
from sparring.data import DataConfig, load


def write_packed(path: Path, content: bytes) -> None:
    """By the way of packing that the name's end says."""
    with pyarrow.output_stream(str(path)) as file:
        file.write(content)


@pytest.mark.parametrize("ending", ["gz", "bz2", "zst"])
@pytest.mark.parametrize(
    ("name", "text"),
    [
        ("train.jsonl", GOOD),
        ("train.json", f"[{GOOD.strip()}]"),
        ("train.csv", "prompt,response\nq,a\n"),
        ("train.tsv", "prompt\tresponse\nq\ta\n"),
    ],
)
def test_a_packed_file_holds_what_is_packed_in_it(tmp_path, monkeypatch, name, text, ending):
    monkeypatch.chdir(tmp_path)
    plain, packed = Path(name), Path(f"{name}.{ending}")
    plain.write_text(text)
    write_packed(packed, text.encode())
    (found,), (right,) = (load(DataConfig(source=str(path), held_out=0), 0).train for path in (packed, plain))
    assert found == replace(right, where=right.where.replace(name, packed.name))


def test_a_file_that_was_packed_in_several_pieces_is_read_to_its_end(tmp_path):
    pieces = [f"{GOOD}\n".replace("q", f"q{number}").encode() for number in range(3)]
    (tmp_path / "train.jsonl.gz").write_bytes(b"".join(map(gzip.compress, pieces)))
    assert len(load(DataConfig(source=str(tmp_path), held_out=0), 0).train) == 3


@pytest.mark.parametrize("ending", ["gz", "bz2", "zst"])
@pytest.mark.parametrize("kind", ["jsonl", "json", "csv"])
def test_a_packed_file_that_ends_early_or_is_none_is_told(tmp_path, kind, ending):
    path = tmp_path / f"train.{kind}.{ending}"
    write_packed(path, "".join(f"{GOOD}\n".replace("q", f"q{number}") for number in range(5000)).encode())
    path.write_bytes(path.read_bytes()[:-20])
    assert failure(path) == "…: cannot be read: Truncated compressed stream\n  fix: download or pack it anew"
    path.write_text(GOOD)
    assert failure(path).startswith("…: cannot be read: ")
