"""The fastest way to decode a model that gives the next-token probabilities of its own forward pass."""

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
from sparring.generation.rows import Choose, PromptRows, SampledRow
from sparring.logprobs import layout_of
from sparring.logprobs.decoder import own_logits
from sparring.logprobs.layout import FAILURES, agree, described, probe_ids
from sparring.mixture import geometric_mixture
from sparring.seeding import uniform

_log = logging.getLogger(__name__)

# They have a common prefix, so that reading it once is proved too; two are equally long, and so make a batch of equals.
_PROMPTS = tuple((17, 18, 19, 20, 21, 22, *rest) for rest in ((3, 4, 5, 6, 7, 8), (9, 10), (12, 11), (13, 14, 15, 16)))
_TOKENS = 4
# Fewer than there are rows, so that joining while others are under way is proved too.
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

Decode = Callable[[Decoding, Sequence[PromptRows], Choose, int], None]
"""`decode(decoding, prompts, choose, at_once)` samples the rows of the prompts to their limits."""

_known: WeakKeyDictionary[Any, dict[tuple[bool, bool], Decoding]] = WeakKeyDictionary()
_said: set[str] = set()


def decoding_of(model: Any, decode: Decode, *, copies: int, mixture: Mixture | None = None) -> Decoding:
    """The fastest way of decoding whose next-token probabilities are those of the model's own forward pass.

    It is found out once for each model object, with and without several samples a prompt and a mixture. A way slower
    than the fastest of all is logged as a warning.

    Args:
        model: The causal language model.
        decode: Decodes from the model, and from the mixture's base model where there is one.
        copies: Samples of each prompt.
        mixture: The base model that is mixed in, or None.

    Raises:
        InputError: No way gives these probabilities.
    """
    kind = (copies > 1, mixture is not None)
    known = _known.setdefault(model, {})
    if kind not in known:
        # It may exchange the model's attention, which sampling uses too, and it refuses a model that is not causal.
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
    """The fastest way that is right, and what was wrong with the fastest of all; empty where it is that one."""
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
    """What is wrong with a way of decoding; None if nothing is.

    A few prompts are decoded, and at every step the log-probs of all tokens are compared with those of the model's
    forward pass on the whole row.
    """
    ids = [probe_ids(model, prompt) for prompt in _PROMPTS]
    # Some rows are a token shorter, so that dropping rows is proved too.
    prompts = [
        PromptRows(prompt, [SampledRow(place, copy, _TOKENS - (place + copy) % 2) for copy in range(copies)])
        for place, prompt in enumerate(ids)
    ]
    watch, worst = _Watch(), None
    try:
        decode(way, prompts, watch, _AT_ONCE)
        for row, log_probs in watch.seen:
            off = _OwnLogProbs(model, mixture, ids[row.prompt], row.tokens).difference(torch.stack(log_probs))
            worst = off if worst is None else max(worst, off or 0.0)
    except FAILURES as error:
        return f"it cannot be ({described(error)})"
    return None if worst is None else f"the next token's log-probs are off by {worst:.2g} nats"


class _Watch:
    """Draws tokens, and keeps the next-token log-probs that they were drawn from.

    Attributes:
        seen: Each row, and the log-probs `[n]` over the vocabulary at each of its tokens.
    """

    def __init__(self) -> None:
        self.seen: list[tuple[SampledRow, list[Tensor]]] = []

    def __call__(self, rows: Sequence[SampledRow], logits: Tensor) -> list[int]:
        """See `Choose`."""
        known = {id(row): log_probs for row, log_probs in self.seen}
        for row, log_probs in zip(rows, logits.float().log_softmax(-1), strict=True):
            if id(row) not in known:
                self.seen.append((row, known.setdefault(id(row), [])))
            known[id(row)].append(log_probs)
        return draw(logits.float(), [uniform(0, row.prompt, row.sample, len(row.tokens)) for row in rows])


class _OwnLogProbs:
    """The next-token log-probs at each sampled token of a row, by the models' own forward passes."""

    def __init__(self, model: Any, mixture: Mixture | None, prompt: list[int], tokens: list[int]) -> None:
        self._model, self._mixture, self._prompt, self._tokens = model, mixture, prompt, tokens

    def difference(self, found: Tensor) -> float | None:
        """The largest difference of other log-probs `[t, n]` from these, nats; None where they differ by rounding only.

        The whole row is read in one forward pass first. Where that differs, each step's row is read by itself, since a
        model that chooses among its keys (sparse attention) may break ties differently in a longer row.
        """
        whole = self._log_probs([*self._prompt, *self._tokens[:-1]])[len(self._prompt) - 1 :].to(found.device)
        if agree(self._model, found, whole):
            return None
        ends = range(len(self._prompt), len(self._prompt) + len(self._tokens))
        row = [*self._prompt, *self._tokens]
        alone = torch.stack([self._log_probs(row[:end])[-1] for end in ends]).to(found.device)
        if agree(self._model, found, alone):
            return None
        return float((found - alone).abs().nan_to_num(nan=float("inf")).max())

    def _log_probs(self, row: list[int]) -> Tensor:
        device = self._model.get_input_embeddings().weight.device
        own = own_logits(self._model, row, device).float()
        if self._mixture is not None:
            base = own_logits(self._mixture.base, row, device).float()
            return geometric_mixture(own, base, self._mixture.base_share)
        return own.log_softmax(-1)
