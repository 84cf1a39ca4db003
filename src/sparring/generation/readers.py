"""How a model reads rows token by token: with a cache for each row, one for the whole batch, or none."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Sequence
from typing import Any, ClassVar

import torch
from torch import Tensor
from transformers.cache_utils import DynamicCache

from sparring.generation.decoding import Decoding
from sparring.generation.row_cache import RowCache
from sparring.generation.rows import RowReader
from sparring.logprobs.decoder import accepted_by

# The names of a model's cache, in its output and among its arguments.
_CACHES = ("past_key_values", "cache_params", "state")


def reader_of(
    model: Callable[..., Any], decoding: Decoding, device: torch.device, *, shared: Sequence[int] = ()
) -> RowReader:
    """A reader of a causal language model, which has read nothing yet.

    Args:
        model: A causal language model of transformers, or a function that stands in for its forward pass.
        decoding: How it is decoded.
        device: Where it takes its tokens.
        shared: The tokens that every prompt begins with, and has more after. `RowCacheReader` reads them once.
    """
    if decoding.keeps == "rows":
        return RowCacheReader(model, decoding, device, shared)
    return (BatchCacheReader if decoding.keeps == "batch" else UncachedReader)(model, decoding, device)


class _ModelReader:
    """The forward pass on rows of several lengths; the shorter are padded on the left where `decoding` mixes lengths.

    Attributes:
        can_join: See `RowReader`.
    """

    # Whether the model is asked for a cache.
    _cached: ClassVar[bool] = True

    def __init__(self, model: Callable[..., Any], decoding: Decoding, device: torch.device) -> None:
        self._model, self._device, self._accepted = model, device, accepted_by(model)
        self._padded = decoding.lengths == "mixed"
        # Rows that differ in length need padding.
        self.can_join = self._padded and decoding.keeps != "batch"

    def _forward(self, ids: Tensor, lengths: Sequence[int], width: int, **cache: Any) -> Any:
        """The model's output on the last t tokens of each row.

        Args:
            ids: `[R, t]`, the last t tokens of each row, padded on the left.
            lengths: The number of tokens of each row, those in the cache included.
            width: The number of columns, those in the cache included; every row ends in the last.
            cache: The arguments that hold the cache.
        """
        places = self._places(ids.shape[1], lengths, width) if self._cached or self._padded else {}
        options = {"use_cache": self._cached} if {"use_cache", "kwargs"} & self._accepted else {}
        last = {"logits_to_keep": 1} if "logits_to_keep" in self._accepted else {}
        return self._model(input_ids=ids.to(self._device), **(options | last | places | cache))

    def _places(self, read: int, lengths: Sequence[int], width: int) -> dict[str, Tensor]:
        """The attention mask, which hides padding, and the positions of the last `read` columns."""
        first = width - torch.tensor(lengths, device=self._device)[:, None]
        columns = torch.arange(width, device=self._device)
        positions = (columns[width - read :] - first).clamp(min=0)
        told = {"position_ids": positions} if "position_ids" in self._accepted else {}
        return {"attention_mask": (columns >= first).long()} | told


class RowCacheReader(_ModelReader):
    """Keeps keys and values row by row, so that rows leave and join at any time."""

    can_leave = True

    def __init__(
        self, model: Callable[..., Any], decoding: Decoding, device: torch.device, shared: Sequence[int] = ()
    ) -> None:
        super().__init__(model, decoding, device)
        self._shared: Sequence[int] = shared
        self._prefix: RowCache | None = None
        self._cache, self._lengths = RowCache(), list[int]()

    def join(self, prompts: Sequence[Sequence[int]], copies: Sequence[int]) -> Tensor:
        """See `RowReader`."""
        lengths = [len(prompt) for prompt in prompts]
        # As many of the last tokens of each prompt as the longest has after the shared prefix: a shorter prompt reads
        # some of the prefix again, so that nothing but padding lies between its cache and its tokens.
        last = max(lengths) - len(self._shared)
        cache = self._begun([length - last for length in lengths]) if self._shared else RowCache()
        ids = _left_padded([prompt[-last:] for prompt in prompts])
        logits = self._forward(ids, lengths, max(lengths), past_key_values=cache).logits[:, -1]
        self._cache.join(cache, copies)
        self._lengths += _repeated(lengths, copies)
        repeated: Tensor = logits.repeat_interleave(torch.tensor(copies, device=logits.device), dim=0)
        return repeated

    def step(self, tokens: Sequence[int]) -> Tensor:
        """See `RowReader`."""
        self._lengths = [length + 1 for length in self._lengths]
        ids, width = torch.tensor(tokens)[:, None], max(self._lengths)
        logits: Tensor = self._forward(ids, self._lengths, width, past_key_values=self._cache).logits[:, -1]
        return logits

    def keep(self, rows: Sequence[int]) -> None:
        """See `RowReader`."""
        self._lengths = [self._lengths[row] for row in rows]
        self._cache.keep(rows, max(self._lengths, default=0))

    def _begun(self, lengths: Sequence[int]) -> RowCache:
        """The cache of rows that have read the first `lengths[i]` tokens of the shared prefix, which is read once."""
        if self._prefix is None:
            self._prefix, whole = RowCache(), len(self._shared)
            self._forward(torch.tensor([self._shared]), [whole], whole, past_key_values=self._prefix)
        return self._prefix.starts([max(length, 0) for length in lengths])


class BatchCacheReader(_ModelReader):
    """Keeps the model's own kind of cache, for all rows together: no prompt joins them."""

    def __init__(self, *parts: Any) -> None:
        super().__init__(*parts)
        self._lengths, self._width, self._cache = list[int](), 0, dict[str, Any]()
        # Whether the model's output holds its cache, under a name of `_CACHES`.
        self._returned = False

    @property
    def can_leave(self) -> bool:
        """See `RowReader`."""
        # That very class: a subclass may hold more than keys, values and states, which would not move with the rows.
        return self._returned and all(type(cache) is DynamicCache for cache in self._cache.values())

    def join(self, prompts: Sequence[Sequence[int]], copies: Sequence[int]) -> Tensor:
        """See `RowReader`."""
        self._cache, self._lengths = {}, [len(prompt) for prompt in prompts]
        self._width = max(self._lengths)
        logits = self._next(_left_padded(prompts))
        if not self._returned and "past_key_values" in self._accepted:
            # The model makes no cache, but fills one that it is given.
            self._cache = {"past_key_values": DynamicCache(config=getattr(self._model, "config", None))}
            logits = self._next(_left_padded(prompts))
        places = _repeated(range(len(prompts)), copies)
        if len(places) == len(prompts):
            return logits
        if not self.can_leave:
            return self.join([prompts[place] for place in places], [1] * len(places))
        self.keep(places)
        return logits[places]

    def step(self, tokens: Sequence[int]) -> Tensor:
        """See `RowReader`."""
        self._lengths, self._width = [length + 1 for length in self._lengths], self._width + 1
        return self._next(torch.tensor(tokens)[:, None])

    def keep(self, rows: Sequence[int]) -> None:
        """See `RowReader`."""
        places = torch.tensor(rows, dtype=torch.long, device=self._device)
        for cache in self._cache.values():
            cache.reorder_cache(places)
        self._lengths = [self._lengths[row] for row in rows]

    def _next(self, ids: Tensor) -> Tensor:
        # A recurrent state has no padding in it to be masked.
        unpadded = {"attention_mask": None} if "cache_params" in self._cache else {}
        output = self._forward(ids, self._lengths, self._width, **self._cache, **unpadded)
        found = {name: getattr(output, name, None) for name in _CACHES if name in self._accepted}
        returned = {name: cache for name, cache in found.items() if cache is not None}
        self._returned, self._cache = bool(returned), returned or self._cache
        logits: Tensor = output.logits[:, -1]
        return logits


class UncachedReader(_ModelReader):
    """Keeps nothing but the tokens: each step reads every row from its start."""

    can_leave = True
    _cached = False

    def __init__(self, *parts: Any) -> None:
        super().__init__(*parts)
        self._rows = list[list[int]]()

    def join(self, prompts: Sequence[Sequence[int]], copies: Sequence[int]) -> Tensor:
        """See `RowReader`."""
        logits = self._next(prompts)
        places = _repeated(range(len(prompts)), copies)
        self._rows += [list(prompts[place]) for place in places]
        return logits[places]

    def step(self, tokens: Sequence[int]) -> Tensor:
        """See `RowReader`."""
        for row, token in zip(self._rows, tokens, strict=True):
            row.append(token)
        return self._next(self._rows)

    def keep(self, rows: Sequence[int]) -> None:
        """See `RowReader`."""
        self._rows = [self._rows[row] for row in rows]

    def _next(self, rows: Sequence[Sequence[int]]) -> Tensor:
        lengths = [len(row) for row in rows]
        logits: Tensor = self._forward(_left_padded(rows), lengths, max(lengths)).logits[:, -1]
        return logits


def _left_padded(rows: Sequence[Sequence[int]]) -> Tensor:
    longest = max(map(len, rows))
    # The padding id is masked and never read back, so any id will do.
    return torch.tensor([[0] * (longest - len(row)) + list(row) for row in rows])


def _repeated(values: Iterable[int], copies: Sequence[int]) -> list[int]:
    return [value for value, count in zip(values, copies, strict=True) for _ in range(count)]
