"""Sampling from the model in memory."""

from __future__ import annotations

from collections.abc import Collection, Iterator, Sequence
from contextlib import contextmanager
from functools import partial
from typing import Any, Self

import torch

from sparring.examples import EncodedExample
from sparring.generation.batches import as_sample, batches
from sparring.generation.config import GenerationConfig
from sparring.generation.decoding import Decoding, padding_counts_from
from sparring.generation.draws import Draws, DrawsByKind
from sparring.generation.mixture import Mixed, Mixture
from sparring.generation.products import laid_out
from sparring.generation.proof import decoding_of
from sparring.generation.protocol import GeneratorParts
from sparring.generation.readers import reader_of
from sparring.generation.rows import Choose, PromptRows, RowReader, SampledRow, common_prefix, decode
from sparring.heap import give_back_freed_memory
from sparring.types import Sample


class TransformersGenerator:
    """Samples from the very model object that is trained: no second copy, no other numerics.

    Args:
        config: Sampling settings.
        model: The causal language model, with or without adapters.
        tokenizer: Decodes the text that people read; training uses the ids.
        stop_ids: Tokens that end a response. The sampled one is kept as the response's last token.
        max_new_tokens: Where a response is cut; it then has the finish reason "length" and no end token.
        mixture: The base model to mix every token's distribution with; None samples from the model itself.
    """

    name = "transformers"

    def __init__(
        self,
        config: GenerationConfig,
        *,
        model: Any,
        tokenizer: Any,
        stop_ids: Sequence[int],
        max_new_tokens: int,
        mixture: Mixture | None = None,
    ) -> None:
        self._config, self._model, self._tokenizer = config, model, tokenizer
        self._stop_ids, self._max_new_tokens = frozenset(stop_ids), max_new_tokens
        self._mixture = mixture

    @classmethod
    def of(cls, config: GenerationConfig, parts: GeneratorParts) -> Self:
        """The generator of some settings."""
        return cls(
            config,
            model=parts.model,
            tokenizer=parts.tokenizer,
            stop_ids=parts.stop_ids,
            max_new_tokens=parts.max_new_tokens,
            mixture=parts.mixture,
        )

    def plan(self, prompts: Sequence[EncodedExample]) -> list[list[EncodedExample]]:
        """Batches of prompts of similar length; see `Generator`."""
        return batches(self._config, prompts, turns=True)

    def sample(self, batch: Sequence[EncodedExample], *, seed: int) -> list[Sample]:
        """K samples for each prompt of the batch; see `Generator`.

        Raises:
            InputError: The model cannot be sampled right; found out with the first batch.
            RunError: It gives no probabilities for a next token: its logits are NaN or infinite.
        """
        (samples,) = self.sample_together(batch, [(self._config, seed)])
        return samples

    @torch.no_grad()
    def sample_together(
        self, batch: Sequence[EncodedExample], settings: Sequence[tuple[GenerationConfig, int]]
    ) -> list[list[Sample]]:
        """K samples for each prompt under each of several settings, decoded together; see `SamplesTogether`.

        Raises:
            InputError: As `sample` does.
            RunError: As `sample` does.
        """
        prompts = [
            PromptRows(
                prompt.prompt_ids,
                [
                    SampledRow(place, number, self._max_new_tokens, kind=kind)
                    for kind, (config, _) in enumerate(settings)
                    for number in range(config.samples_per_prompt)
                ],
            )
            for place, prompt in enumerate(batch)
        ]
        draws = DrawsByKind([Draws(config, seed, lambda row: batch[row.prompt].index) for config, seed in settings])
        decoding = self._decoding(sum(config.samples_per_prompt for config, _ in settings))
        self._decode(decoding, prompts, draws, self._config.batch_size, ends=self._stop_ids)
        drawn = [row for prompt in prompts for row in prompt.rows]
        return [
            [self._sample(batch[row.prompt], row, seed) for row in drawn if row.kind == kind]
            for kind, (_, seed) in enumerate(settings)
        ]

    def check(self) -> None:
        """Finds out how the model is decoded; see `ChecksItself`.

        Raises:
            InputError: The model cannot be sampled right.
        """
        self.decoding()

    def decoding(self) -> Decoding:
        """How this model is decoded: found out and proved on short prompts, once.

        Raises:
            InputError: The model cannot be sampled right.
        """
        return self._decoding(self._config.samples_per_prompt)

    def _decoding(self, copies: int) -> Decoding:
        endless = partial(self._decode, ends=())
        return decoding_of(self._model, endless, copies=copies, mixture=self._mixture)

    def _decode(
        self, decoding: Decoding, prompts: Sequence[PromptRows], choose: Choose, at_once: int, *, ends: Collection[int]
    ) -> None:
        decoding = decoding.for_widths(prompts, padding_counts_from(self._model.config))
        with _evaluating(self._model), laid_out(self._model):
            for group in decoding.groups(prompts):
                decode(self._reader(decoding, common_prefix(group)), group, choose, ends=ends, at_once=at_once)
        give_back_freed_memory()

    def _reader(self, decoding: Decoding, shared: Sequence[int]) -> RowReader:
        own = reader_of(self._model, decoding, self._model.device, shared=shared)
        if self._mixture is None:
            return own
        base = reader_of(self._mixture.base, decoding, self._model.device, shared=shared)
        return Mixed(own, base, self._mixture.base_share)

    def _sample(self, prompt: EncodedExample, row: SampledRow, seed: int) -> Sample:
        parts = {"tokenizer": self._tokenizer, "generator": self.name, "seed": seed}
        return as_sample(prompt, row.sample, row.tokens, stopped=row.tokens[-1] in self._stop_ids, **parts)


@contextmanager
def _evaluating(model: Any) -> Iterator[None]:
    was_training = model.training
    model.eval()
    try:
        yield
    finally:
        model.train(was_training)
