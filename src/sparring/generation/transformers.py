"""Batched sampling with transformers' `generate`."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from typing import Any, Self

import torch
import transformers

from sparring.examples import EncodedExample
from sparring.generation.batches import as_sample, batches
from sparring.generation.config import GenerationConfig
from sparring.generation.decoding import Decoding, FiniteLogits
from sparring.generation.mixture import Mixture, MixtureProcessor
from sparring.generation.prefix import read_once
from sparring.generation.proof import Decoded, decoding_of
from sparring.generation.protocol import GeneratorParts
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
        return batches(self._config, prompts)

    @torch.no_grad()
    def sample(self, batch: Sequence[EncodedExample], *, seed: int) -> list[Sample]:
        """K samples for each prompt of the batch; see `Generator`.

        Raises:
            InputError: The model cannot be sampled right; found out with the first batch.
            RunError: It gives no probabilities for a next token: its logits are NaN or infinite.
        """
        way = self.decoding()
        prompts = [prompt.prompt_ids for prompt in batch]
        tokens: dict[int, list[list[int]]] = {place: [] for place in range(len(batch))}
        with _as_configured(self._model, self._generation_config()), _seeded(seed, self._model.device):
            for places, count in way.groups([len(prompt) for prompt in prompts], self._config.samples_per_prompt):
                indices = [batch[place].index for place in places for _ in range(count)]
                check = FiniteLogits(lambda row, of=indices: f"the prompt of row {of[row]}")  # type: ignore[misc]
                drawn = self._decode(way, [prompts[place] for place in places], count, check=check)
                for row, sampled in enumerate(drawn.tokens.tolist()):
                    tokens[places[row // count]].append(sampled)
        return [
            self._sample(prompt, number, sampled, seed)
            for place, prompt in enumerate(batch)
            for number, sampled in enumerate(tokens[place])
        ]

    def check(self) -> None:
        """Finds out how the model is decoded; see `ChecksItself`.

        Raises:
            InputError: The model cannot be sampled right.
        """
        self.decoding()

    def decoding(self) -> Decoding:
        """How this model is decoded; proved on short prompts, once.

        Raises:
            InputError: The model cannot be sampled right.
        """
        copies = self._config.samples_per_prompt
        return decoding_of(self._model, self._probe, copies=copies, mixture=self._mixture)

    def _probe(self, way: Decoding, prompts: Sequence[Sequence[int]], copies: int, tokens: int) -> Decoded:
        """Decodes at temperature 1, without an end."""
        plain = transformers.GenerationConfig(
            do_sample=True, temperature=1.0, top_k=0, top_p=1.0, max_new_tokens=tokens, pad_token_id=0, use_cache=True
        )
        with _as_configured(self._model, plain), _seeded(0, self._model.device):
            return self._decode(way, prompts, copies, scores=True)

    def _decode(
        self,
        way: Decoding,
        prompts: Sequence[Sequence[int]],
        copies: int,
        *,
        scores: bool = False,
        check: FiniteLogits | None = None,
    ) -> Decoded:
        ids, mask = self._left_padded(prompts)
        cache = read_once(self._model, ids, mask, copies) if way.shared else None
        output = self._model.generate(
            input_ids=ids.repeat_interleave(copies, dim=0),
            attention_mask=mask.repeat_interleave(copies, dim=0),
            logits_processor=self._processors(mask, way, check),
            use_cache=way.cached,
            return_dict_in_generate=True,
            output_scores=scores,
            **({} if cache is None else {"past_key_values": cache}),
        )
        return Decoded(output.sequences[:, ids.shape[1] :], output.scores or ())

    def _processors(
        self, mask: torch.Tensor, way: Decoding, check: FiniteLogits | None
    ) -> transformers.LogitsProcessorList:
        mixed = [] if self._mixture is None else [MixtureProcessor(self._mixture, mask, way)]
        return transformers.LogitsProcessorList([*mixed, *([] if check is None else [check])])

    def _left_padded(self, prompts: Sequence[Sequence[int]]) -> tuple[torch.Tensor, torch.Tensor]:
        longest = max(map(len, prompts))
        # The padding id is masked and never read back, so any id will do.
        ids = torch.zeros(len(prompts), longest, dtype=torch.long)
        mask = torch.zeros_like(ids)
        for row, prompt in enumerate(prompts):
            ids[row, longest - len(prompt) :] = torch.tensor(prompt)
            mask[row, longest - len(prompt) :] = 1
        return ids.to(self._model.device), mask.to(self._model.device)

    def _generation_config(self) -> transformers.GenerationConfig:
        config = self._config
        stop_ids = sorted(self._stop_ids)
        return transformers.GenerationConfig(
            do_sample=config.top_k != 1,
            # Greedy decoding refuses sampling options, even at their neutral values.
            **({} if config.top_k == 1 else _sampling_options(config)),
            max_new_tokens=self._max_new_tokens,
            eos_token_id=stop_ids,
            pad_token_id=stop_ids[0],
            use_cache=True,
        )

    def _sample(self, prompt: EncodedExample, number: int, tokens: list[int], seed: int) -> Sample:
        ends = [position for position, token in enumerate(tokens) if token in self._stop_ids]
        kept = tokens[: ends[0] + 1] if ends else tokens
        parts = {"tokenizer": self._tokenizer, "generator": self.name, "seed": seed}
        return as_sample(prompt, number, kept, stopped=bool(ends), **parts)


def _sampling_options(config: GenerationConfig) -> dict[str, float]:
    return {"temperature": config.temperature, "top_p": config.top_p, "top_k": config.top_k}


@contextmanager
def _as_configured(model: Any, config: transformers.GenerationConfig) -> Iterator[None]:
    """Samples by our settings alone: what a checkpoint ships (a repetition penalty, say) would skew π_o unseen."""
    shipped, was_training = model.generation_config, model.training
    model.generation_config = config
    model.eval()
    try:
        yield
    finally:
        model.generation_config = shipped
        model.train(was_training)


@contextmanager
def _seeded(seed: int, device: torch.device) -> Iterator[None]:
    with torch.random.fork_rng([device] if device.type == "cuda" else []):
        torch.manual_seed(seed)
        yield
