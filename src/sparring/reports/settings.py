"""The part of a run's configuration that a report reads, checked without importing heavy libraries."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import Any, Self

from pydantic import BaseModel, ConfigDict, Field, ValidationError, model_validator

from sparring.errors import InputError
from sparring.selfplay.config.yaml import read_yaml


class _Part(BaseModel):
    """The entries that are read of a mapping; it may have others."""

    model_config = ConfigDict(extra="allow", strict=True)


class _Named(_Part):
    name: str


class _Phase(_Part):
    iterations: int = Field(ge=0)
    objective: _Named
    opponent: _Named


class _Source(_Part):
    source: str


class _Data(_Part):
    source: str | None = None
    sources: list[_Source] = []

    @model_validator(mode="after")
    def _has_one(self) -> Self:
        if self.source is None and not self.sources:
            raise ValueError("names no source")
        return self


class _Config(_Phase):
    seed: int
    model: _Named
    data: _Data
    phases: list[_Phase]


def read_run_config(path: Path) -> dict[str, Any]:
    """The configuration in a run directory.

    Raises:
        InputError: It has not the form that a run writes.
    """
    values = read_yaml(path)
    try:
        _Config.model_validate(values)
    except ValidationError as error:
        first = error.errors()[0]
        problem = f"{'.'.join(str(part) for part in first['loc'])[:80]}: {first['msg']}"
        raise InputError(problem, where=str(path), fix="restore it from a copy of the run") from error
    return values


def sources_of(config: Mapping[str, Any]) -> list[str]:
    """Where the data of a run come from: its one source, or those that it mixes."""
    data = config["data"]
    return [part["source"] for part in data["sources"]] if data.get("source") is None else [data["source"]]
