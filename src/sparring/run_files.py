"""The content of a run's JSON files, checked as it is read: a file may be damaged, or another person's.

A digest reveals damage by a disk, a copy or a hand. A file with the right digest must still be of the form that a run
writes.
"""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from contextlib import suppress
from pathlib import Path
from typing import Annotated, Any, Literal, Self

from pydantic import BaseModel, ConfigDict, Field, TypeAdapter, ValidationError, model_validator

from sparring.digests import DamagedError, with_digest, without_digest
from sparring.errors import InputError
from sparring.files import read_json, whole_lines
from sparring.inputs import check_settings, kind
from sparring.json_text import numbers

AGAIN = "run `sparring resume` on the run: what is missing or damaged is computed again"
"""The fix for a damaged file that the run can compute again."""

_FIX = "restore it from a copy of the run, or remove the run directory and start the run again"
_FIX_MANIFEST = "restore it from a copy; without it the run cannot go on, but iterations/*/model can still be loaded"
_FIX_RESULT = "delete it and run `sparring resume` on the run, which writes it again"
# Hexadecimal digits of the sha256 of a logged line: few, since a log has many lines.
_LINE_DIGITS = 16


class _Part(BaseModel):
    """The entries that are read of a JSON object; it may have others."""

    model_config = ConfigDict(extra="allow", strict=True)


class _Settings(_Part):
    beta: float | None = None
    reward_bound: float | None = None


class _Objective(_Part):
    settings: _Settings
    stability: str | None = None


class _Count(_Part):
    examples: int


class _Template(_Part):
    clock: str


class _Data(_Part):
    train: _Count = _Count(examples=0)
    held_out: _Count = _Count(examples=0)
    skipped: list[Any] = []
    needs: dict[str, list[str]] = {}
    stop_ids: list[int] = []
    template: _Template = _Template(clock="")


class _Code(_Part):
    sha256: str
    folder: str


class _Manifest(_Part):
    config: str = ""
    command: list[str] = []
    versions: dict[str, str] = {}
    elsewhere: list[str] = []
    data: _Data = _Data()
    objective: _Objective | None = None
    phases: list[_Objective] | None = None
    fingerprints: dict[str, str] = {}
    own_code: dict[str, _Code] = {}
    auto: list[str] = []


class _Result(_Part):
    best: str
    metric: str | None = None
    stopped_early: bool = False
    reason: str = ""
    peak_memory_gib: float = 0.0


class _Estimate(_Part):
    mean: float
    standard_error: float
    n: int
    interval: Annotated[list[float], Field(min_length=2, max_length=2)] | None = None


class _Shards(_Part):
    shards: list[str]


class _Removed(_Part):
    removed: list[Literal["model", "samples"]]


class _Sealed(_Part):
    log_lines: int = 0


class _Finding(_Part):
    check: str
    iteration: int
    status: Literal["ok", "warn", "alarm"]
    value: float | None
    threshold: float | None
    text: str


class _Findings(_Part):
    findings: list[_Finding]


class _Event(_Part):
    kind: str | None = None
    stage: str | None = None
    iteration: int | None = None
    step: int | None = None
    loss: float | None = None
    seconds: float | None = None
    policy: str | None = Field(default=None, pattern=r"^(base|warmup|teacher|(iterations|control)/\d{1,9})$")

    @model_validator(mode="after")
    def _whole(self) -> Self:
        needed = ["stage", "seconds"] if self.kind == "time" else []
        if self.kind is None and self.stage in {"train", "warmup"} and self.loss is not None:
            needed += ["step", *(["iteration"] if self.stage == "train" else [])]
        if self.stage == "judge":
            needed.append("iteration")
        for name in needed:
            if getattr(self, name) is None:
                raise ValueError(f"{name} is missing")
        for name, value in (self.model_extra or {}).items():
            if name.startswith("judge/") and (isinstance(value, bool) or not isinstance(value, int | float | None)):
                raise ValueError(f"{name} is no number")
        return self


_MANIFEST: TypeAdapter[Any] = TypeAdapter(_Manifest)
_RESULT: TypeAdapter[Any] = TypeAdapter(_Result)
_EVALUATION: TypeAdapter[Any] = TypeAdapter(dict[str, _Estimate])
_STABILITY: TypeAdapter[Any] = TypeAdapter(_Findings)
_SHARDS: TypeAdapter[Any] = TypeAdapter(_Shards)
_REMOVED: TypeAdapter[Any] = TypeAdapter(_Removed)
_SEALED: TypeAdapter[Any] = TypeAdapter(_Sealed)
_EVENT: TypeAdapter[Any] = TypeAdapter(_Event)


def read_manifest(path: Path, *needed: str) -> dict[str, Any]:
    """The manifest, which must have the entries `needed`, given as dotted keys.

    Like the other readers here it raises DamagedError where the file is cut, empty, changed or missing, and InputError
    where its content is not of the form that a run writes.
    """
    return _read(path, _MANIFEST, needed, fix=_FIX_MANIFEST)


def read_result(path: Path, *needed: str) -> dict[str, Any]:
    """The result of a run that ended; for `needed` see `read_manifest`."""
    return _read(path, _RESULT, needed, fix=_FIX_RESULT)


def read_evaluation(path: Path) -> dict[str, dict[str, Any]]:
    """The estimates of a policy, by name."""
    return _read(path, _EVALUATION, fix=AGAIN, measured=True)


def read_stability(path: Path) -> list[dict[str, Any]]:
    """The findings of the stability monitor."""
    found: list[dict[str, Any]] = _read(path, _STABILITY, fix=AGAIN, measured=True)["findings"]
    return found


def read_inventory(path: Path, *, fix: str) -> list[str]:
    """The names of the shards that a stage had."""
    shards: list[str] = _read(path, _SHARDS, fix=fix)["shards"]
    return shards


def read_removed(path: Path) -> frozenset[str]:
    """The parts of an iteration that were removed on purpose."""
    return frozenset(_read(path, _REMOVED)["removed"])


def read_log_lines(path: Path) -> int:
    """The number of lines that the log had when a file was written; 0 if the file is damaged, which others report."""
    with suppress(InputError):
        return int(_read(path, _SEALED).get("log_lines", 0))
    return 0


def sealed_event(event: Mapping[str, Any]) -> dict[str, Any]:
    """A logged event with its digest."""
    return with_digest(event, _LINE_DIGITS)


def read_events(path: Path) -> list[dict[str, Any] | None]:
    """The logged events, None for each damaged line; raises InputError for one of another form than a run logs."""
    return [_event(line, f"{path}, line {number}") for number, line in enumerate(whole_lines(path), start=1)]


def count_lines(path: Path) -> int:
    """The number of lines of a log."""
    return len(whole_lines(path))


def _event(line: bytes, where: str) -> dict[str, Any] | None:
    try:
        event: dict[str, Any] | None = numbers(without_digest(json.loads(line)))
    except (ValueError, RecursionError):
        return None
    if event is not None:
        _check(event, _EVENT, where, most=len(line), fix=_FIX)
    return event


def _read(
    path: Path, shape: TypeAdapter[Any], needed: Sequence[str] = (), *, fix: str = _FIX, measured: bool = False
) -> dict[str, Any]:
    """The content of a file; if `measured`, a file of numbers without texts of people, so "NaN" in it is the number."""
    if kind(path) != "file":
        raise DamagedError("there is no such file", where=str(path), fix=fix)
    found = read_json(path, fix=fix)
    found = numbers(found) if measured else found
    _check(found, shape, str(path), most=path.stat().st_size, fix=fix)
    for name in needed:
        part: Any = found
        for key in name.split("."):
            if key not in part:
                raise InputError(f"{name} is missing", where=str(path), fix=fix)
            part = part[key]
    return found


def _check(value: Any, shape: TypeAdapter[Any], where: str, *, most: int, fix: str) -> None:
    # Unlike YAML, JSON has no aliases, so a file has no more values than bytes.
    check_settings(value, where=where, most=most)
    try:
        shape.validate_python(value)
    except ValidationError as error:
        first = error.errors()[0]
        name, told = ".".join(str(part) for part in first["loc"]), first["msg"].removeprefix("Value error, ")
        raise InputError(f"{name[:80]}: {told}", where=where, fix=fix) from error
