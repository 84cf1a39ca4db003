"""Rows that are decoded together: those that ended leave, and the next prompts take their places."""

from __future__ import annotations

from collections.abc import Callable, Collection, Sequence
from dataclasses import dataclass, field
from typing import Protocol

from torch import Tensor

# Tokens that need not be read again, for a pass over the tokens that are shared.
_WORTH = 16


@dataclass
class SampledRow:
    """A response that is being sampled.

    Attributes:
        prompt: The place of its prompt among those that are sampled.
        sample: Its number among the prompt's responses.
        limit: How many tokens it may have.
        tokens: Those that it has.
        ended: Whether it has its last token.
        kind: How its tokens are drawn, by number, where the rows of a prompt are drawn in several ways.
    """

    prompt: int
    sample: int
    limit: int
    tokens: list[int] = field(default_factory=list)
    ended: bool = False
    kind: int = 0

    def take(self, token: int, ends: Collection[int]) -> None:
        """Adds a token, and ends with it where it is one of the `ends` or the last that may be."""
        self.tokens.append(token)
        self.ended = token in ends or len(self.tokens) == self.limit


@dataclass(frozen=True)
class Asked:
    """A prompt and the rows that answer it.

    Attributes:
        ids: The prompt's token ids.
        rows: Its rows.
    """

    ids: Sequence[int]
    rows: Sequence[SampledRow]


def shared_by(asked: Sequence[Asked]) -> Sequence[int]:
    """The tokens with which all prompts begin, but for the last of any; none where to read them apart would not pay."""
    first, *others = sorted((each.ids for each in asked), key=len)
    length = len(first) - 1
    for other in others:
        length = next((place for place in range(length) if other[place] != first[place]), length)
    return first[:length] if length * len(others) >= _WORTH else ()


class RowsRead(Protocol):
    """What a model has read of some rows, and what it says of the token that follows in each."""

    @property
    def joins(self) -> bool:
        """Whether further rows may be read while others are under way."""
        ...

    @property
    def leaves(self) -> bool:
        """Whether rows may leave before all have ended."""
        ...

    def join(self, prompts: Sequence[Sequence[int]], copies: Sequence[int]) -> Tensor:
        """Reads prompts for so many rows each, behind those that are there; their next-token logits `[Σ copies, n]`."""
        ...

    def step(self, tokens: Sequence[int]) -> Tensor:
        """Reads one more token of every row; their next-token logits `[R, n]`."""
        ...

    def keep(self, rows: Sequence[int]) -> None:
        """Keeps these rows alone, in this order."""
        ...


Choose = Callable[[Sequence[SampledRow], Tensor], Sequence[int]]
"""The next token of each row, from their logits `[R, n]`."""


def decode(reading: RowsRead, asked: Sequence[Asked], choose: Choose, *, ends: Collection[int], at_once: int) -> None:
    """Decodes all rows to their ends.

    Args:
        reading: Reads them; it has read nothing yet.
        asked: The prompts with their rows, in the order in which they are read.
        choose: Draws the tokens.
        ends: The tokens that end a row.
        at_once: How many rows are decoded at a time, at most; a prompt with more than that is read alone.
    """
    waiting, live = list(asked), list[SampledRow]()
    while waiting or live:
        if new := _next(waiting, live, at_once, joins=reading.joins):
            del waiting[: len(new)]
            rows = [row for each in new for row in each.rows]
            logits = reading.join([each.ids for each in new], [len(each.rows) for each in new])
            live += rows
        else:
            rows = live
            logits = reading.step([row.tokens[-1] for row in rows])
        _advance(rows, logits, choose, ends)
        live = _left(reading, live)


def _next(waiting: Sequence[Asked], live: Sequence[SampledRow], at_once: int, *, joins: bool) -> list[Asked]:
    """The prompts to be read now: as many as there is room for, once a quarter of the rows is free.

    A prompt at a time would be read at a lower rate, since products of few rows are slower for each.
    """
    free = at_once - len(live)
    if live and (not joins or 4 * free < at_once):
        return []
    taken: list[Asked] = []
    for each in waiting:
        free -= len(each.rows)
        if free < 0 and (live or taken):
            break
        taken.append(each)
    return taken


def _advance(rows: Sequence[SampledRow], logits: Tensor, choose: Choose, ends: Collection[int]) -> None:
    """Gives every row that has not ended its next token."""
    open_ = [place for place, row in enumerate(rows) if not row.ended]
    chosen = [rows[place] for place in open_]
    for row, token in zip(chosen, choose(chosen, logits if len(chosen) == len(rows) else logits[open_]), strict=True):
        row.take(token, ends)


def _left(reading: RowsRead, live: list[SampledRow]) -> list[SampledRow]:
    """The rows that stay, each in its place or moved into that of one that ended."""
    staying = [place for place, row in enumerate(live) if not row.ended]
    ended = len(live) - len(staying)
    # What is kept by the batch is copied whole, so there a quarter leaves at a time.
    if not ended or (staying and not (reading.leaves and (reading.joins or 4 * ended >= len(live)))):
        return live
    count = len(staying)
    movers = iter([place for place in staying if place >= count])
    order = [next(movers) if live[place].ended else place for place in range(count)]
    if order or reading.leaves:
        reading.keep(order)
    return [live[place] for place in order]
