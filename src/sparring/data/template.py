"""Turns an example's prompt into the exact text that the model sees, and finds what ends a response."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

from sparring.errors import InputError
from sparring.types import Example

if TYPE_CHECKING:
    from transformers import PreTrainedTokenizerBase

_SETTING = "data.chat_template"
_SENTINEL = "sparringsentinel"


def chat_template(setting: str) -> str | None:
    """The text of the Jinja file that `data.chat_template` names; None for `auto` and `none`, which name no file.

    Raises:
        InputError: The file is missing or is no text.
    """
    if setting in {"auto", "none"}:
        return None
    try:
        return Path(setting).expanduser().read_text(encoding="utf-8")
    except (OSError, UnicodeDecodeError) as error:
        problem = f"the chat template '{setting}' cannot be read: {error}"
        raise InputError(problem, where=_SETTING, fix="give auto, none or the path of a Jinja file") from error


@dataclass(frozen=True, kw_only=True)
class PromptTemplate:
    """A tokenizer with the chat template that was chosen for it.

    Attributes:
        tokenizer: The model's tokenizer.
        chat: Whether a chat template is applied; otherwise prompts are plain text.
        jinja: The template's text where it is the user's; None takes the tokenizer's own.
    """

    tokenizer: PreTrainedTokenizerBase
    chat: bool
    jinja: str | None = None

    @classmethod
    def choose(cls, tokenizer: PreTrainedTokenizerBase, setting: str) -> PromptTemplate:
        """Reads `data.chat_template`: `auto`, `none` or the path of a Jinja file.

        Raises:
            InputError: The file is missing or is no text.
        """
        if setting == "none":
            return cls(tokenizer=tokenizer, chat=False)
        if setting == "auto":
            return cls(tokenizer=tokenizer, chat=bool(tokenizer.chat_template))
        return cls(tokenizer=tokenizer, chat=True, jinja=chat_template(setting))

    def prompt(self, example: Example) -> str:
        """The prompt as text, ready for the response to follow.

        Raises:
            InputError: It is a chat that plain text cannot hold, or the template fails on it.
        """
        turns = _turns(example)
        if self.chat:
            return self._render(turns, f"data row {example.index + 1}", add_generation_prompt=True)
        if len(turns) > 1:
            shape = "a system turn" if turns[0]["role"] == "system" else "several turns"
            problem = f"the prompt has {shape}, but there is no chat template to write it with"
            fix = f"set {_SETTING} to a Jinja file, or to auto with a tokenizer that has one, or use plain prompts"
            raise InputError(problem, where=f"data row {example.index + 1}", fix=fix)
        return example.prompt

    def tokenize_prompts(self, prompts: list[str]) -> list[list[int]]:
        """Token ids of prompts: a rendered chat has its special tokens already, plain text gets the tokenizer's."""
        ids: list[list[int]] = self.tokenizer(prompts, add_special_tokens=not self.chat)["input_ids"]
        end = self.tokenizer.eos_token_id
        if self.chat or end is None:
            return ids
        # Some tokenizers close every text with the end token; a prompt goes on with the response.
        return [row[:-1] if len(row) > 1 and row[-1] == end else row for row in ids]

    def mismatches(self, example: Example, prompt: str) -> bool:
        """Whether the whole conversation, rendered at once, begins otherwise than prompt and response do."""
        if not self.chat or example.response is None:
            return False
        turns = [*_turns(example), {"role": "assistant", "content": example.response}]
        whole = self._render(turns, f"data row {example.index + 1}", add_generation_prompt=False)
        return not whole.startswith(prompt + example.response)

    def end_id(self) -> int:
        """The token that ends a response: what the chat template puts after an assistant turn, else eos.

        Raises:
            InputError: The template leaves out the assistant's words, or there is no end token at all.
        """
        eos = self.tokenizer.eos_token_id
        found = self._end_of_turn() if self.chat else None
        end: int | None = eos if found is None else found
        if end is None:
            fix = "give the tokenizer an eos_token, or a chat template that ends turns with a special token"
            raise InputError("the tokenizer has no token that ends a response", where="model", fix=fix)
        return end

    def stop_ids(self) -> tuple[int, ...]:
        """Every token that ends a response, ascending: `end_id` and the tokenizer's eos."""
        return tuple(sorted({self.end_id(), self.tokenizer.eos_token_id} - {None}))

    def _end_of_turn(self) -> int | None:
        turns = [{"role": "user", "content": "Hello"}, {"role": "assistant", "content": _SENTINEL}]
        whole = self._render(turns, "a conversation of two turns", add_generation_prompt=False)
        _, found, tail = whole.rpartition(_SENTINEL)
        if not found:
            problem = "the chat template does not write what the assistant says"
            raise InputError(problem, where=_SETTING, fix="have it render the content of every message")
        added = self.tokenizer.added_tokens_decoder.items()
        special = {*self.tokenizer.all_special_ids, *(index for index, token in added if token.special)}
        ids: list[int] = self.tokenizer(tail, add_special_tokens=False)["input_ids"]
        return next((index for index in ids if index in special), None)

    def _render(self, turns: list[dict[str, str]], what: str, **options: Any) -> str:
        try:
            text: str = self.tokenizer.apply_chat_template(
                turns, chat_template=self.jinja, tokenize=False, return_dict=False, **options
            )
        except Exception as error:
            problem = f"the chat template fails on {what}: {type(error).__name__}: {error}"
            fix = "mend the template, or remove the turns that it does not take"
            raise InputError(problem, where=_SETTING, fix=fix) from error
        return text


def _turns(example: Example) -> list[dict[str, str]]:
    return [{"role": "user", "content": example.prompt}] if example.messages is None else list(example.messages)
