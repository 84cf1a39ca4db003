"""A cache of keys and values whose rows come and go; every row ends in the same column, wherever it begins."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import torch
from torch import Tensor
from transformers.cache_utils import CacheLayerMixin, DynamicCache

# When the room for tokens is used up, a quarter of the width in use is added, and at least 32 columns.
_SHARE, _LEAST = 4, 32


class RowCacheLayer(CacheLayerMixin):
    """The keys and values of one layer, `[R, H, T, d]`, in larger tensors with room for further tokens and rows.

    The last token of every row is in the last column in use, so a shorter row begins with columns that the mask must
    hide. Two rows of six and of three tokens, with room for a third row and three more tokens:

        _start = 0        _stop = 6
        k  k  k  k  k  k  _  _  _
        ·  ·  ·  k  k  k  _  _  _       hidden, then its tokens
        _  _  _  _  _  _  _  _  _       _rows = 2

    Once the longest row has left, `_start` moves to the first column of the longest row that stays.
    """

    is_sliding = False

    def __init__(self) -> None:
        super().__init__()
        self._rows = self._start = self._stop = 0

    def lazy_initialization(self, key_states: Tensor, value_states: Tensor) -> None:
        """Makes empty tensors of the right shape and type; see `CacheLayerMixin`."""
        self._rows = key_states.shape[0]
        self.keys, self.values = (_room(states, 0, 0) for states in (key_states, value_states))
        self.is_initialized = True

    def update(self, key_states: Tensor, value_states: Tensor, *_: Any, **__: Any) -> tuple[Tensor, Tensor]:
        """Appends columns to every row, and returns the keys and values in use, as views."""
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

    def join(self, other: RowCacheLayer, copies: Tensor) -> None:
        """Adds the rows of another layer, row i `copies[i]` times."""
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

    def starts(self, lengths: Sequence[int]) -> RowCacheLayer:
        """A layer whose row i has the first `lengths[i]` tokens of this layer's only row."""
        begun = RowCacheLayer()
        begun._rows, begun._stop = len(lengths), max(lengths)
        begun.keys, begun.values = (_room(each, len(lengths), max(lengths)) for each in (self.keys, self.values))
        for new, whole in ((begun.keys, self._seen(self.keys)), (begun.values, self._seen(self.values))):
            for row, length in enumerate(lengths):
                new[row, :, begun._stop - length :] = whole[0, :, :length]
        begun.is_initialized = True
        return begun

    def keep(self, rows: Sequence[int], width: int) -> None:
        """Drops all rows but these, and all but the last `width` columns; only rows that change places are copied."""
        moved = [(place, row) for place, row in enumerate(rows) if place != row]
        if moved:
            places, sources = (torch.tensor(each, device=self.keys.device) for each in zip(*moved, strict=True))
            for states in (self.keys, self.values):
                states[places, :, self._start : self._stop] = states[sources, :, self._start : self._stop]
        self._rows, self._start = len(rows), self._stop - width

    def get_seq_length(self) -> int:
        """The number of columns in use, T."""
        return self._stop - self._start

    def get_mask_sizes(self, query_length: int) -> tuple[int, int]:
        """How many keys `query_length` more tokens will see, and the column of the first key."""
        return self.get_seq_length() + query_length, 0

    def get_max_length(self) -> int:
        """−1, for there is no limit; see `CacheLayerMixin`."""
        return -1

    def _seen(self, states: Tensor) -> Tensor:
        return states[: self._rows, :, self._start : self._stop]

    def _lay_out(self, rows: int, width: int, room: int) -> None:
        """Moves the cache into new tensors: `rows` rows, the last column in use at `width`, then `room` columns."""
        seen = self.get_seq_length()
        keys, values = (_room(states, rows, width + room) for states in (self.keys, self.values))
        if seen:
            keys[: self._rows, :, width - seen : width] = self._seen(self.keys)
            values[: self._rows, :, width - seen : width] = self._seen(self.values)
        self.keys, self.values = keys, values
        self._start, self._stop = width - seen, width


def _room(states: Tensor, rows: int, columns: int) -> Tensor:
    # Zeros, since a hidden value is multiplied by 0, which makes 0 of any number but not of NaN.
    return states.new_zeros(rows, states.shape[1], columns, states.shape[3])


class RowCache(DynamicCache):
    """A `RowCacheLayer` for each layer of a model."""

    def __init__(self) -> None:
        super().__init__()
        self.layer_class_to_replicate = RowCacheLayer

    def starts(self, lengths: Sequence[int]) -> RowCache:
        """A cache whose row i has the first `lengths[i]` tokens of this cache's only row."""
        begun = RowCache()
        begun.layers = [layer.starts(lengths) for layer in self.layers]
        return begun

    def join(self, other: RowCache, copies: Sequence[int]) -> None:
        """Adds the rows of another cache, row i `copies[i]` times."""
        for place, layer in enumerate(other.layers):
            if place == len(self.layers):
                self.layers.append(RowCacheLayer())
            self.layers[place].join(layer, torch.tensor(copies, device=layer.keys.device))

    def keep(self, rows: Sequence[int], width: int) -> None:
        """Drops all rows but these, which are then in this order, and all but the last `width` columns."""
        for layer in self.layers:
            layer.keep(rows, width)
