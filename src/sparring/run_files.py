"""What the JSON files of a run hold, checked as they are read: a run directory may be another person's."""

from __future__ import annotations

import json
from collections.abc import Sequence
from pathlib import Path
from typing import Any, Literal, Self

from pydantic import BaseModel, ConfigDict, Field, TypeAdapter, ValidationError, model_validator

from sparring.errors import InputError
from sparring.inputs import check_settings, kind

_FIX = "restore it from a copy of the run, or remove the run directory and start the run again"


class _Part(BaseModel):
    """What is read of a JSON object; it may hold more."""

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
    stop_ids: list[int] = []
    template: _Template = _Template(clock="")


class _Code(_Part):
    sha256: str
    folder: str


class _Manifest(_Part):
    command: list[str] = []
    versions: dict[str, str] = {}
    elsewhere: list[str] = []
    data: _Data = _Data()
    objective: _Objective | None = None
    phases: list[_Objective] | None = None
    fingerprints: dict[str, str] = {}
    own_code: dict[str, _Code] = {}


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


class _Finding(_Part):
    check: str
    iteration: int
    status: Literal["ok", "warn", "alarm"]
    value: float | None
    threshold: float | None
    text: str


class _Event(_Part):
    kind: str | None = None
    stage: str | None = None
    iteration: int | None = None
    step: int | None = None
    loss: float | None = None
    seconds: float | None = None
    policy: str | None = Field(default=None, pattern=r"^(base|warmup|teacher|iterations/\d{1,9})$")

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
_STABILITY: TypeAdapter[Any] = TypeAdapter(list[_Finding])
_EVENT: TypeAdapter[Any] = TypeAdapter(_Event)


def read_manifest(path: Path, *needed: str) -> dict[str, Any]:
    """The manifest, which must hold what is needed, each by its dotted keys.

    This and the others raise InputError where the file is not what a run writes.
    """
    return _read(path, _MANIFEST, needed)  # type: ignore[no-any-return]


def read_result(path: Path, *needed: str) -> dict[str, Any]:
    """How the run ended; for `needed` see `read_manifest`."""
    return _read(path, _RESULT, needed)  # type: ignore[no-any-return]


def read_evaluation(path: Path) -> dict[str, dict[str, Any]]:
    """The estimates of a policy, by name."""
    return _read(path, _EVALUATION)  # type: ignore[no-any-return]


def read_stability(path: Path) -> list[dict[str, Any]]:
    """What the stability monitor found."""
    return _read(path, _STABILITY)  # type: ignore[no-any-return]


def read_events(path: Path) -> list[dict[str, Any]]:
    """The logged events; what follows the last line end was cut short by a kill and is left out."""
    if kind(path) == "nothing":
        return []
    # Bytes: `str.splitlines` would also split at line separators inside a string, and a cut may halve a character.
    *lines, _ = path.read_bytes().split(b"\n")
    return [_checked(line, _EVENT, f"{path}, line {number}") for number, line in enumerate(lines, start=1)]


def _read(path: Path, shape: TypeAdapter[Any], needed: Sequence[str] = ()) -> Any:
    if kind(path) != "file":
        raise InputError("there is no such file", where=str(path), fix=_FIX)
    found = _checked(path.read_bytes(), shape, str(path))
    for name in needed:
        part = found
        for key in name.split("."):
            if key not in part:
                raise InputError(f"{name} is missing", where=str(path), fix=_FIX)
            part = part[key]
    return found


def _checked(content: bytes, shape: TypeAdapter[Any], where: str) -> Any:
    """The JSON, unless it is none or of another shape."""
    try:
        value = json.loads(content.decode("utf-8"))
    except (ValueError, RecursionError) as error:
        raise InputError(f"is not valid JSON: {error}", where=where, fix=_FIX) from error
    # JSON has no aliases, so there are no more values than the file has bytes.
    check_settings(value, where=where, most=len(content))
    try:
        shape.validate_python(value)
    except ValidationError as error:
        first = error.errors()[0]
        name, told = ".".join(str(part) for part in first["loc"]), first["msg"].removeprefix("Value error, ")
        raise InputError(f"{name[:80]}: {told}", where=where, fix=_FIX) from error
    return value
