"""Turns text into token ids, once, so that generation, scoring and training all see the same tokens."""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from typing import TYPE_CHECKING

from sparring.data.clock import Clock
from sparring.data.config import DataConfig
from sparring.data.findings import Observation
from sparring.data.fit import Fit, LengthLimits
from sparring.data.watch import Watch
from sparring.examples import Example

if TYPE_CHECKING:
    from transformers import PreTrainedTokenizerBase

    from sparring.examples import EncodedExample

_CHUNK_CHARACTERS = 1_000_000
_CHUNK_EXAMPLES = 256


@dataclass(frozen=True, kw_only=True)
class Encoded:
    """Examples as token ids, and how many did not fit.

    Attributes:
        examples: The examples that were kept, in order.
        stop_ids: Tokens that end a response, ascending: the chat template's end of turn, the tokenizer's eos, and the
            tokens at which the model's own `generate` stops. One of them may equal the pad token, so padding must be
            recognised by length, never by its id.
        dropped_prompts: The number of examples left out for their prompt's length.
        truncated_prompts: The number of prompts cut from the left.
        dropped_responses: The number of examples left out for their response's length.
        truncated_responses: The number of responses cut; they have no end token.
        template_mismatch: The number of examples whose prompt and response, rendered by the chat template as one
            conversation, do not begin with the rendered prompt followed by the response: the template strips or
            inserts text, so a model tuned on whole conversations has seen other tokens.
        skipped: The place and the problem of each example that the template refuses or that cannot be encoded.
        findings: What a person should know of the examples that were kept.
    """

    examples: list[EncodedExample]
    stop_ids: tuple[int, ...]
    dropped_prompts: int
    truncated_prompts: int
    dropped_responses: int
    truncated_responses: int
    template_mismatch: int
    skipped: list[tuple[str, str]]
    findings: tuple[Observation, ...]


def encode(
    examples: Iterable[Example],
    tokenizer: PreTrainedTokenizerBase,
    config: DataConfig,
    *,
    context_length: int,
    clock: Clock | None = None,
    end_ids: frozenset[int] = frozenset(),
) -> Encoded:
    """Applies the chat template and the length limits.

    Args:
        examples: The examples from `load`; may be empty.
        tokenizer: The model's tokenizer.
        config: The template, the limits, and the treatment of examples over them.
        context_length: The most tokens of prompt and response together in the model.
        clock: The time that the chat template sees; None for the time of rendering.
        end_ids: As `PromptTemplate.end_ids`.

    Raises:
        InputError: The template fails or cannot write a prompt, a response holds a stop token, an example is over
            a limit whose policy is `error`, or no example is left. With `config.skip_invalid` an example that the
            template refuses, or that holds a stop token, is left out and listed.
    """
    template = config.template(tokenizer, clock, end_ids=end_ids)
    ending, stop_ids = template.ending, template.stop_ids()
    limits = LengthLimits.of(config, context_length, tokenizer)
    watch = Watch(template=template, config=config)
    fit = Fit(config=config, template=template, limits=limits, ending=ending, stop_ids=stop_ids, watch=watch)
    given = False
    for chunk in _chunks(examples):
        given = True
        fit.add(chunk)
    if given and not fit.kept:
        raise fit.none_left()
    return Encoded(
        examples=fit.kept,
        stop_ids=stop_ids,
        dropped_prompts=fit.counts["dropped prompts"],
        truncated_prompts=fit.counts["truncated prompts"],
        dropped_responses=fit.counts["dropped responses"],
        truncated_responses=watch.cut.count,
        template_mismatch=watch.mismatch.count,
        skipped=fit.skipped,
        findings=watch.findings(),
    )


def _chunks(examples: Iterable[Example]) -> Iterator[list[Example]]:
    """Chunks of examples: large enough for a fast tokenizer, small enough for its tables, which far exceed the ids."""
    chunk: list[Example] = []
    size = 0
    for example in examples:
        chunk.append(example)
        size += len(example.prompt) + len(example.response or "")
        if size >= _CHUNK_CHARACTERS or len(chunk) >= _CHUNK_EXAMPLES:
            yield chunk
            chunk, size = [], 0
    if chunk:
        yield chunk
