"""Divergence: the error that ends a training whose numbers are not finite, and where it shows."""

from __future__ import annotations

import math
from collections.abc import Iterable, Sequence
from typing import Any

from torch import Tensor

from sparring.errors import RunError
from sparring.models.finite import broken_weight


class DivergedError(RunError):
    """A training diverged: its numbers are not finite any more.

    Args:
        problem: Where and how it shows.
    """

    def __init__(self, problem: str) -> None:
        self.problem = problem
        super().__init__(f"{problem}\n  fix: train again with a lower learning rate, or a larger beta")


def where_broken(losses: Iterable[tuple[Sequence[int | None], Tensor]], model: Any) -> str:
    """The prompts whose losses are not finite, and the first weight that is not, as far as this process holds them.

    Args:
        losses: The rows of the last batches, and the loss of each.
        model: The model in training.
    """
    rows = [
        row
        for numbers, values in losses
        for row, loss in zip(numbers, values.tolist(), strict=True)
        if not math.isfinite(loss)
    ]
    told = [f"the losses of the prompts of rows {', '.join(map(str, rows[:5]))} are not"] if rows else []
    weight = broken_weight(model)
    told += [] if weight is None else [f"the weight '{weight}' is not"]
    return "".join(f"; {each}" for each in told)
