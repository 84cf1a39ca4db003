"""What a model has read of rows, and how it is kept from token to token: row by row, by the batch, or not at all."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Sequence
from typing import Any, ClassVar

import torch
from torch import Tensor
from transformers.cache_utils import DynamicCache

from sparring.generation.columns import KeysAndValues
from sparring.generation.decoding import Decoding
from sparring.generation.rows import RowsRead
from sparring.logprobs.decoder import accepted_by

# What models call what they keep, in their output and where they take it back.
_NAMES = ("past_key_values", "cache_params", "state")


def reading_of(
    model: Callable[..., Any], way: Decoding, device: torch.device, *, shared: Sequence[int] = ()
) -> RowsRead:
    """A reading of a causal language model of transformers, or of its forward pass, that has read nothing yet.

    Args:
        model: The model.
        way: How it is decoded.
        device: Where it takes its tokens.
        shared: Tokens with which every prompt begins; each has more than these. They are read once.
    """
    if way.keeps == "rows":
        return ByRow(model, way, device, shared)
    return (ByBatch if way.keeps == "batch" else Again)(model, way, device)


class _Reader:
    """A model's forward pass on rows, the shorter padded on the left where the way of decoding has several lengths.

    Attributes:
        joins: As `RowsRead`.
    """

    # Whether the model is asked to keep what it read.
    _cached: ClassVar[bool] = True

    def __init__(self, model: Callable[..., Any], way: Decoding, device: torch.device) -> None:
        self._model, self._device, self._accepted = model, device, accepted_by(model)
        self._padded = way.lengths == "mixed"
        # Without padding, only rows of one length are read together.
        self.joins = self._padded and way.keeps != "batch"

    def _read(self, ids: Tensor, lengths: Sequence[int], width: int, **kept: Any) -> Any:
        """The output on the last tokens `[R, t]` of rows that have so many, in so many columns."""
        places = self._places(ids.shape[1], lengths, width) if self._cached or self._padded else {}
        options = {"use_cache": self._cached} if {"use_cache", "kwargs"} & self._accepted else {}
        last = {"logits_to_keep": 1} if "logits_to_keep" in self._accepted else {}
        return self._model(input_ids=ids.to(self._device), **(options | last | places | kept))

    def _places(self, read: int, lengths: Sequence[int], width: int) -> dict[str, Tensor]:
        """Which columns are tokens of the rows, and the positions of those that are read."""
        first = width - torch.tensor(lengths, device=self._device)[:, None]
        columns = torch.arange(width, device=self._device)
        positions = (columns[width - read :] - first).clamp(min=0)
        told = {"position_ids": positions} if "position_ids" in self._accepted else {}
        return {"attention_mask": (columns >= first).long()} | told


class ByRow(_Reader):
    """Keeps keys and values row by row, so that rows leave and join at any time."""

    leaves = True

    def __init__(
        self, model: Callable[..., Any], way: Decoding, device: torch.device, shared: Sequence[int] = ()
    ) -> None:
        super().__init__(model, way, device)
        self._shared: Sequence[int] = shared
        self._prefix: KeysAndValues | None = None
        self._cache, self._lengths = KeysAndValues(), list[int]()

    def join(self, prompts: Sequence[Sequence[int]], copies: Sequence[int]) -> Tensor:
        """See `RowsRead`."""
        lengths = [len(prompt) for prompt in prompts]
        # Of the longest, all behind the prefix; of the others as many, so that nothing but the padding is in between.
        last = max(lengths) - len(self._shared)
        read = self._begun([length - last for length in lengths]) if self._shared else KeysAndValues()
        ids = _left_padded([prompt[-last:] for prompt in prompts])
        logits = self._read(ids, lengths, max(lengths), past_key_values=read).logits[:, -1]
        self._cache.join(read, copies)
        self._lengths += _repeated(lengths, copies)
        repeated: Tensor = logits.repeat_interleave(torch.tensor(copies, device=logits.device), dim=0)
        return repeated

    def step(self, tokens: Sequence[int]) -> Tensor:
        """See `RowsRead`."""
        self._lengths = [length + 1 for length in self._lengths]
        ids, width = torch.tensor(tokens)[:, None], max(self._lengths)
        logits: Tensor = self._read(ids, self._lengths, width, past_key_values=self._cache).logits[:, -1]
        return logits

    def keep(self, rows: Sequence[int]) -> None:
        """See `RowsRead`."""
        self._lengths = [self._lengths[row] for row in rows]
        self._cache.keep(rows, max(self._lengths, default=0))

    def _begun(self, lengths: Sequence[int]) -> KeysAndValues:
        """Rows that have read so many tokens of the prefix, which is read once."""
        if self._prefix is None:
            self._prefix, whole = KeysAndValues(), len(self._shared)
            self._read(torch.tensor([self._shared]), [whole], whole, past_key_values=self._prefix)
        return self._prefix.starts([max(length, 0) for length in lengths])


class ByBatch(_Reader):
    """Keeps what the model itself makes to be kept, for all rows together: none joins them."""

    def __init__(self, *parts: Any) -> None:
        super().__init__(*parts)
        self._lengths, self._width, self._kept = list[int](), 0, dict[str, Any]()
        # Whether the model's output has what it keeps, by one of `_NAMES`.
        self._gives = False

    @property
    def leaves(self) -> bool:
        """See `RowsRead`."""
        # The very class: what a family's own cache holds beside keys, values and states would stay in its place.
        return self._gives and all(type(each) is DynamicCache for each in self._kept.values())

    def join(self, prompts: Sequence[Sequence[int]], copies: Sequence[int]) -> Tensor:
        """See `RowsRead`."""
        self._kept, self._lengths = {}, [len(prompt) for prompt in prompts]
        self._width = max(self._lengths)
        logits = self._next(_left_padded(prompts))
        if not self._gives and "past_key_values" in self._accepted:
            # It fills a cache that it is given.
            self._kept = {"past_key_values": DynamicCache(config=getattr(self._model, "config", None))}
            logits = self._next(_left_padded(prompts))
        places = _repeated(range(len(prompts)), copies)
        if len(places) == len(prompts):
            return logits
        if not self.leaves:
            return self.join([prompts[place] for place in places], [1] * len(places))
        self.keep(places)
        return logits[places]

    def step(self, tokens: Sequence[int]) -> Tensor:
        """See `RowsRead`."""
        self._lengths, self._width = [length + 1 for length in self._lengths], self._width + 1
        return self._next(torch.tensor(tokens)[:, None])

    def keep(self, rows: Sequence[int]) -> None:
        """See `RowsRead`."""
        places = torch.tensor(rows, dtype=torch.long, device=self._device)
        for each in self._kept.values():
            each.reorder_cache(places)
        self._lengths = [self._lengths[row] for row in rows]

    def _next(self, ids: Tensor) -> Tensor:
        # A state holds no padding any more.
        unpadded = {"attention_mask": None} if "cache_params" in self._kept else {}
        output = self._read(ids, self._lengths, self._width, **self._kept, **unpadded)
        found = {name: getattr(output, name, None) for name in _NAMES if name in self._accepted}
        given = {name: each for name, each in found.items() if each is not None}
        self._gives, self._kept = bool(given), given or self._kept
        logits: Tensor = output.logits[:, -1]
        return logits


class Again(_Reader):
    """Keeps nothing: all that came before a token is read again."""

    leaves = True
    _cached = False

    def __init__(self, *parts: Any) -> None:
        super().__init__(*parts)
        self._texts = list[list[int]]()

    def join(self, prompts: Sequence[Sequence[int]], copies: Sequence[int]) -> Tensor:
        """See `RowsRead`."""
        logits = self._next(prompts)
        places = _repeated(range(len(prompts)), copies)
        self._texts += [list(prompts[place]) for place in places]
        return logits[places]

    def step(self, tokens: Sequence[int]) -> Tensor:
        """See `RowsRead`."""
        for text, token in zip(self._texts, tokens, strict=True):
            text.append(token)
        return self._next(self._texts)

    def keep(self, rows: Sequence[int]) -> None:
        """See `RowsRead`."""
        self._texts = [self._texts[row] for row in rows]

    def _next(self, texts: Sequence[Sequence[int]]) -> Tensor:
        lengths = [len(text) for text in texts]
        logits: Tensor = self._read(_left_padded(texts), lengths, max(lengths)).logits[:, -1]
        return logits


def _left_padded(rows: Sequence[Sequence[int]]) -> Tensor:
    longest = max(map(len, rows))
    # The padding id is masked and never read back, so any id will do.
    return torch.tensor([[0] * (longest - len(row)) + list(row) for row in rows])


def _repeated(values: Iterable[int], copies: Sequence[int]) -> list[int]:
    return [value for value, count in zip(values, copies, strict=True) for _ in range(count)]
