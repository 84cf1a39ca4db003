"""Turns an example's prompt into the exact text that the model sees, and finds the tokens that end a response."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from functools import cached_property
from typing import TYPE_CHECKING, Any, Literal, Self

from sparring.data.chats import Turn
from sparring.data.clock import Clock
from sparring.data.jinja import CLOCK, check_program, unset_variables, with_defaults
from sparring.data.limited import limited
from sparring.data.special_tokens import SpecialTokens
from sparring.errors import InputError
from sparring.examples import Example
from sparring.following import end_of_turn, space_between
from sparring.inputs import is_text, read_text
from sparring.inputs import place as path_of

if TYPE_CHECKING:
    from transformers import PreTrainedTokenizerBase

SpecialTokensSetting = Literal["auto", "text", "tokens"]

_SETTING = "data.chat_template"
_SENTINEL = "sparringsentinel"
_ASKED: list[Turn] = [{"role": "user", "content": "Hello"}]
_ANSWERED: list[Turn] = [*_ASKED, {"role": "assistant", "content": _SENTINEL}]
# Limits that no conversation reaches: seconds for one rendering, and characters of its text.
_SECONDS, _LONGEST = 20.0, 4 * 2**20


def chat_template(setting: str) -> str | None:
    """The text of the Jinja file that `data.chat_template` names; None for `auto` and `none`, which name no file.

    Raises:
        InputError: The file is missing or is no text.
    """
    if setting in {"auto", "none"}:
        return None
    try:
        return read_text(path_of(setting), fix="give auto, none or the path of a Jinja file")
    except InputError as error:
        problem = f"the chat template '{setting}' cannot be read: {error.problem}"
        raise InputError(problem, where=_SETTING, fix=error.fix) from error


@dataclass(frozen=True, kw_only=True)
class PromptTemplate:
    """A tokenizer with the chat template that was chosen for it.

    Attributes:
        tokenizer: The model's tokenizer.
        chat: Whether a chat template is applied; otherwise prompts are plain text.
        jinja: The template's text where it is the user's; None takes the tokenizer's own.
        options: Values of the template's variables.
        clock: The time that the template sees; None for the time of rendering.
        special_tokens: As `DataConfig.special_tokens`.
        end_ids: The tokens at which the model's own `generate` stops, which end a response too.
    """

    tokenizer: PreTrainedTokenizerBase
    chat: bool
    jinja: str | None = None
    options: Mapping[str, Any] = field(default_factory=dict)
    clock: Clock | None = None
    special_tokens: SpecialTokensSetting = "auto"
    end_ids: frozenset[int] = frozenset()

    @classmethod
    def choose(
        cls,
        tokenizer: PreTrainedTokenizerBase,
        setting: str,
        *,
        options: Mapping[str, Any] | None = None,
        clock: Clock | None = None,
        special_tokens: SpecialTokensSetting = "auto",
        end_ids: frozenset[int] = frozenset(),
    ) -> Self:
        """Reads `data.chat_template`: `auto`, `none` or the path of a Jinja file.

        Raises:
            InputError: The file is missing or is no text, or of the tokenizer's templates none is the default.
        """
        named = tokenizer.chat_template
        if setting == "auto" and isinstance(named, dict) and "default" not in named:
            problem = f"the tokenizer has chat templates named {', '.join(sorted(named))}, and none named default"
            raise InputError(
                problem, where=_SETTING, fix="write the one that is meant into a Jinja file, and name that"
            )
        return cls(
            tokenizer=tokenizer,
            chat=setting != "none" and (setting != "auto" or bool(tokenizer.chat_template)),
            jinja=chat_template(setting),
            options=options or {},
            clock=clock,
            special_tokens=special_tokens,
            end_ids=end_ids,
        )

    @cached_property
    def special(self) -> SpecialTokens:
        """The tokenizer's special tokens."""
        return SpecialTokens(self.tokenizer)

    @property
    def text(self) -> str | None:
        """The chat template itself; None where prompts are plain text."""
        if not self.chat:
            return None
        template: str = self.tokenizer.get_chat_template() if self.jinja is None else self.jinja
        return template

    def unset_variables(self) -> list[str]:
        """The variables that the chat template reads and that nobody sets, such as `enable_thinking`."""
        given = {*self.options, *self.tokenizer.special_tokens_map}
        try:
            if self.text is None:
                return []
            # Checked first, since Jinja computes constant expressions when it parses a template.
            check_program(self.text)
            return unset_variables(self.text, given)
        except Exception as error:
            # Where it is no template, Jinja keeps the line apart from the words.
            line = f", line {error.lineno}" if hasattr(error, "lineno") else ""
            problem = f"{type(error).__name__}: {error}"
            raise InputError(problem, where=f"{_SETTING}{line}", fix="mend the template") from error

    @cached_property
    def _program(self) -> str | None:
        """The compiled template, checked to be safe to run."""
        if self.text is not None:
            check_program(self.text)
        return self.jinja

    def standalone(self) -> str | None:
        """The chat template with the options and the clock written into it, for use outside of sparring."""
        return None if self.text is None else with_defaults(self.text, self.options, self.clock)

    def prompt(self, example: Example) -> str:
        """The prompt as text, ready for the response to follow.

        Raises:
            InputError: It is a chat that plain text cannot hold, or the template refuses it; it names the turn.
        """
        turns = turns_of(example)
        if self.chat:
            try:
                return self.render(turns)
            except InputError as error:
                raise self._refused(example, turns, error.problem) from error
        if len(turns) > 1:
            shape = "a system turn" if turns[0]["role"] == "system" else "several turns"
            problem = f"the prompt has {shape}, but there is no chat template to write it with"
            fix = f"set {_SETTING} to a Jinja file, or to auto with a tokenizer that has one, or use plain prompts"
            raise InputError(problem, where=place(example), fix=fix)
        return example.prompt

    def tokenize_prompts(self, prompts: list[str]) -> list[list[int]]:
        """Token ids of prompts: a rendered chat has its special tokens already, plain text gets the tokenizer's.

        If a plain prompt already begins with the token that the tokenizer puts first, it is not repeated.
        """
        split = {"split_special_tokens": True} if self.special_tokens == "text" and not self.chat else {}
        # Not verbose, since transformers would warn of texts beyond the model's context, which are left out anyway.
        ids = self.tokenizer(prompts, add_special_tokens=not self.chat, verbose=False, **split)["input_ids"]
        return [self._trimmed(list(row), text) for row, text in zip(ids, prompts, strict=True)]

    @cached_property
    def space(self) -> str:
        """The white space that the template puts before a response; mostly empty."""
        if not self.chat:
            return ""
        return space_between(self.tokenizer, self.render(_ASKED), self._written(_ANSWERED), _SENTINEL)

    def prompt_ids(self, examples: Sequence[Example], prompts: Sequence[str]) -> list[list[int] | None]:
        """Token ids of rendered prompts; in them a turn's text makes no special token, unless `special_tokens` says so.

        Returns:
            For each prompt its token ids; None where the text of a special token in it cannot be kept apart.
        """
        ids: list[list[int] | None] = [*self.tokenize_prompts(list(prompts))] if prompts else []
        if self.chat and self.special_tokens != "tokens":
            for number, example in enumerate(examples):
                if self.special_in(example):
                    ids[number] = self.special.prompt(turns_of(example), self.render)
        return ids

    def safe_prompts(self, examples: Sequence[Example]) -> list[list[int]]:
        """Token ids of prompts, as `prompt_ids`, with an error where there are none.

        Raises:
            InputError: The template refuses a prompt, or the text of a special token in it cannot be kept apart.
        """
        found = self.prompt_ids(examples, [self.prompt(example) for example in examples])
        for example, ids in zip(examples, found, strict=True):
            if ids is None:
                raise self.forged(example)
        return [ids for ids in found if ids is not None]

    def forged(self, example: Example) -> InputError:
        """What is wrong with a prompt for which `prompt_ids` returns None."""
        names = ", ".join(sorted({*self.special_in(example)}))
        problem = f"the prompt holds the text of {names}, which cannot be told from the token itself here"
        fix = "remove the text, or set data.special_tokens: tokens where it stands for the token"
        return InputError(problem, where=place(example), fix=fix)

    def special_in(self, example: Example) -> list[str]:
        """The special tokens whose text occurs in the prompt's turns."""
        return [name for turn in turns_of(example) for name in self.special.found(turn["content"])]

    def whole(self, example: Example, response: str) -> str:
        """The prompt and the response as one conversation."""
        return self._written([*turns_of(example), {"role": "assistant", "content": response}])

    @cached_property
    def ending(self) -> list[int]:
        """The tokens after a response: those that the chat template writes to end an assistant's turn, else eos.

        Raises:
            InputError: The template leaves out the assistant's words, or there is no end token at all.
        """
        eos = self.tokenizer.eos_token_id
        found = self._end_of_turn() if self.chat else []
        if not found and eos is None:
            fix = "give the tokenizer an eos_token, or a chat template that ends turns with a special token"
            raise InputError("the tokenizer has no token that ends a response", where="model", fix=fix)
        return found or [eos]

    def stop_ids(self) -> tuple[int, ...]:
        """Every token that ends a response, ascending: `ending`'s last, the tokenizer's eos and `end_ids`."""
        return tuple(sorted({self.ending[-1], self.tokenizer.eos_token_id, *self.end_ids} - {None}))

    def render(self, turns: list[Turn]) -> str:
        """Turns as a prompt, ready for the response to follow.

        Raises:
            InputError: The template fails.
        """
        return self._render(turns, generation_prompt=True)

    def _written(self, turns: list[Turn]) -> str:
        return self._render(turns, generation_prompt=False)

    def _end_of_turn(self) -> list[int]:
        try:
            found = end_of_turn(self.tokenizer, self._written, _ANSWERED, self.end_ids)
        except InputError as error:
            problem = f"the chat template fails on a conversation of two turns: {error.problem}"
            raise InputError(problem, where=_SETTING, fix="mend the template") from error
        if found is None:
            problem = "the chat template does not write what the assistant says"
            raise InputError(problem, where=_SETTING, fix="have it render the content of every message")
        return found

    def _refused(self, example: Example, turns: list[Turn], reason: str) -> InputError:
        """The error with the turn at which the template fails: the last turn of the shortest failing beginning."""
        number = next((n for n in range(1, len(turns)) if self._failure(turns[:n]) == reason), len(turns))
        turn = f"turn {number} of {len(turns)}, the {turns[number - 1]['role']}'s"
        return InputError(
            f"the chat template fails at {turn}: {reason}",
            where=place(example),
            fix="remove the turns that it does not take, or mend the template (data.chat_template)",
        )

    def _failure(self, turns: list[Turn]) -> str | None:
        try:
            self.render(turns)
        except InputError as error:
            return error.problem
        return None

    def _trimmed(self, ids: list[int], text: str) -> list[int]:
        """Token ids without a repeated first token, or an end token that the tokenizer puts after the prompt."""
        bos, eos = self.tokenizer.bos_token_id, self.tokenizer.eos_token_id
        while bos is not None and len(ids) > 1 and ids[0] == ids[1] == bos:
            del ids[0]
        if not self.chat and eos is not None and len(ids) > 1 and ids[-1] == eos:
            # Some tokenizers put the end token after every text; one that the prompt itself ends with stays.
            own = text.endswith(self.tokenizer.eos_token) and ids[-2] != eos
            return ids if own else ids[:-1]
        return ids

    def _render(self, turns: list[Turn], *, generation_prompt: bool) -> str:
        frozen = {} if self.clock is None else {CLOCK: self.clock.strftime}
        try:
            with limited(_SECONDS):
                text: str = self.tokenizer.apply_chat_template(
                    turns,
                    chat_template=self._program,
                    tokenize=False,
                    return_dict=False,
                    add_generation_prompt=generation_prompt,
                    **{**self.options, **frozen},
                )
        except Exception as error:
            raise InputError(f"{type(error).__name__}: {error}", where=_SETTING) from error
        if len(text) > _LONGEST:
            raise InputError(f"it writes {len(text):,} characters", where=_SETTING)
        if not is_text(text):
            raise InputError("it writes half a character, which is none", where=_SETTING)
        return text


def turns_of(example: Example) -> list[Turn]:
    """The prompt as turns; a plain prompt becomes a single user turn."""
    return [{"role": "user", "content": example.prompt}] if example.messages is None else list(example.messages)


def answers(example: Example) -> list[str]:
    """The expert's response, if there is one, and the compared responses, if there are any."""
    expert = [] if example.response is None else [example.response]
    return expert if example.comparison is None else [*expert, *example.comparison.responses]


def place(example: Example) -> str:
    """The place of an example for people: its file and line, or its number."""
    return example.where or f"data row {example.index + 1}"
