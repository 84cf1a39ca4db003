"""How prompts can be decoded together without changing what is sampled: proved against the model's own forward pass."""

from __future__ import annotations

import logging
from collections.abc import Callable, Sequence
from typing import Any
from weakref import WeakKeyDictionary

import torch
from torch import Tensor

from sparring.errors import InputError
from sparring.generation.decoding import Decoding
from sparring.generation.draws import draw
from sparring.generation.mixture import Mixture
from sparring.generation.rows import Asked, Choose, SampledRow
from sparring.logprobs import layout_of
from sparring.logprobs.decoder import own_logits
from sparring.logprobs.layout import FAILURES, agree, described, probe_ids
from sparring.mixture import geometric_mixture
from sparring.seeding import uniform

_log = logging.getLogger(__name__)

# They begin alike, so that what they share is read once; two have one length, so that equal lengths make a batch too.
_PROMPTS = tuple((17, 18, 19, 20, 21, 22, *rest) for rest in ((3, 4, 5, 6, 7, 8), (9, 10), (12, 11), (13, 14, 15, 16)))
_TOKENS = 4
# Fewer than the rows of all prompts, so that some wait for the places of others.
_AT_ONCE = 4

# From the fastest to the safest.
_WAYS = (
    Decoding(),
    Decoding(keeps="batch"),
    Decoding(lengths="equal"),
    Decoding(lengths="equal", keeps="batch"),
    Decoding(keeps="nothing"),
    Decoding(lengths="single", keeps="batch"),
    Decoding(lengths="equal", keeps="nothing"),
    Decoding(lengths="single", keeps="nothing"),
)

Decode = Callable[[Decoding, Sequence[Asked], Choose, int], None]
"""Decodes rows to their limits: the way, the prompts with their rows, what chooses tokens, and rows at once at most."""

_known: WeakKeyDictionary[Any, dict[tuple[bool, bool], Decoding]] = WeakKeyDictionary()
_said: set[str] = set()


def decoding_of(model: Any, decode: Decode, *, copies: int, mixture: Mixture | None = None) -> Decoding:
    """The fastest way of decoding whose next-token probabilities are those of the model's own forward pass.

    It is found out once for each model object, and again where the prompts are read for several samples, or a base
    model is mixed in. A slower way than the first is said in the log.

    Args:
        model: The causal language model.
        decode: Decodes from it and, where there is one, the base model.
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
    kept = {"rows": "", "batch": ", which no prompt joins while others are under way"}
    return batches[way.lengths] + kept.get(way.keeps, ", without a cache, which is slow")


def _find(model: Any, decode: Decode, copies: int, mixture: Mixture | None) -> tuple[Decoding, str]:
    """The first way that is right, and what was wrong with the fastest."""
    why = ""
    for way in _WAYS:
        problem = _problem(model, decode, way, copies, mixture)
        if problem is None:
            return way, why
        why = why or f"{_words(way)}, {problem}"
    raise InputError(
        f"this model cannot be sampled right: even {_words(way)}, {problem}",
        where=type(model).__name__,
        fix="take a model of another family, or an engine that has an implementation of its own (generation.name)",
    )


@torch.no_grad()
def _problem(model: Any, decode: Decode, way: Decoding, copies: int, mixture: Mixture | None) -> str | None:
    """What is wrong with a way; None if nothing is.

    A few prompts are decoded in it, and the log-probs of all tokens that might have been drawn are compared with those
    of the model's forward pass on the whole row.
    """
    prompts = [probe_ids(model, prompt) for prompt in _PROMPTS]
    watch, worst = _Watch(), None
    # Some have fewer tokens than others, so that they leave before them.
    rows = [
        [SampledRow(place, copy, _TOKENS - (place + copy) % 2) for copy in range(copies)]
        for place in range(len(prompts))
    ]
    try:
        decode(way, [Asked(prompts[place], rows[place]) for place in range(len(prompts))], watch, _AT_ONCE)
        for row, scores in watch.seen:
            off = _Own(model, mixture, prompts[row.prompt], row.tokens).difference(torch.stack(scores))
            worst = off if worst is None else max(worst, off or 0.0)
    except FAILURES as error:
        return f"it cannot be ({described(error)})"
    return None if worst is None else f"the next token's log-probs are off by {worst:.2g} nats"


class _Watch:
    """Chooses tokens, and keeps the log-probs of all that might have been chosen.

    Attributes:
        seen: Each row, and the log-probs `[n]` of each of its tokens' alternatives.
    """

    def __init__(self) -> None:
        self.seen: list[tuple[SampledRow, list[Tensor]]] = []

    def __call__(self, rows: Sequence[SampledRow], logits: Tensor) -> list[int]:
        """See `Choose`."""
        known = {id(row): scores for row, scores in self.seen}
        for row, scores in zip(rows, logits.float().log_softmax(-1), strict=True):
            if id(row) not in known:
                self.seen.append((row, known.setdefault(id(row), [])))
            known[id(row)].append(scores)
        return draw(logits.float(), [uniform(0, row.prompt, row.sample, len(row.tokens)) for row in rows])


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
