"""Turns text into token ids, once, so that generation, scoring and training all see the same ones."""

from __future__ import annotations

from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING

from sparring.data.config import DataConfig
from sparring.data.template import PromptTemplate
from sparring.errors import InputError
from sparring.types import EncodedExample, Example

if TYPE_CHECKING:
    from transformers import PreTrainedTokenizerBase


@dataclass(frozen=True, kw_only=True)
class Encoded:
    """Examples as token ids, and how many did not fit.

    Attributes:
        examples: Those that were kept, in order.
        stop_ids: Tokens that end a response, ascending: the chat template's end of turn and the tokenizer's eos.
            One of them may equal the pad token, so pads must be told by length, never by id.
        dropped_prompts: Examples left out for their prompt's length.
        truncated_prompts: Prompts cut from the left.
        dropped_responses: Examples left out for their response.
        truncated_responses: Responses cut; they have no end token.
        template_mismatch: Examples whose prompt and response, rendered by the chat template as one whole
            conversation, do not begin with the rendered prompt followed by the response: the template strips or
            inserts text, so a model tuned on whole conversations has seen other tokens.
    """

    examples: list[EncodedExample]
    stop_ids: tuple[int, ...]
    dropped_prompts: int
    truncated_prompts: int
    dropped_responses: int
    truncated_responses: int
    template_mismatch: int


def encode(
    examples: Sequence[Example], tokenizer: PreTrainedTokenizerBase, config: DataConfig, *, context_length: int
) -> Encoded:
    """Applies the chat template and the length limits.

    Args:
        examples: What `load` returned; may be empty.
        tokenizer: The model's tokenizer.
        config: The template, the limits and what happens at them.
        context_length: Tokens that prompt and response may have together in the model.

    Raises:
        InputError: The template fails or cannot write a prompt, a response holds a stop token, an example is over
            a limit whose policy is `error`, or no example is left.
    """
    template = PromptTemplate.choose(tokenizer, config.chat_template)
    end, stop_ids = template.end_id(), template.stop_ids()
    fit = _Fit(config=config, limit=_prompt_limit(config, context_length), end=end, stop_ids=stop_ids)
    if examples:
        fit.add(examples, template)
    return Encoded(
        examples=fit.kept,
        stop_ids=stop_ids,
        dropped_prompts=fit.counts["dropped prompts"],
        truncated_prompts=fit.counts["truncated prompts"],
        dropped_responses=fit.counts["dropped responses"],
        truncated_responses=fit.counts["truncated responses"],
        template_mismatch=fit.counts["template mismatch"],
    )


def _prompt_limit(config: DataConfig, context_length: int) -> int:
    room = context_length - config.max_response_tokens
    if room < 1:
        problem = f"the model's context of {context_length} tokens leaves no room for a prompt"
        fix = f"set it below {context_length}, now {config.max_response_tokens}"
        raise InputError(problem, where="data.max_response_tokens", fix=fix)
    return room if config.max_prompt_tokens is None else min(room, config.max_prompt_tokens)


class _Fit:
    """Fits examples into the limits, and counts what it had to do."""

    def __init__(self, *, config: DataConfig, limit: int, end: int, stop_ids: tuple[int, ...]) -> None:
        self.config, self.limit, self.end, self.stop_ids = config, limit, end, stop_ids
        self.kept: list[EncodedExample] = []
        self.counts: Counter[str] = Counter()

    def add(self, examples: Sequence[Example], template: PromptTemplate) -> None:
        tokenizer = template.tokenizer
        prompts = [template.prompt(example) for example in examples]
        all_prompt_ids = template.tokenize_prompts(prompts)
        all_answers = _tokenize([_answers(example) for example in examples], tokenizer)
        for example, prompt, ids, answers in zip(examples, prompts, all_prompt_ids, all_answers, strict=True):
            self.counts["template mismatch"] += template.mismatches(example, prompt)
            prompt_ids = self._prompt(example, ids, tokenizer.bos_token_id)
            fitted = None if prompt_ids is None else self._responses(example, answers, tokenizer)
            if prompt_ids is not None and fitted is not None:
                split = int(example.response is not None)
                self.kept.append(
                    EncodedExample(
                        index=example.index,
                        prompt_ids=prompt_ids,
                        expert_ids=fitted[0] if split else [],
                        prompt=example.prompt,
                        response=example.response,
                        messages=example.messages,
                        comparison=example.comparison,
                        compared_ids=fitted[split:],
                    )
                )
        if not self.kept:
            raise self._none_left(all_prompt_ids, [ids for answers in all_answers for ids in answers])

    def _prompt(self, example: Example, ids: list[int], bos: int | None) -> list[int] | None:
        """The prompt within its limit, or None where the example is dropped."""
        if len(ids) <= self.limit:
            return ids
        if self.config.overlong_prompt == "error":
            problem = f"the prompt has {len(ids)} tokens, over the limit of {self.limit}"
            fix = "shorten it, raise data.max_prompt_tokens or lower data.max_response_tokens, or set " + (
                "data.overlong_prompt to drop or truncate-left"
            )
            raise InputError(problem, where=_where(example), fix=fix)
        if self.config.overlong_prompt == "drop":
            self.counts["dropped prompts"] += 1
            return None
        self.counts["truncated prompts"] += 1
        # The first token is an anchor that models were trained to see, so a bos stays in front.
        head = ids[:1] if ids[0] == bos else []
        return head + ids[len(ids) - self.limit + len(head) :]

    def _responses(
        self, example: Example, answers: list[list[int]], tokenizer: PreTrainedTokenizerBase
    ) -> list[list[int]] | None:
        """All of them within their limit, or None where the example is dropped."""
        fitted = []
        for ids in answers:
            response = self._response(example, ids, tokenizer)
            if response is None:
                return None
            fitted.append(response)
        return fitted

    def _response(self, example: Example, ids: list[int], tokenizer: PreTrainedTokenizerBase) -> list[int] | None:
        """The response within its limit and with its end token, or None where the example is dropped."""
        stop = next((index for index in ids if index in self.stop_ids), None)
        if stop is not None:
            if not self.config.skip_invalid:
                problem = f"the response holds the end token '{tokenizer.convert_ids_to_tokens(stop)}'"
                fix = "remove it from the text: the end token is appended for you"
                raise InputError(problem, where=_where(example), fix=fix)
            self.counts["dropped responses"] += 1
            return None
        limit = self.config.max_response_tokens
        if len(ids) < limit:
            return [*ids, self.end]
        if self.config.overlong_response == "error":
            problem = f"the response has {len(ids) + 1} tokens with its end token, over the limit of {limit}"
            fix = "shorten it, raise data.max_response_tokens, or set data.overlong_response to truncate or drop"
            raise InputError(problem, where=_where(example), fix=fix)
        if self.config.overlong_response == "drop":
            self.counts["dropped responses"] += 1
            return None
        self.counts["truncated responses"] += 1
        return ids[:limit]

    def _none_left(self, prompts: list[list[int]], responses: list[list[int]]) -> InputError:
        longest_prompt, longest_response = max(map(len, prompts)), max(map(len, responses), default=0) + 1
        problem = (
            f"no example is left: {self.counts['dropped prompts']} prompts are over the limit of {self.limit} tokens "
            f"(the longest has {longest_prompt}), {self.counts['dropped responses']} responses are over the limit of "
            f"{self.config.max_response_tokens} (the longest has {longest_response}) or hold an end token"
        )
        fix = "raise data.max_prompt_tokens or data.max_response_tokens, or use a model with a longer context"
        return InputError(problem, where="data", fix=fix)


def _answers(example: Example) -> list[str]:
    """The expert response, if there is one, and those that are compared, if there are any."""
    expert = [] if example.response is None else [example.response]
    return expert if example.comparison is None else [*expert, *example.comparison.responses]


def _tokenize(texts: list[list[str]], tokenizer: PreTrainedTokenizerBase) -> list[list[list[int]]]:
    flat = [text for group in texts for text in group]
    ids = iter(tokenizer(flat, add_special_tokens=False)["input_ids"] if flat else [])
    return [[next(ids) for _ in group] for group in texts]


def _where(example: Example) -> str:
    start = example.prompt if len(example.prompt) <= 40 else f"{example.prompt[:39]}…"
    return f"data row {example.index + 1} ({start!r})"
