"""What every generator does."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Protocol

from sparring.types import EncodedExample, Sample


class Generator(Protocol):
    """Samples responses to prompts, batch by batch."""

    def plan(self, prompts: Sequence[EncodedExample]) -> list[list[EncodedExample]]:
        """The batches, in the order in which they are sampled: a pure function of the prompts and settings."""
        ...

    def check(self) -> None:
        """Called before anything is played: raises InputError where samples would not be draws of what is scored."""
        ...

    def sample(self, batch: Sequence[EncodedExample], *, seed: int) -> list[Sample]:
        """K samples for each prompt of one batch, in order of prompt, then sample; `seed` decides them all."""
        ...
