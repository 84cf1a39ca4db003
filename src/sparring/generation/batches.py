"""What generators share: which prompts make a batch, and how token ids become a `Sample`."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from sparring.examples import EncodedExample
from sparring.generation.config import GenerationConfig
from sparring.types import Sample


def batches(config: GenerationConfig, prompts: Sequence[EncodedExample]) -> list[list[EncodedExample]]:
    """Batches of prompts of similar length, longest first, so that what fits once fits always."""
    ordered = sorted(prompts, key=lambda prompt: (-len(prompt.prompt_ids), prompt.index))
    size = config.prompts_per_batch
    return [ordered[start : start + size] for start in range(0, len(ordered), size)]


def as_sample(
    prompt: EncodedExample, number: int, ids: list[int], *, stopped: bool, tokenizer: Any, generator: str, seed: int
) -> Sample:
    """Sample `number` of a prompt; its text leaves out the end token, which `ids` keep where it was sampled."""
    return Sample(
        index=prompt.index,
        sample=number,
        response_ids=ids,
        finish_reason="stop" if stopped else "length",
        text=tokenizer.decode(ids[:-1] if stopped else ids, skip_special_tokens=True),
        generator=generator,
        seed=seed,
    )
