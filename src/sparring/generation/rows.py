"""The decoding loop: rows get a token at a time; rows that ended leave, and waiting prompts take their places."""

from __future__ import annotations

from collections.abc import Callable, Collection, Sequence
from dataclasses import dataclass, field
from typing import Protocol

from torch import Tensor

# A common prefix is worth a forward pass of its own from so many tokens on that need not be read again.
_WORTH = 16


@dataclass
class SampledRow:
    """A response that is being sampled.

    Attributes:
        prompt: The position of its prompt in the batch.
        sample: Its number among the responses to that prompt.
        limit: The most tokens that it may have.
        tokens: The tokens sampled so far.
        ended: Whether it is complete.
        kind: The number of the sampling settings that its tokens are drawn with, where several are used at once.
    """

    prompt: int
    sample: int
    limit: int
    tokens: list[int] = field(default_factory=list)
    ended: bool = False
    kind: int = 0

    def take(self, token: int, ends: Collection[int]) -> None:
        """Appends a token; the row has ended if it is one of `ends` or reaches the limit."""
        self.tokens.append(token)
        self.ended = token in ends or len(self.tokens) == self.limit


@dataclass(frozen=True)
class PromptRows:
    """A prompt and the responses that are sampled to it.

    Attributes:
        ids: The prompt's token ids.
        rows: The responses.
    """

    ids: Sequence[int]
    rows: Sequence[SampledRow]


def common_prefix(prompts: Sequence[PromptRows]) -> Sequence[int]:
    """The tokens that all prompts begin with, without the last token of any; empty where a pass for them costs more.

    The last token of a prompt is left out because its logits are needed prompt by prompt.
    """
    first, *others = sorted((prompt.ids for prompt in prompts), key=len)
    length = len(first) - 1
    for other in others:
        length = next((place for place in range(length) if other[place] != first[place]), length)
    return first[:length] if length * len(others) >= _WORTH else ()


class RowReader(Protocol):
    """Runs a model on rows and keeps what it has read, so that each call gives every row's next-token logits."""

    @property
    def can_join(self) -> bool:
        """Whether prompts may be added while other rows are being decoded."""
        ...

    @property
    def can_leave(self) -> bool:
        """Whether a row may be dropped before all have ended."""
        ...

    def join(self, prompts: Sequence[Sequence[int]], copies: Sequence[int]) -> Tensor:
        """Reads prompts and adds `copies[i]` rows for prompt i; the new rows' next-token logits `[Σ copies, n]`."""
        ...

    def step(self, tokens: Sequence[int]) -> Tensor:
        """Reads one more token of every row; all rows' next-token logits `[R, n]`."""
        ...

    def keep(self, rows: Sequence[int]) -> None:
        """Drops all rows but these, which are then in this order."""
        ...


Choose = Callable[[Sequence[SampledRow], Tensor], Sequence[int]]
"""Draws the next token of each row from their logits `[R, n]`."""


def decode(
    reader: RowReader, prompts: Sequence[PromptRows], choose: Choose, *, ends: Collection[int], at_once: int
) -> None:
    """Samples all rows of all prompts to their ends.

    Args:
        reader: Runs the model; it has read nothing yet.
        prompts: The prompts with their rows, in the order in which they are read.
        choose: Draws the tokens.
        ends: The tokens that end a row.
        at_once: The most rows that are decoded at a time; a prompt with more rows is decoded alone.
    """
    waiting, live = list(prompts), list[SampledRow]()
    while waiting or live:
        if new := _admitted(waiting, live, at_once, can_join=reader.can_join):
            del waiting[: len(new)]
            rows = [row for prompt in new for row in prompt.rows]
            logits = reader.join([prompt.ids for prompt in new], [len(prompt.rows) for prompt in new])
            live += rows
        else:
            rows = live
            logits = reader.step([row.tokens[-1] for row in rows])
        _extend(rows, logits, choose, ends)
        live = _without_ended(reader, live)


def _admitted(
    waiting: Sequence[PromptRows], live: Sequence[SampledRow], at_once: int, *, can_join: bool
) -> list[PromptRows]:
    """The waiting prompts to read now: as many as there is room for, once a quarter of the rows is free.

    Several prompts are read faster than one at a time, since products of few rows are slower for each row.
    """
    free = at_once - len(live)
    if live and (not can_join or 4 * free < at_once):
        return []
    admitted: list[PromptRows] = []
    for prompt in waiting:
        free -= len(prompt.rows)
        if free < 0 and (live or admitted):
            break
        admitted.append(prompt)
    return admitted


def _extend(rows: Sequence[SampledRow], logits: Tensor, choose: Choose, ends: Collection[int]) -> None:
    """Gives every row that has not ended its next token."""
    places = [place for place, row in enumerate(rows) if not row.ended]
    unended = [rows[place] for place in places]
    tokens = choose(unended, logits if len(unended) == len(rows) else logits[places])
    for row, token in zip(unended, tokens, strict=True):
        row.take(token, ends)


def _without_ended(reader: RowReader, live: list[SampledRow]) -> list[SampledRow]:
    """Drops the rows that ended, where the reader can; a row after the others is moved into each gap."""
    staying = [place for place, row in enumerate(live) if not row.ended]
    ended, count = len(live) - len(staying), len(staying)
    # A reader that no prompt can join copies all of its cache to drop a row: there a quarter has to end first.
    worthwhile = reader.can_leave and (reader.can_join or 4 * ended >= len(live))
    if not ended or (staying and not worthwhile):
        return live
    movers = iter([place for place in staying if place >= count])
    order = [next(movers) if live[place].ended else place for place in range(count)]
    if order or reader.can_leave:
        reader.keep(order)
    return [live[place] for place in order]
