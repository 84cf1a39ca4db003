"""Which responses of a batch training reads: those on which the objective's loss depends."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from sparring.log_ratios import PREFERENCE_FIELDS, LogRatios
from sparring.trainer.collation import Counts
from sparring.types import Objective


def read_by(objective: Objective, inputs: Mapping[str, Any]) -> list[list[bool]]:
    """For each response of each prompt of a batch, in the order of its `counts`, whether training reads it.

    Where a judge's verdicts leave an objective nothing to read in a whole batch, the shortest response is read all the
    same: a training step needs a gradient, if only of zeros, and each process of a launch a forward pass.

    Args:
        objective: Says which generated responses it needs; all others are read always.
        inputs: A batch, as `collate` makes it.
    """
    counts: Counts = inputs["counts"]
    sizes = [list(map(len, answers)) for answers in inputs["responses"]]
    judged = {name: inputs[name] for name in PREFERENCE_FIELDS & objective.requires}
    samples = objective.samples_read(LogRatios(**judged)) if judged else None
    if samples is None:
        return [[True] * len(row) for row in sizes]
    end = counts.expert + counts.generated
    masks = [
        [True] * counts.expert + row + [True] * (len(size) - end)
        for row, size in zip(samples.tolist(), sizes, strict=True)
    ]
    if not any(map(any, masks)):
        places = ((length, b, k) for b, row in enumerate(sizes) for k, length in enumerate(row))
        _, prompt, shortest = min(places)
        masks[prompt][shortest] = True
    return masks
