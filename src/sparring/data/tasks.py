"""Built-in tasks: data that are generated, with known right answers."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

from sparring.data import arithmetic
from sparring.examples import Example


@dataclass(frozen=True, kw_only=True)
class Task:
    """A source of examples without a file.

    Attributes:
        generate: Maps `(count, difficulty, seed)` to `count` examples with distinct prompts. A larger count must only
            append, so that the held-out examples, which come first, are the same for any number of training examples.
        verifier: The name in `VERIFIERS` of the rule that fits the task.
    """

    generate: Callable[[int, int, int], list[Example]]
    verifier: str


TASKS: dict[str, Task] = {
    "arithmetic": Task(generate=arithmetic.generate, verifier="final-number"),
}
