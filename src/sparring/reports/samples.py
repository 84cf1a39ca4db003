"""The held-out answers of every policy, packed as compressed columns for the sample browser."""

from __future__ import annotations

import base64
import gzip
import json
import math
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np

from sparring.errors import InputError
from sparring.shard_files import read_columns
from sparring.shards import AnswerRow, answers_path
from sparring.stage_directory import StageDirectory

KINDS = ("expert", "greedy", "sampled", "data")
# The kinds of responses that come from the data, not from a policy.
_GIVEN = {"expert": "the expert's response", "data": "the responses that the data compare"}
# A log ratio is kept in hundredths of a nat, as a 16-bit number.
_HUNDREDTHS = 100
_GREATEST = 2**15 - 1


@dataclass(frozen=True)
class Answers:
    """The answers of some policies, sorted by prompt, then policy, kind and number of the sample.

    Attributes:
        policies: The names of the policies.
        policy: `[N]` the index in `policies` of each answer.
        table: N rows; see `sparring.selfplay.stages.answers` for the columns.
    """

    policies: list[str]
    policy: np.ndarray
    table: Any

    @property
    def count(self) -> int:
        """The number of the policies' answers."""
        return int((~np.isin(self.table["kind"].to_numpy(), [*_GIVEN])).sum())

    @property
    def given(self) -> list[str]:
        """The kinds of responses that come from the data, in words."""
        kinds = {*self.table["kind"].to_pylist()}
        return [_GIVEN[kind] for kind in KINDS if kind in kinds & _GIVEN.keys()]

    def rows(self, policy: str, kind: str, indices: Sequence[int]) -> list[dict[str, Any]]:
        """A policy's first answer of a kind to some prompts, in their order, with its columns."""
        index, kinds = self.table["index"].to_numpy(), self.table["kind"].to_numpy()
        own = (self.policy == self.policies.index(policy)) & (kinds == kind)
        chosen = np.array([np.flatnonzero(own & (index == wanted))[0] for wanted in indices], dtype=np.int64)
        rows: list[dict[str, Any]] = self.table.take(chosen).to_pylist()
        return rows

    def values(self, policy: int, kind: str, column: str) -> dict[int, list[Any]]:
        """A column's entries for one policy and kind, by prompt index."""
        chosen = np.flatnonzero((self.policy == policy) & (self.table["kind"].to_numpy() == kind))
        part = self.table.select(["index", column]).take(chosen)
        found: dict[int, list[Any]] = {}
        for index, value in zip(part["index"].to_pylist(), part[column].to_pylist(), strict=True):
            found.setdefault(index, []).append(value)
        return found


def read_answers(stages: Sequence[tuple[str, StageDirectory]]) -> Answers | None:
    """The answers in the folders of some policies, each with its name; None if none were kept."""
    import pyarrow as pa

    found = [(name, path) for name, stage in stages if (path := answers_path(stage)).exists()]
    if not found:
        return None
    tables = [_read(path) for _, path in found]
    policy = np.repeat(np.arange(len(tables)), [len(table) for table in tables])
    # A column that holds only None has no type: `right` without a verifier, `sample` where only experts answered.
    table = pa.concat_tables(tables, promote_options="default")
    sample = table["sample"].cast(pa.int64())
    kind = np.array([KINDS.index(name) for name in table["kind"].to_pylist()])
    order = np.lexsort((sample.to_numpy(), kind, policy, table["index"].to_numpy()))
    return Answers([name for name, _ in found], policy[order], table.take(order))


def _read(path: Path) -> Any:
    table = read_columns(path, AnswerRow)
    unknown = {*table["kind"].to_pylist()} - {*KINDS}
    if unknown:
        raise InputError(f"the kind of an answer is '{min(unknown)}'", where=str(path), fix="restore it from a copy")
    return table


def packed(answers: Answers | None) -> dict[str, str]:
    """The answers as two base64 texts of gzip data, for a page to decode.

    `columns` is JSON: the distinct prompts and texts once each, and a list a column of the answers. `tokens` holds the
    tokens of all answers one after the other: first their lengths in characters, as unsigned 16-bit numbers, then their
    log ratios in hundredths of a nat, as signed ones, both little-endian; a log ratio that is not a number becomes 0.
    """
    if answers is None:
        return {}
    table = answers.table
    asked = zip(table["index"].to_pylist(), table["prompt"].to_pylist(), _earlier(table), strict=True)
    prompts, prompt = _distinct(list(asked))
    texts, text = _distinct(table["text"].to_pylist())
    lengths, counts = _lengths(table["ends"])
    columns = {
        "policies": answers.policies,
        "kinds": KINDS,
        "prompts": [shown for _, shown, _ in prompts],
        "earlier": [turns for *_, turns in prompts],
        "indices": [index for index, *_ in prompts],
        "texts": texts,
        "prompt": prompt,
        "text": text,
        "policy": answers.policy.tolist(),
        "kind": [KINDS.index(name) for name in table["kind"].to_pylist()],
        "finish": table["finish_reason"].to_pylist(),
        "right": table["right"].to_pylist(),
        "log_prob": [round(value, 3) if math.isfinite(value) else None for value in table["log_prob"].to_pylist()],
        "tokens": counts.tolist(),
        "preference": table["preference"].to_pylist() if "preference" in table.column_names else [],
    }
    hundredths = np.nan_to_num(np.rint(_flat(table["log_ratios"]) * _HUNDREDTHS))
    ratios = np.clip(hundredths, -_GREATEST, _GREATEST)
    return {
        "columns": _compressed(
            json.dumps(columns, ensure_ascii=False, separators=(",", ":"), allow_nan=False).encode()
        ),
        "tokens": _compressed(lengths.astype("<u2").tobytes() + ratios.astype("<i2").tobytes()),
    }


def _earlier(table: Any) -> list[tuple[str, ...]]:
    """The turns before the prompt of each answer."""
    if "earlier" not in table.column_names:
        return [()] * len(table)
    return [tuple(turns or ()) for turns in table["earlier"].to_pylist()]


def _distinct(values: list[Any]) -> tuple[list[Any], list[int]]:
    """The distinct values, in order of appearance, and each value's place among them."""
    places = {value: place for place, value in enumerate(dict.fromkeys(values))}
    return list(places), [places[value] for value in values]


def _lengths(ends: Any) -> tuple[np.ndarray, np.ndarray]:
    """Characters of each token of all answers, and tokens of each answer, from where the tokens end."""
    counts = np.diff(ends.combine_chunks().offsets.to_numpy())
    flat = _flat(ends)
    starts = np.concatenate([[0], flat[:-1]])
    first = np.concatenate([[0], np.cumsum(counts)[:-1]])
    starts[first[counts > 0]] = 0
    return flat - starts, counts


def _flat(column: Any) -> np.ndarray:
    flat: np.ndarray = column.combine_chunks().flatten().to_numpy()
    return flat


def _compressed(data: bytes) -> str:
    return base64.b64encode(gzip.compress(data, compresslevel=6, mtime=0)).decode("ascii")
