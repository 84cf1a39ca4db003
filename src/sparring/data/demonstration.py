"""Prompts that show a model the expert's response, and ask it to answer in its own words."""

from __future__ import annotations

import re
from collections.abc import Iterator, Sequence
from itertools import islice

from sparring.data.chats import Turn
from sparring.data.template import PromptTemplate, turns_of
from sparring.errors import InputError
from sparring.examples import EncodedExample, Example

PROMPT, DEMONSTRATION = "{prompt}", "{demonstration}"
# The words of SDFT, arXiv 2601.19897, less "including the thinking process": not every response has one.
_OF_CHAT = """{prompt}

This is an example for a response to the question:
{demonstration}

Now answer with a response of your own."""
# For a model that is not tuned on instructions: it continues the text in the way that it began.
_PLAIN = "{prompt}{demonstration}\n\n{prompt}"
_AT_ONCE = 256


def demonstration_prompts(
    examples: Sequence[EncodedExample], template: PromptTemplate, words: str | None
) -> Iterator[list[int]]:
    """Token ids of each example's prompt with its response shown as a demonstration, which is empty without a response.

    Args:
        examples: The prompts.
        template: Writes the prompts, as in training.
        words: The text in place of a prompt, or of a chat's last user turn, in which `{prompt}` and `{demonstration}`
            stand for the two; None takes a default.

    Raises:
        InputError: The chat template refuses a prompt, or the text of a special token in it cannot be kept apart.
    """
    words = words or (_OF_CHAT if template.chat else _PLAIN)
    rest = iter(examples)
    while chunk := list(islice(rest, _AT_ONCE)):
        yield from template.safe_prompts([_shown(example, words) for example in chunk])


def check_demonstrations(
    examples: Sequence[EncodedExample], template: PromptTemplate, words: str | None, *, limit: int, unwritten: int
) -> None:
    """Checks that every prompt fits with its demonstration.

    Args:
        examples: See `demonstration_prompts`.
        template: See `demonstration_prompts`.
        words: See `demonstration_prompts`.
        limit: Tokens that a prompt may have.
        unwritten: The most tokens of a response if the responses are not written yet, else 0.

    Raises:
        InputError: Some prompts are over the limit; the message tells how many.
    """
    room = unwritten * (words or _OF_CHAT).count(DEMONSTRATION)
    lengths = [len(ids) + room for ids in demonstration_prompts(examples, template, words)]
    over = [each.index for each, length in zip(examples, lengths, strict=True) if length > limit]
    if over:
        raise InputError(
            f"{len(over)} of {len(lengths)} prompts with their demonstration are over the {limit} tokens that the "
            f"model's context leaves (the first is that of row {over[0] + 1}, the longest has {max(lengths)})",
            where="scorer",
            fix="lower data.max_prompt_tokens and data.max_response_tokens, with data.overlong_prompt and "
            "data.overlong_response: drop",
        )


def _shown(example: EncodedExample, words: str) -> Example:
    turns: list[Turn] = turns_of(Example(index=example.index, prompt=example.prompt, messages=example.messages))
    last = max(number for number, turn in enumerate(turns) if turn["role"] == "user")
    marks = {PROMPT: turns[last]["content"], DEMONSTRATION: example.response or ""}
    # Both marks at once, since the text that replaces one may hold the other.
    text = re.sub("|".join(map(re.escape, marks)), lambda found: marks[found[0]], words)
    turns[last] = {**turns[last], "content": text}
    return Example(
        index=example.index, prompt=text, messages=None if example.messages is None else tuple(turns), response=""
    )
