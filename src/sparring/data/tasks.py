"""Built-in tasks: data that is made rather than read, and whose right answers are known."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

from sparring.data import arithmetic
from sparring.examples import Example


@dataclass(frozen=True, kw_only=True)
class Task:
    """A source of examples without a file.

    Attributes:
        generate: `(count, difficulty, seed)` to that many examples with distinct prompts; asking for more must
            only append, so that the held-out examples, which come first, stay the same for any training size.
        verifier: The name in `VERIFIERS` of the rule that fits it.
    """

    generate: Callable[[int, int, int], list[Example]]
    verifier: str


TASKS: dict[str, Task] = {
    "arithmetic": Task(generate=arithmetic.generate, verifier="final-number"),
}
