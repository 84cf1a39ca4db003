"""A batch in parts, each trained on by itself, so that the activations of one part at a time are in memory."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from typing import Any

from torch import Tensor

from sparring.trainer.reading import positions
from sparring.types import Objective

PART_TOKENS = 1024
"""Positions of a part. On a CPU, products of so many rows are as fast as those of more (docs/benchmarks.md)."""


def in_parts(objective: Objective, device: str, processes: int) -> bool:
    """Whether so many processes train on batches in parts.

    One alone does, on a CPU: of several the parts of one might be more than those of another, which would wait for it
    for ever; on an accelerator a pass should be as large as its memory allows.
    """
    return device == "cpu" and processes == 1 and not objective.couples_prompts


def parts(inputs: Mapping[str, Any], objective: Objective) -> Iterator[dict[str, Any]]:
    """Batches of consecutive prompts of a batch, with no more than `PART_TOKENS` positions if they are several.

    The gradients of the parts' losses add up to that of the whole, where the objective's loss is a mean over prompts.

    Args:
        inputs: A batch, as `collate` makes it.
        objective: Says which responses are read.
    """
    start = size = 0
    for number, own in enumerate(positions(objective, inputs)):
        if size and size + own > PART_TOKENS:
            yield _prompts(inputs, start, number)
            start, size = number, 0
        size += own
    yield _prompts(inputs, start, len(inputs["prompts"]))


def _prompts(inputs: Mapping[str, Any], start: int, stop: int) -> dict[str, Any]:
    """The prompts from `start` to `stop`; what is no sequence of prompts is that of the whole batch."""
    return {name: value[start:stop] if isinstance(value, list | Tensor) else value for name, value in inputs.items()}
