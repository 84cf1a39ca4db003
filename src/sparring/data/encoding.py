"""Turns text into token ids, once, so that generation, scoring and training all see the same ones."""

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
        examples: Those that were kept, in order.
        stop_ids: Tokens that end a response, ascending: the chat template's end of turn, the tokenizer's eos,
            and what the model's own `generate` stops at.
            One of them may equal the pad token, so pads must be told by length, never by id.
        dropped_prompts: Examples left out for their prompt's length.
        truncated_prompts: Prompts cut from the left.
        dropped_responses: Examples left out for their response's length.
        truncated_responses: Responses cut; they have no end token.
        template_mismatch: Examples whose prompt and response, rendered by the chat template as one whole
            conversation, do not begin with the rendered prompt followed by the response: the template strips or
            inserts text, so a model tuned on whole conversations has seen other tokens.
        skipped: Where and why, of each example that the template refuses or that cannot be encoded.
        findings: What a person should know of those that were kept.
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
        examples: What `load` returned; may be none.
        tokenizer: The model's tokenizer.
        config: The template, the limits and what happens at them.
        context_length: Tokens that prompt and response may have together in the model.
        clock: The time that the chat template is told; None is that of rendering.
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
    """So many at once that the tokenizer is quick, and its own tables, far larger than the ids, stay small."""
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
