"""What generators share: which prompts make a batch, and how token ids become a `Sample`."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from sparring.examples import EncodedExample
from sparring.generation.config import GenerationConfig
from sparring.types import Sample

# A batch that is decoded in turns has so many times what is decoded at once, where that leaves as many batches.
_TURNS, _BATCHES = 4, 4


def batches(
    config: GenerationConfig, prompts: Sequence[EncodedExample], *, turns: bool = False
) -> list[list[EncodedExample]]:
    """Batches of prompts of similar length, longest first, so that what fits once fits always.

    Args:
        config: Says how many sequences are decoded at once.
        prompts: The prompts.
        turns: Whether a batch may have more sequences than are decoded at once, of which some wait for the places of
            those that end.
    """
    ordered = sorted(prompts, key=lambda prompt: (-len(prompt.prompt_ids), prompt.index))
    size = config.prompts_per_batch
    if turns:
        # Not fewer than a few batches: they are what processes share, and what a kill can lose.
        size *= max(1, min(_TURNS, len(ordered) // (size * _BATCHES)))
    return [ordered[start : start + size] for start in range(0, len(ordered), size)]


def as_sample(
    prompt: EncodedExample, number: int, ids: list[int], *, stopped: bool, tokenizer: Any, generator: str, seed: int
) -> Sample:
    """Sample `number` of a prompt; its text leaves out the end token, which `ids` keep where it was sampled.

    Nor is white space tidied up in it, as some tokenizers would, to whom `a != b` is `a!= b`.
    """
    said = ids[:-1] if stopped else ids
    return Sample(
        index=prompt.index,
        sample=number,
        response_ids=ids,
        finish_reason="stop" if stopped else "length",
        text=tokenizer.decode(said, skip_special_tokens=True, clean_up_tokenization_spaces=False),
        generator=generator,
        seed=seed,
    )
