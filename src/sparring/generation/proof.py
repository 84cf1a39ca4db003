"""How prompts can be decoded together without changing what is sampled: proved against the model's own forward pass."""

from __future__ import annotations

import logging
from collections.abc import Callable, Sequence
from typing import Any, NamedTuple
from weakref import WeakKeyDictionary

import torch
from torch import Tensor

from sparring.errors import InputError
from sparring.generation.decoding import Decoding
from sparring.generation.mixture import Mixture
from sparring.logprobs import layout_of
from sparring.logprobs.decoder import own_logits
from sparring.logprobs.layout import FAILURES, agree, described, probe_ids
from sparring.logprobs.mixture import geometric_mixture

_log = logging.getLogger(__name__)

# Two of one length, so that prompts of equal lengths make a batch too.
_PROMPTS = ((3, 4, 5, 6, 7, 8), (9, 10), (12, 11), (13, 14, 15, 16))
_TOKENS = 4


# From the fastest to the safest.
_WAYS = (
    Decoding(),
    Decoding(shared=False),
    Decoding(lengths="equal"),
    Decoding(lengths="equal", shared=False),
    Decoding(cached=False, shared=False),
    Decoding(lengths="single", shared=False),
    Decoding(lengths="equal", cached=False, shared=False),
    Decoding(lengths="single", cached=False, shared=False),
)


class Decoded(NamedTuple):
    """What was decoded from some prompts, `copies` of each side by side.

    Attributes:
        tokens: `[R, t]` token ids.
        scores: t tensors `[R, n]`, what each token was drawn from, before the softmax.
    """

    tokens: Tensor
    scores: Sequence[Tensor]


Decode = Callable[[Decoding, Sequence[Sequence[int]], int, int], Decoded]
"""Decodes prompts (way, prompts, copies of each, tokens) at temperature 1, without an end."""


_known: WeakKeyDictionary[Any, dict[tuple[bool, bool], Decoding]] = WeakKeyDictionary()
_said: set[str] = set()


def decoding_of(model: Any, decode: Decode, *, copies: int, mixture: Mixture | None = None) -> Decoding:
    """The fastest way of decoding whose next-token probabilities are those of the model's own forward pass.

    It is found out once for each model object, and again where the prompts are read for several samples, or a base
    model is mixed in. A slower way than the first is said in the log.

    Args:
        model: The causal language model.
        decode: Decodes from it.
        copies: Samples of each prompt.
        mixture: The base model that is mixed in, if one is.

    Raises:
        InputError: There is none.
    """
    kind = (copies > 1, mixture is not None)
    known = _known.setdefault(model, {})
    if kind not in known:
        # It may exchange the attention, and refuses what is no autoregressive model.
        layout_of(model)
        known[kind], why = _find(model, decode, min(copies, 2), mixture)
        text = f"{type(model).__name__} is sampled {_words(known[kind])}: {why}"
        if why and text not in _said:
            _said.add(text)
            _log.warning("%s", text)
    return known[kind]


def _words(way: Decoding) -> str:
    batches = {"mixed": "in batches", "equal": "in batches of prompts of equal length", "single": "one by one"}
    parts = [batches[way.lengths]]
    parts += [] if way.shared or way.lengths == "single" else ["reading a prompt again for each of its samples"]
    parts += [] if way.cached else ["without a cache, which is slow"]
    return ", ".join(parts)


def _find(model: Any, decode: Decode, copies: int, mixture: Mixture | None) -> tuple[Decoding, str]:
    """The first way that is right, and what was wrong with the fastest."""
    why = ""
    for way in _WAYS:
        # Nothing is shared of one sample, so there the first way stands for both.
        if way.shared and copies == 1 and way != _WAYS[0]:
            continue
        problem = _problem(model, decode, way, copies, mixture)
        if problem is None:
            return way, why
        why = why or f"{_words(way)} {problem}"
    raise InputError(
        f"this model cannot be sampled right: {_words(way)} {problem}",
        where=type(model).__name__,
        fix="take a model of another family, or an engine that has an implementation of its own (generation.name)",
    )


@torch.no_grad()
def _problem(model: Any, decode: Decode, way: Decoding, copies: int, mixture: Mixture | None) -> str | None:
    prompts = [probe_ids(model, prompt) for prompt in _PROMPTS]
    worst: float | None = None
    try:
        for places, count in way.groups([len(prompt) for prompt in prompts], copies):
            drawn = decode(way, [prompts[place] for place in places], count, _TOKENS)
            for row, tokens in enumerate(drawn.tokens.tolist()):
                scores = torch.stack([step[row] for step in drawn.scores]).float().log_softmax(-1)
                off = _Own(model, mixture, prompts[places[row // count]], tokens).difference(scores)
                worst = off if worst is None else max(worst, off or 0.0)
    except FAILURES as error:
        return f"it cannot be ({described(error)})"
    return None if worst is None else f"the next token's log-probs are off by {worst:.2g} nats"


class _Own:
    """The next-token log-probs after a prompt and each of the tokens that were drawn, by the models themselves."""

    def __init__(self, model: Any, mixture: Mixture | None, prompt: list[int], tokens: list[int]) -> None:
        self._model, self._mixture, self._prompt, self._tokens = model, mixture, prompt, tokens

    def difference(self, scores: Tensor) -> float | None:
        """How far `[t, n]` log-probs are from them, nats; None where that is rounding.

        Read in one row first. Where that differs, each is read alone, since a model that chooses among its keys may
        break ties otherwise in a longer row.
        """
        whole = self._log_probs([*self._prompt, *self._tokens[:-1]])[len(self._prompt) - 1 :].to(scores.device)
        if agree(self._model, scores, whole):
            return None
        ends = range(len(self._prompt), len(self._prompt) + len(self._tokens))
        row = [*self._prompt, *self._tokens]
        alone = torch.stack([self._log_probs(row[:end])[-1] for end in ends]).to(scores.device)
        if agree(self._model, scores, alone):
            return None
        return float((scores - alone).abs().nan_to_num(nan=float("inf")).max())

    def _log_probs(self, row: list[int]) -> Tensor:
        device = self._model.get_input_embeddings().weight.device
        own = own_logits(self._model, row, device).float()
        if self._mixture is not None:
            base = own_logits(self._mixture.base, row, device).float()
            return geometric_mixture(own, base, self._mixture.base_share)
        return own.log_softmax(-1)
