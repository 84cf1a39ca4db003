"""Keys and values of rows that come and go: every row ends at the same column, wherever it began."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import torch
from torch import Tensor
from transformers.cache_utils import CacheLayerMixin, DynamicCache

# Columns that are added when there is no room for the next token: a share of those in use, and at least so many.
_SHARE, _LEAST = 4, 32


class Columns(CacheLayerMixin):
    """The keys and values of one layer, `[R, H, T, d]`, within tensors that have room for further tokens and rows.

    The last token of every row is in the last column; before its first, a row has columns that the mask must hide. Two
    rows of six and of three tokens, with room for a third row and three more tokens:

        _start = 0        _stop = 6
        k  k  k  k  k  k  _  _  _
        ·  ·  ·  k  k  k  _  _  _       hidden, then its tokens
        _  _  _  _  _  _  _  _  _       _rows = 2

    Once the longest row has left, `_start` is the first column of the longest that stays.
    """

    is_sliding = False

    def __init__(self) -> None:
        super().__init__()
        self._rows = self._start = self._stop = 0

    def lazy_initialization(self, key_states: Tensor, value_states: Tensor) -> None:
        """Makes room for no row yet; see `CacheLayerMixin`."""
        self._rows = key_states.shape[0]
        self.keys, self.values = (_room(states, 0, 0) for states in (key_states, value_states))
        self.is_initialized = True

    def update(self, key_states: Tensor, value_states: Tensor, *_: Any, **__: Any) -> tuple[Tensor, Tensor]:
        """Adds further columns of every row; the keys and values of all, as views."""
        if not self.is_initialized:
            self.lazy_initialization(key_states, value_states)
        stop = self._stop + key_states.shape[2]
        if self.keys.shape[2] < stop or self.keys.shape[0] < self._rows:
            width = self.get_seq_length()
            self._lay_out(self._rows, width, key_states.shape[2] + (max(width // _SHARE, _LEAST) if width else 0))
            stop = self._stop + key_states.shape[2]
        self.keys[: self._rows, :, self._stop : stop] = key_states
        self.values[: self._rows, :, self._stop : stop] = value_states
        self._stop = stop
        return self._seen(self.keys), self._seen(self.values)

    def join(self, other: Columns, copies: Tensor) -> None:
        """Adds the rows of another layer, each so many times, `[R′]`."""
        keys, values = other._seen(other.keys), other._seen(other.values)
        if not self.is_initialized:
            self.lazy_initialization(keys[:0], values[:0])
        rows, width = self._rows + int(copies.sum()), keys.shape[2]
        if self.keys.shape[0] < rows or self._stop < width:
            longest = max(self.get_seq_length(), width)
            self._lay_out(rows, longest, max(longest // _SHARE, _LEAST))
        columns = slice(self._stop - width, self._stop)
        self.keys[self._rows : rows, :, columns] = keys.repeat_interleave(copies, dim=0)
        self.values[self._rows : rows, :, columns] = values.repeat_interleave(copies, dim=0)
        self._rows, self._start = rows, min(self._start, self._stop - width)

    def starts(self, lengths: Sequence[int]) -> Columns:
        """Rows with the first tokens of this layer's only row, so many each, the last of them in one column."""
        begun = Columns()
        begun._rows, begun._stop = len(lengths), max(lengths)
        begun.keys, begun.values = (_room(each, len(lengths), max(lengths)) for each in (self.keys, self.values))
        for new, whole in ((begun.keys, self._seen(self.keys)), (begun.values, self._seen(self.values))):
            for row, length in enumerate(lengths):
                new[row, :, begun._stop - length :] = whole[0, :, :length]
        begun.is_initialized = True
        return begun

    def keep(self, rows: Sequence[int], width: int) -> None:
        """Keeps these rows alone, in this order, and the last `width` columns; only what moves is copied."""
        moved = [(place, row) for place, row in enumerate(rows) if place != row]
        if moved:
            places, sources = (torch.tensor(each, device=self.keys.device) for each in zip(*moved, strict=True))
            for states in (self.keys, self.values):
                states[places, :, self._start : self._stop] = states[sources, :, self._start : self._stop]
        self._rows, self._start = len(rows), self._stop - width

    def get_seq_length(self) -> int:
        """T."""
        return self._stop - self._start

    def get_mask_sizes(self, query_length: int) -> tuple[int, int]:
        """The number of keys that so many more tokens will see, and the column of the first."""
        return self.get_seq_length() + query_length, 0

    def get_max_length(self) -> int:
        """There is none; see `CacheLayerMixin`."""
        return -1

    def _seen(self, states: Tensor) -> Tensor:
        return states[: self._rows, :, self._start : self._stop]

    def _lay_out(self, rows: int, width: int, room: int) -> None:
        """Moves all into new tensors with so many rows, of `width` columns up to the last and some room after it."""
        seen = self.get_seq_length()
        keys, values = (_room(states, rows, width + room) for states in (self.keys, self.values))
        if seen:
            keys[: self._rows, :, width - seen : width] = self._seen(self.keys)
            values[: self._rows, :, width - seen : width] = self._seen(self.values)
        self.keys, self.values = keys, values
        self._start, self._stop = width - seen, width


def _room(states: Tensor, rows: int, columns: int) -> Tensor:
    # Zeros: a hidden value counts nothing only if it is a number.
    return states.new_zeros(rows, states.shape[1], columns, states.shape[3])


class KeysAndValues(DynamicCache):
    """The `Columns` of all layers that a model has."""

    def __init__(self) -> None:
        super().__init__()
        self.layer_class_to_replicate = Columns

    def starts(self, lengths: Sequence[int]) -> KeysAndValues:
        """Rows with the first tokens of the only row that there is, so many each, the last of them in one column."""
        begun = KeysAndValues()
        begun.layers = [layer.starts(lengths) for layer in self.layers]
        return begun

    def join(self, other: KeysAndValues, copies: Sequence[int]) -> None:
        """Adds the rows of another cache, each so many times."""
        for place, layer in enumerate(other.layers):
            if place == len(self.layers):
                self.layers.append(Columns())
            self.layers[place].join(layer, torch.tensor(copies, device=layer.keys.device))

    def keep(self, rows: Sequence[int], width: int) -> None:
        """Keeps these rows alone, in this order, and the last `width` columns."""
        for layer in self.layers:
            layer.keep(rows, width)
