"""What ends a training whose numbers are none any more, and where it shows."""

from __future__ import annotations

import math
from collections.abc import Iterable, Sequence
from typing import Any

from torch import Tensor

from sparring.errors import RunError
from sparring.models.finite import broken_weight


class DivergedError(RunError):
    """A training went so far wrong that its numbers are none any more.

    Args:
        problem: Where and how it shows.
    """

    def __init__(self, problem: str) -> None:
        self.problem = problem
        super().__init__(f"{problem}\n  fix: train again with a lower learning rate, or a larger beta")


def where_broken(losses: Iterable[tuple[Sequence[int | None], Tensor]], model: Any) -> str:
    """Which prompts' losses and which weight are not finite, as far as this process sees.

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
