"""Functions that generators share: batches of prompts, and a `Sample` from token ids."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from sparring.examples import EncodedExample
from sparring.generation.config import GenerationConfig
from sparring.types import Sample

# A batch with `turns` has four times the prompts that are decoded at once, if that leaves four batches or more.
_TURNS, _BATCHES = 4, 4


def batches(
    config: GenerationConfig, prompts: Sequence[EncodedExample], *, turns: bool = False
) -> list[list[EncodedExample]]:
    """Batches of prompts of similar length, longest first, so that a lack of memory shows in the first batch.

    Args:
        config: The settings, with the number of sequences that are decoded at once.
        prompts: The prompts.
        turns: Whether a batch may have more sequences than are decoded at once; some then wait until others end.
    """
    ordered = sorted(prompts, key=lambda prompt: (-len(prompt.prompt_ids), prompt.index))
    size = config.prompts_per_batch
    if turns:
        # A few batches must be left: processes share them, and a kill loses one at most.
        size *= max(1, min(_TURNS, len(ordered) // (size * _BATCHES)))
    return [ordered[start : start + size] for start in range(0, len(ordered), size)]


def as_sample(
    prompt: EncodedExample, number: int, ids: list[int], *, stopped: bool, tokenizer: Any, generator: str, seed: int
) -> Sample:
    """Sample `number` of a prompt; the text leaves out the end token, which `ids` keep where it was sampled.

    White space in the text is not tidied up, as some tokenizers would, who turn `a != b` into `a!= b`.
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
