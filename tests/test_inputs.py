"""Files and settings that people give: what is none is said, and nothing is waited for."""

from __future__ import annotations

import os
from pathlib import Path
from typing import Any

import pytest

from sparring import SelfPlayConfig
from sparring.data import DataConfig, load
from sparring.digests import DamagedError
from sparring.errors import InputError
from sparring.files import append_json_line, write_json
from sparring.inputs import check_settings, kind, place, read_text
from sparring.run_directory import RunDirectory
from sparring.run_files import (
    read_evaluation,
    read_events,
    read_log_lines,
    read_manifest,
    read_removed,
    read_result,
    read_stability,
    sealed_event,
)
from sparring.selfplay.config.yaml import apply_overrides


def refused(problem: str) -> Any:
    return pytest.raises(InputError, match=problem)


@pytest.mark.parametrize("path", ["a\0b", "\ud800", "nobody/is/here", __file__ + "/x"])
def test_a_path_that_leads_nowhere(path: str) -> None:
    assert kind(Path(path)) == "nothing"


def test_what_is_no_plain_file_is_not_waited_for(tmp_path: Path) -> None:
    pipe = tmp_path / "pipe.jsonl"
    os.mkfifo(pipe)
    for odd in (pipe, Path("/dev/zero")):
        with refused("is no plain file but a pipe, a socket or a device"):
            read_text(odd, fix="")
    with refused("is no plain file"):
        load(DataConfig(source=str(pipe), held_out=0), 0)
    with refused("is no plain file"):
        SelfPlayConfig.from_yaml(pipe)
    with refused("is a folder"):
        SelfPlayConfig.from_yaml(tmp_path)


def test_names_that_are_too_long_and_people_who_are_not_there() -> None:
    with refused("cannot be reached: File name too long"):
        kind(Path("x" * 5000))
    with refused("names no folder"):
        place("~nobody-of-this-name/x")


def test_a_file_that_is_too_large(tmp_path: Path) -> None:
    path = tmp_path / "config.yaml"
    path.write_text("# " + "x" * 300_000)
    with refused("has more than 256 KiB"):
        SelfPlayConfig.from_yaml(path)


CYCLE: list[Any] = []
CYCLE.append(CYCLE)
BOMB: list[Any] = ["x"]
for _ in range(9):
    BOMB = [BOMB] * 9


@pytest.mark.parametrize(
    ("values", "problem"),
    [
        ({"a": {"b": 2**63}}, "a.b: is a whole number of more than 64 bits"),
        ({"a": ["x", "\0"]}, "a.1: holds a NUL, or half a character"),
        ({"\ud800": 1}, "holds a NUL, or half a character"),
        ({1: "a"}, "1: a key must be text, got int; write it in quotes"),
        (CYCLE, "nests more than 64 deep"),
        (BOMB, "holds more than 100,000 values"),
    ],
    ids=["whole number", "NUL", "half a character", "key", "cycle", "bomb"],
)
def test_settings_that_are_none(values: Any, problem: str) -> None:
    with refused(problem):
        check_settings(values, where="here")


@pytest.mark.parametrize(
    "text",
    [
        *(
            "!!int ''",
            "!!float ''",
            "!!bool maybe",
            "!!timestamp x",
            "!!timestamp 2024-01-01",
            "!!binary aGk=",
            "!!set {a}",
        ),
        *(
            "!!omap [a: 1]",
            "!!pairs [a: 1]",
            "!!python/name:os.system",
            "? [a]\n: b",
            "&a [*a]",
            "[" * 3000,
            "{a: " * 3000,
        ),
        *("1" * 5000, "\\\0", '"\\ud800"', '"\\0"', "a: &a {x: 1, y: 2}\nb: {<<: [" + "*a, " * 6_000 + "*a]}"),
    ],
    ids=lambda text: repr(text[:24]),
)
def test_yaml_that_is_no_setting(tmp_path: Path, text: str) -> None:
    with pytest.raises(InputError):
        apply_overrides({}, [f"a={text}"])
    path = tmp_path / "config.yaml"
    path.write_bytes(f"a: {text}\n".encode("utf-8", "surrogatepass"))
    with pytest.raises(InputError):
        SelfPlayConfig.from_yaml(path)


def test_a_day_is_text() -> None:
    assert apply_overrides({}, ["day=2024-01-01"]) == {"day": "2024-01-01"}


@pytest.mark.parametrize("override", ["a." * 3000 + "b=1", f"phases.{'9' * 5000}.x=1", "=", ".=", "a"])
def test_overrides_that_are_none(override: str) -> None:
    with pytest.raises(InputError) as caught:
        SelfPlayConfig.from_mapping(apply_overrides({"data": {"source": "x"}, "phases": [{}]}, [override]))
    assert len(str(caught.value)) < 20_000


@pytest.mark.parametrize(
    ("read", "value", "problem"),
    [
        (read_manifest, {"versions": {"python": 3}}, "versions.python: Input should be a valid string"),
        (read_manifest, {"own_code": {"m": {"sha256": ""}}}, "own_code.m.folder: Field required"),
        (read_result, {"best": None}, "best: Input should be a valid string"),
        (read_result, {"best": "base", "peak_memory_gib": 10**400}, "more than 64 bits"),
        (read_evaluation, {"length": {"mean": 1.0}}, "length.standard_error: Field required"),
        (read_stability, {"findings": [{"check": 1}]}, "findings.0.check: Input should be a valid string"),
        (read_removed, {"removed": ["../x"]}, "removed.0: Input should be 'model' or 'samples'"),
    ],
)
def test_a_run_s_files_with_the_right_digest_that_are_none(tmp_path: Path, read: Any, value: Any, problem: str) -> None:
    path = tmp_path / "file.json"
    write_json(path, value)
    with refused(problem):
        read(path)


@pytest.mark.parametrize(
    "content", [b"[]", b"7", b"{}", b"[" * 100_000, b"\xff", b"", b'{"sha256": 7}', b'{"sha256": ""}']
)
def test_a_run_s_files_that_are_none(tmp_path: Path, content: bytes) -> None:
    path = tmp_path / "file.json"
    path.write_bytes(content)
    with pytest.raises(DamagedError, match=r"cannot be read|is damaged"):
        read_manifest(path)
    assert read_log_lines(path) == 0
    path.write_bytes(content + b"\n")
    assert read_events(path) == [None]


@pytest.mark.parametrize(
    ("event", "problem"),
    [
        ({"kind": "time", "stage": "train"}, "line 1: : seconds is missing"),
        ({"policy": "../../x"}, "line 1: policy: String should match"),
    ],
)
def test_lines_of_a_log_with_the_right_digest_that_are_none(tmp_path: Path, event: Any, problem: str) -> None:
    path = tmp_path / "metrics.jsonl"
    append_json_line(path, sealed_event(event))
    with refused(problem):
        read_events(path)


def test_what_is_needed_is_named(tmp_path: Path) -> None:
    path = tmp_path / "manifest.json"
    write_json(path, {"fingerprints": {}})
    with refused(r"fingerprints\.config is missing"):
        read_manifest(path, "fingerprints.config")


def test_iterations_are_folders_with_numbers(tmp_path: Path) -> None:
    for name in ("000", "002", "1x", "\u0663\u0663\u0663", "12"):
        (tmp_path / "iterations" / name).mkdir(parents=True)
    assert [stage.path.name for stage in RunDirectory(tmp_path).played()] == ["000", "002"]
