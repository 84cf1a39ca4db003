"""Fits examples into the limits of length, and lists the examples that it leaves out."""

from __future__ import annotations

from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Self

from sparring.data.config import DataConfig
from sparring.data.findings import shortened
from sparring.data.split import skippable
from sparring.data.template import PromptTemplate, answers, place, turns_of
from sparring.data.watch import Watch
from sparring.errors import InputError
from sparring.examples import EncodedExample, Example
from sparring.following import following

if TYPE_CHECKING:
    from transformers import PreTrainedTokenizerBase

# A tokenizer needs some 100 times the memory of the text of one call.
_MOST_CHARACTERS = 4_000_000


@dataclass(frozen=True, kw_only=True)
class LengthLimits:
    """The limits of length.

    Attributes:
        prompt: The most tokens of a prompt.
        response: The most tokens of a response, its end token included.
        longest: Characters of the tokenizer's longest token; a text of more than n times as many has over n tokens.
    """

    prompt: int
    response: int
    longest: int

    @classmethod
    def of(cls, config: DataConfig, context_length: int, tokenizer: PreTrainedTokenizerBase) -> Self:
        """The limits of a configuration with a model.

        Raises:
            InputError: There is no room for a prompt.
        """
        room = context_length - config.max_response_tokens
        if room < 1:
            problem = f"the model's context of {context_length} tokens leaves no room for a prompt"
            fix = f"set it below {context_length}, now {config.max_response_tokens}"
            raise InputError(problem, where="data.max_response_tokens", fix=fix)
        prompt = room if config.max_prompt_tokens is None else min(room, config.max_prompt_tokens)
        return cls(prompt=prompt, response=config.max_response_tokens, longest=max(map(len, tokenizer.get_vocab())))


@dataclass(kw_only=True)
class Fit:
    """Fits examples into the limits, one chunk after another.

    Attributes:
        config: The treatment of examples over a limit.
        template: Writes the prompts.
        limits: The limits.
        ending: The tokens after a response.
        stop_ids: All tokens that end a response.
        watch: Sees every example that is kept.
        kept: The examples that fit.
        skipped: The place and the problem of each wrong example.
        counts: The numbers of examples over a limit.
    """

    config: DataConfig
    template: PromptTemplate
    limits: LengthLimits
    ending: list[int]
    stop_ids: tuple[int, ...]
    watch: Watch
    kept: list[EncodedExample] = field(default_factory=list)
    skipped: list[tuple[str, str]] = field(default_factory=list)
    counts: Counter[str] = field(default_factory=Counter)

    def add(self, examples: Sequence[Example]) -> None:
        """Encodes a chunk.

        Raises:
            InputError: An example is wrong, and `skip_invalid` is off; or it is over a limit, and that is an error.
        """
        written = [(example, text) for example in examples if (text := self._written(example)) is not None]
        prompts = self.template.prompt_ids([example for example, _ in written], [text for _, text in written])
        texts = [[self._bounded(text, self.limits.response) for text in answers(example)] for example, _ in written]
        after = [ids[-1] if ids else 0 for ids in prompts]
        responses = _tokenize(texts, after, self.template)
        for (example, prompt), ids, answered in zip(written, prompts, responses, strict=True):
            try:
                self._add(example, prompt, ids, answered)
            except InputError as error:
                self._skip(error)

    def none_left(self) -> InputError:
        """Why no example is left."""
        if self.skipped:
            where, problem = self.skipped[0]
            text = f"no example is left: {len(self.skipped)} rows are invalid; the first, {where}: {problem}"
            return InputError(text, where="data", fix="mend the rows, or take another chat template")
        problem = (
            f"no example is left: {self.counts['dropped prompts']} prompts are over the limit of {self.limits.prompt} "
            f"tokens{self._longest('prompt')}, {self.counts['dropped responses']} responses are over the limit of "
            f"{self.limits.response}{self._longest('response')}"
        )
        fix = "raise data.max_prompt_tokens or data.max_response_tokens, or use a model with a longer context"
        return InputError(problem, where="data", fix=fix)

    def _longest(self, what: str) -> str:
        longest = self.counts[f"longest {what}"]
        return f" (the longest has {longest})" if longest else ""

    def _add(self, example: Example, prompt: str, ids: list[int] | None, answered: list[list[int]]) -> None:
        if ids is None:
            raise self.template.forged(example)
        self.counts["longest prompt"] = max(self.counts["longest prompt"], len(ids))
        prompt_ids = self._prompt(example, ids)
        fitted = None if prompt_ids is None else self._responses(example, answered, prompt_ids[-1])
        if prompt_ids is not None:
            self.watch.long.add(0, 1, str)
        if prompt_ids is None or fitted is None:
            return
        split = int(example.response is not None)
        self.kept.append(
            EncodedExample(
                index=example.index,
                prompt_ids=prompt_ids,
                expert_ids=fitted[0] if split else [],
                prompt=example.prompt,
                response=example.response,
                ground_truth=example.ground_truth,
                messages=example.messages,
                comparison=example.comparison,
                compared_ids=fitted[split:],
            )
        )
        self.watch.see(example, prompt, [prompt_ids, *fitted])

    def _written(self, example: Example) -> str | None:
        """The prompt as text; None where the example is left out before it is tokenised."""
        try:
            said = sum(len(turn["content"]) for turn in turns_of(example))
            if said > self.limits.prompt * self.limits.longest:
                problem = f"the prompt has {said:,} characters, which is over the limit of {self.limits.prompt} tokens"
                if not self._over(example, problem):
                    return None
            elif said > _MOST_CHARACTERS:
                problem = f"the prompt has {said:,} characters, more than can be tokenised at once"
                raise InputError(problem, where=place(example), fix=f"cut it to {_MOST_CHARACTERS:,}")
            text = self.template.prompt(example)
        except InputError as error:
            self._skip(error)
            return None
        return self._bounded(text, self.limits.prompt, tail=True)

    def _skip(self, error: InputError) -> None:
        if isinstance(error, _TooLongError):
            raise InputError(error.problem, where=error.where, fix=error.fix) from error
        if not self.config.skip_invalid:
            raise skippable([error]) from error
        self.skipped.append((error.where or "", error.problem))

    def _bounded(self, text: str, limit: int, *, tail: bool = False) -> str:
        """The part of a text that may fit into the limit; the rest need not be tokenised."""
        most = (limit + 1) * self.limits.longest
        if len(text) <= most:
            return text
        bos = self.template.tokenizer.bos_token or ""
        return (bos if text.startswith(bos) else "") + text[-most:] if tail else text[:most]

    def _over(self, example: Example, problem: str) -> bool:
        """Whether a prompt that is over the limit is cut rather than left out."""
        if self.config.overlong_prompt == "error":
            fix = "shorten it, raise data.max_prompt_tokens or lower data.max_response_tokens, or set " + (
                "data.overlong_prompt to drop or truncate-left"
            )
            raise _TooLongError(problem, where=_where(example), fix=fix)
        cut = self.config.overlong_prompt == "truncate-left"
        self.counts["dropped prompts"] += not cut
        if not cut:
            self.watch.long.add(1, 1, lambda: f"{_where(example)}: {problem}")
        return cut

    def _prompt(self, example: Example, ids: list[int]) -> list[int] | None:
        """The prompt within its limit, or None where the example is dropped."""
        limit = self.limits.prompt
        if len(ids) <= limit:
            return ids
        if not self._over(example, f"the prompt has {len(ids)} tokens, over the limit of {limit}"):
            return None
        self.counts["truncated prompts"] += 1
        # A bos stays in front, since models were trained to see it as the first token.
        head = ids[:1] if ids[0] == self.template.tokenizer.bos_token_id else []
        return head + ids[len(ids) - limit + len(head) :]

    def _responses(self, example: Example, answered: list[list[int]], after: int) -> list[list[int]] | None:
        """All responses within the limit, or None where the example is dropped."""
        fitted = []
        for text, ids in zip(answers(example), answered, strict=True):
            response = self._response(example, text, ids, after)
            if response is None:
                return None
            fitted.append(response)
        return fitted

    def _response(self, example: Example, text: str, ids: list[int], after: int) -> list[int] | None:
        """The response within its limit and with its end token, or None where the example is dropped."""
        tokenizer, limit = self.template.tokenizer, self.limits.response
        stop = next((index for index in ids if index in self.stop_ids), None)
        if stop is not None:
            problem = f"the response holds the end token '{tokenizer.convert_ids_to_tokens(stop)}'"
            fix = "remove it from the text: the end token is appended for you"
            raise InputError(problem, where=_where(example), fix=fix)
        if self.template.special_tokens != "tokens" and self.template.special.found(text):
            said = self.template.space + self._bounded(text, limit)
            (ids,) = following(tokenizer, [said], [after], split_special_tokens=True)
        whole = [*ids, *self.ending]
        self.counts["longest response"] = max(self.counts["longest response"], len(whole))
        if len(whole) <= limit:
            return whole
        if self.config.overlong_response == "error":
            problem = f"the response has {len(whole)} tokens with its end token, over the limit of {limit}"
            fix = "shorten it, raise data.max_response_tokens, or set data.overlong_response to truncate or drop"
            raise _TooLongError(problem, where=_where(example), fix=fix)
        if self.config.overlong_response == "drop":
            self.counts["dropped responses"] += 1
            return None
        return whole[:limit]


class _TooLongError(InputError):
    """An example is over a limit, and the setting for that is `error`; `skip_invalid` does not change it."""


def _tokenize(texts: list[list[str]], after: list[int], template: PromptTemplate) -> list[list[list[int]]]:
    behind = [token for token, group in zip(after, texts, strict=True) for _ in group]
    said = [template.space + text for group in texts for text in group]
    ids = iter(following(template.tokenizer, said, behind))
    return [[next(ids) for _ in group] for group in texts]


def _where(example: Example) -> str:
    return f"{place(example)} ({shortened(example.prompt)})"
