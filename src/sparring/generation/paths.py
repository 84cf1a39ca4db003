"""How prompts can be decoded together without changing what is sampled: proved against the model's own forward pass."""

from __future__ import annotations

import logging
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from itertools import groupby
from typing import Any, Literal, NamedTuple
from weakref import WeakKeyDictionary

import torch
from torch import Tensor

from sparring.errors import InputError
from sparring.logprobs import layout_of
from sparring.logprobs.decoder import own_logits
from sparring.logprobs.layout import FAILURES, described, probe_ids, tolerance
from sparring.logprobs.mixture import geometric_mixture

_log = logging.getLogger(__name__)

# Two of one length, so that prompts of equal lengths make a batch too.
_PROMPTS = ((3, 4, 5, 6, 7, 8), (9, 10), (12, 11), (13, 14, 15, 16))
_TOKENS = 4


@dataclass(frozen=True)
class Path:
    """Which prompts are decoded in one batch, and what they keep from token to token.

    Attributes:
        lengths: "mixed" where the shorter are padded on the left; "equal" lengths only; or a "single" row at a time.
        cached: Whether keys, values and states are kept; without, every token reads all before it again.
        shared: Whether the samples of a prompt read it once.
    """

    lengths: Literal["mixed", "equal", "single"] = "mixed"
    cached: bool = True
    shared: bool = True

    def groups(self, lengths: Sequence[int], copies: int) -> list[tuple[list[int], int]]:
        """What is decoded together: the places of prompts, and how many copies of each.

        Args:
            lengths: Of the prompts, in tokens.
            copies: Samples of each prompt.
        """
        places = list(range(len(lengths)))
        if self.lengths == "mixed":
            return [(places, copies)]
        if self.lengths == "equal":
            places.sort(key=lambda place: -lengths[place])
            return [(list(group), copies) for _, group in groupby(places, key=lambda place: lengths[place])]
        return [([place], 1) for place in places for _ in range(copies)]


# From the fastest to the safest.
_PATHS = (
    Path(),
    Path(shared=False),
    Path(lengths="equal"),
    Path(lengths="equal", shared=False),
    Path(cached=False, shared=False),
    Path(lengths="single", shared=False),
    Path(lengths="equal", cached=False, shared=False),
    Path(lengths="single", cached=False, shared=False),
)


class Drawn(NamedTuple):
    """What was decoded from some prompts, `copies` of each side by side.

    Attributes:
        tokens: `[R, t]` token ids.
        scores: t tensors `[R, n]`, what each token was drawn from, before the softmax.
    """

    tokens: Tensor
    scores: Sequence[Tensor]


Decode = Callable[[Path, Sequence[Sequence[int]], int, int], Drawn]
"""Decodes prompts (path, prompts, copies of each, tokens) at temperature 1, without an end."""


class Base(NamedTuple):
    """The other model of a mixture, and its share."""

    forward: Callable[..., Any]
    share: float


_paths: WeakKeyDictionary[Any, dict[tuple[bool, bool], Path]] = WeakKeyDictionary()
_said: set[str] = set()


def path_of(model: Any, decode: Decode, *, copies: int, base: Base | None = None) -> Path:
    """The fastest path on which next-token probabilities are those of the model's own forward pass.

    It is found out once for each model object, and again where the prompts are read for several samples, or a base
    model is mixed in. A slower path than the first is said in the log.

    Args:
        model: The causal language model.
        decode: Decodes from it.
        copies: Samples of each prompt.
        base: The other model of a mixture.

    Raises:
        InputError: On no path they are.
    """
    kind = (copies > 1, base is not None)
    known = _paths.setdefault(model, {})
    if kind not in known:
        # It may exchange the attention, and refuses what is no autoregressive model.
        layout_of(model)
        known[kind], why = _find(model, decode, min(copies, 2), base)
        text = f"{type(model).__name__} is sampled {_words(known[kind])}: {why}"
        if why and text not in _said:
            _said.add(text)
            _log.warning("%s", text)
    return known[kind]


def _words(path: Path) -> str:
    batches = {"mixed": "in batches", "equal": "in batches of prompts of equal length", "single": "one by one"}
    parts = [batches[path.lengths]]
    parts += [] if path.shared or path.lengths == "single" else ["reading a prompt again for each of its samples"]
    parts += [] if path.cached else ["without a cache, which is slow"]
    return ", ".join(parts)


def _find(model: Any, decode: Decode, copies: int, base: Base | None) -> tuple[Path, str]:
    """The first path that is right, and what was wrong with the fastest."""
    why = ""
    for path in _PATHS:
        # Nothing is shared of one sample, so there the first path stands for both.
        if path.shared and copies == 1 and path != _PATHS[0]:
            continue
        problem = _problem(model, decode, path, copies, base)
        if problem is None:
            return path, why
        why = why or f"{_words(path)} {problem}"
    raise InputError(
        f"this model cannot be sampled right: {_words(path)} {problem}",
        where=type(model).__name__,
        fix="take a model of another family, or an engine that has an implementation of its own (generation.name)",
    )


@torch.no_grad()
def _problem(model: Any, decode: Decode, path: Path, copies: int, base: Base | None) -> str | None:
    prompts = [probe_ids(model, prompt) for prompt in _PROMPTS]
    worst = _Gap(0.0, 0.0)
    try:
        for places, count in path.groups([len(prompt) for prompt in prompts], copies):
            drawn = decode(path, [prompts[place] for place in places], count, _TOKENS)
            for row, tokens in enumerate(drawn.tokens.tolist()):
                scores = torch.stack([step[row] for step in drawn.scores]).float().log_softmax(-1)
                own = _Own(model, base, prompts[places[row // count]], tokens)
                worst = max(worst, own.difference(scores))
    except FAILURES as error:
        return f"it cannot be ({described(error)})"
    return None if worst.allowed <= 1.0 else f"the next token's log-probs are off by {worst.nats:.2g} nats"


class _Gap(NamedTuple):
    """The largest difference of log-probs, in units of what rounding explains, and in nats."""

    allowed: float
    nats: float


class _Own:
    """The next-token log-probs after a prompt and each of the tokens that were drawn, by the models themselves."""

    def __init__(self, model: Any, base: Base | None, prompt: list[int], tokens: list[int]) -> None:
        self._model, self._base, self._prompt, self._tokens = model, base, prompt, tokens

    def difference(self, scores: Tensor) -> _Gap:
        """How far `[t, n]` log-probs are from them.

        Read in one row first. Where that differs, each is read alone, since a model that chooses among its keys may
        break ties otherwise in a longer row.
        """
        whole = self._log_probs([*self._prompt, *self._tokens[:-1]])[len(self._prompt) - 1 :]
        together = self._off(scores, whole)
        if together.allowed <= 1.0:
            return together
        ends = range(len(self._prompt), len(self._prompt) + len(self._tokens))
        row = [*self._prompt, *self._tokens]
        return self._off(scores, torch.stack([self._log_probs(row[:end])[-1] for end in ends]))

    def _log_probs(self, row: list[int]) -> Tensor:
        device = self._model.get_input_embeddings().weight.device
        own = own_logits(self._model, row, device).float()
        if self._base is not None:
            return geometric_mixture(own, own_logits(self._base.forward, row, device).float(), self._base.share)
        return own.log_softmax(-1)

    def _off(self, scores: Tensor, own: Tensor) -> _Gap:
        own = own.to(scores.device)
        # Tokens that are ruled out are equal without a difference; what is not a number is as wrong as can be.
        nats = (scores - own).abs().masked_fill(scores == own, 0.0).nan_to_num(nan=float("inf"))
        return _Gap(float((nats / tolerance(self._model, own)).max()), float(nats.max()))
