"""A judge's verdicts on a model's answers beside a baseline's, in the format of `alpaca_eval`."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np

from sparring.data.text_files import Row
from sparring.errors import InputError
from sparring.evaluation.rows import read_rows
from sparring.metrics.logistic import Array


@dataclass(frozen=True, kw_only=True, eq=False)
class Annotations:
    """The verdicts on one model's answers against one baseline's, on N instructions.

    Attributes:
        model: The model whose win rate is measured (`generator_2`).
        baseline: The model that it is compared with (`generator_1`).
        instructions: N instructions; by their text they are matched between the models of a pool.
        preference: `[N]` P(the model's answer is the better one) in [0, 1]; NaN where there is no verdict.
        model_length: `[N]` characters of the model's answers.
        baseline_length: `[N]` characters of the baseline's answers.
    """

    model: str
    baseline: str
    instructions: tuple[str, ...]
    preference: Array
    model_length: Array
    baseline_length: Array

    def with_verdict(self) -> Annotations:
        """The rows that have a verdict.

        Raises:
            InputError: There are fewer than two, too few for the error of a mean.
        """
        rows = np.flatnonzero(~np.isnan(self.preference))
        if len(rows) < 2:
            where, fix = f"annotations of '{self.model}'", "annotate more instructions"
            raise InputError(f"{len(rows)} of {len(self.preference)} rows have a verdict", where=where, fix=fix)
        return Annotations(
            model=self.model,
            baseline=self.baseline,
            instructions=tuple(self.instructions[row] for row in rows),
            preference=self.preference[rows],
            model_length=self.model_length[rows],
            baseline_length=self.baseline_length[rows],
        )


def read_annotations(path: Path) -> list[Annotations]:
    """Reads a file of annotations: one for each pair of generators in it, in the order of their first rows.

    A row has `instruction`, `output_1` and `generator_1` (the baseline), `output_2` and `generator_2` (the model), and
    `preference`: from 1 (the baseline's answer is better) to 2 (the model's is); 1.5 or 0 is a tie, null no verdict.

    Raises:
        InputError: The file cannot be read, a field is missing or has a wrong value, or several judges are mixed.
    """
    pairs: dict[tuple[str, str], list[Row]] = {}
    for row in read_rows(path):
        pairs.setdefault((_text(row, "generator_2"), _text(row, "generator_1")), []).append(row)
    return [_annotations(model, baseline, rows) for (model, baseline), rows in pairs.items()]


def read_pool(folder: Path) -> list[Annotations]:
    """Reads every `*annotations*.json` below a folder.

    Raises:
        InputError: There is no such file, or as `read_annotations`.
    """
    paths = sorted(folder.rglob("*annotations*.json"))
    if not paths:
        raise InputError("has no annotations", where=str(folder), fix="give a folder of annotations.json files")
    return [annotations for path in paths for annotations in read_annotations(path)]


def _annotations(model: str, baseline: str, rows: Sequence[Row]) -> Annotations:
    judges = {str(row.values.get("annotator")) for row in rows}
    if len(judges) > 1:
        problem = f"'{model}' has verdicts of several judges: {', '.join(sorted(judges))}"
        raise InputError(problem, where=rows[0].where, fix="keep one `annotator` a file")
    return Annotations(
        model=model,
        baseline=baseline,
        instructions=tuple(_text(row, "instruction") for row in rows),
        preference=np.array([_preference(row) for row in rows]),
        model_length=np.array([float(len(_text(row, "output_2"))) for row in rows]),
        baseline_length=np.array([float(len(_text(row, "output_1"))) for row in rows]),
    )


def _text(row: Row, field: str) -> str:
    value = row.values.get(field)
    if not isinstance(value, str):
        problem = "is missing" if value is None else f"must be text, got {type(value).__name__}"
        raise InputError(problem, where=f"{row.where}, field '{field}'", fix="write annotations as alpaca_eval does")
    return value


def _preference(row: Row) -> float:
    values: Mapping[str, Any] = row.values
    if "preference" not in values:
        fix = "annotate the outputs first, e.g. with `alpaca_eval evaluate`"
        raise InputError("is missing", where=f"{row.where}, field 'preference'", fix=fix)
    value = values["preference"]
    if value is None or (isinstance(value, float) and math.isnan(value)):
        return math.nan
    if isinstance(value, bool) or not isinstance(value, int | float) or not (value == 0 or 1 <= value <= 2):
        fix = "write 1 for the baseline to 2 for the model, 1.5 or 0 for a tie, null for no verdict"
        raise InputError(f"is not a preference: {repr(value)[:40]}", where=f"{row.where}, field 'preference'", fix=fix)
    return 0.5 if value == 0 else float(value) - 1
