"""Splits a batch into parts that are trained on in turn, so that only one part's activations are in memory."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from typing import Any

from torch import Tensor

from sparring.trainer.reading import positions
from sparring.types import Objective

PART_TOKENS = 1024
"""The most positions of a part. On a CPU, products of more rows are no faster (docs/benchmarks.md)."""


def in_parts(objective: Objective, device: str, processes: int) -> bool:
    """Whether batches are trained on in parts: by a single process on a CPU.

    Several processes could have different numbers of parts, and one would wait for another for ever. On an accelerator
    a pass should be as large as its memory allows.
    """
    return device == "cpu" and processes == 1 and not objective.couples_prompts


def parts(inputs: Mapping[str, Any], objective: Objective) -> Iterator[dict[str, Any]]:
    """The parts of a batch, each of consecutive prompts and of at most `PART_TOKENS` positions, or a single prompt.

    The gradients of the parts' losses add up to that of the whole, since the loss is a mean over prompts.

    Args:
        inputs: A batch, as `collate` makes it.
        objective: The objective, which tells the responses that are read.
    """
    start = size = 0
    for number, own in enumerate(positions(objective, inputs)):
        if size and size + own > PART_TOKENS:
            yield _prompts(inputs, start, number)
            start, size = number, 0
        size += own
    yield _prompts(inputs, start, len(inputs["prompts"]))


def _prompts(inputs: Mapping[str, Any], start: int, stop: int) -> dict[str, Any]:
    """The values of the prompts from `start` to `stop`; values that are not by prompt are those of the whole batch."""
    return {name: value[start:stop] if isinstance(value, list | Tensor) else value for name, value in inputs.items()}
