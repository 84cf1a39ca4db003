"""A model's answers to prompts, outside of a run."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

from sparring.data import Conversation, PromptTemplate, encode_prompts
from sparring.generation import GenerationConfig, generator
from sparring.generation.protocol import GeneratorParts
from sparring.models import context_length
from sparring.models.endings import ends_of
from sparring.progress import progress
from sparring.seeding import derive_seed
from sparring.types import Sample


@dataclass(frozen=True, kw_only=True)
class LoadedModel:
    """A loaded model.

    Attributes:
        model: The causal language model; adapters, where it has any, are active.
        tokenizer: Its tokenizer.
        template: Writes its prompts, as it was trained with.
    """

    model: Any
    tokenizer: Any
    template: PromptTemplate


def answer(
    loaded: LoadedModel,
    prompts: Sequence[str | Conversation],
    config: GenerationConfig,
    *,
    max_tokens: int,
    seed: int,
    title: str = "generate",
) -> list[Sample]:
    """Samples K responses to each prompt, in order of prompt, then sample.

    Raises:
        InputError: A prompt leaves no room for `max_tokens`, or the template fails on it.
    """
    limit = context_length(loaded.model.config) - max_tokens
    encoded, ends = encode_prompts(prompts, loaded.template, limit=limit)
    stop_ids = tuple(sorted({*ends, *ends_of(loaded.model.generation_config)}))
    parts = GeneratorParts(model=loaded.model, tokenizer=loaded.tokenizer, stop_ids=stop_ids, max_new_tokens=max_tokens)
    sampler = generator(config, parts)
    samples: list[Sample] = []
    with progress(title, total=len(encoded)) as meter:
        for number, batch in enumerate(sampler.plan(encoded)):
            done = sampler.sample(batch, seed=derive_seed(seed, number))
            samples += done
            meter.advance(len(batch), quantity=sum(len(sample.response_ids) for sample in done))
    return sorted(samples, key=lambda sample: (sample.index, sample.sample))
