"""The check that weights are finite."""

from __future__ import annotations

from collections.abc import Iterable
from typing import Any

from torch import Tensor

from sparring.errors import InputError


def first_broken(weights: Iterable[tuple[str, Tensor]]) -> str | None:
    """The name of the first weight that holds a NaN or an infinity; None where all are finite. One pass over them."""
    for name, weight in weights:
        # A sharded weight is checked in the part that this process holds.
        part = weight.to_local() if hasattr(weight, "to_local") else weight
        if part.is_floating_point() and not bool(part.isfinite().all()):
            return name
    return None


def broken_weight(model: Any) -> str | None:
    """The name of a trained weight of a model that is not finite (in this process's shard), or None."""
    return first_broken((name, weight.detach()) for name, weight in model.named_parameters() if weight.requires_grad)


def check_finite(weights: Iterable[tuple[str, Tensor]], path: str) -> None:
    """Raises InputError where a weight that was read from a folder is NaN or infinite."""
    broken = first_broken(weights)
    if broken is not None:
        problem = f"the weight '{broken}' has values that are no finite numbers (NaN or infinity)"
        raise InputError(problem, where=path, fix="take another model: its training diverged, or the file is damaged")
