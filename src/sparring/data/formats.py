"""The shapes that a row of data may have, and how each becomes an `Example`."""

from __future__ import annotations

import json
from collections.abc import Callable, Collection, Mapping
from dataclasses import dataclass
from typing import Any

from sparring.errors import InputError, did_you_mean
from sparring.types import Example

_CHAT_ROLES = {"system": "system", "user": "user", "assistant": "assistant"}
_SHAREGPT_ROLES = {"system": "system", "human": "user", "gpt": "assistant"}


@dataclass(frozen=True, kw_only=True)
class Record:
    """One row on its way to an `Example`, with what an error needs to point at it.

    Attributes:
        index: Its place in the source, from 0.
        where: The file and line or row, as a person counts them.
        values: The row, by the file's own column names.
        columns: Our field name to the file's column name, where they differ.
    """

    index: int
    where: str
    values: Mapping[str, Any]
    columns: Mapping[str, str]

    def error(self, field: str, problem: str, fix: str, *, inside: str = "") -> InputError:
        """An error at a field, or at a place inside it such as `[2].content`, under the file's own name."""
        name = self.columns.get(field, field)
        return InputError(problem, where=f"{self.where}, field '{name}{inside}'", fix=fix)

    def value(self, field: str) -> Any:
        """The field's value; an error where it is absent or null."""
        value = self.values.get(self.columns.get(field, field))
        if value is None:
            raise self.error(field, "is missing", "give every row this field")
        return value

    def has(self, field: str) -> bool:
        """Whether the field is there and not null."""
        return self.values.get(self.columns.get(field, field)) is not None

    def text(self, field: str, *, blank: bool = False) -> str:
        """The field as text; `blank` allows nothing but white space."""
        return self.check_text(field, self.value(field), blank=blank)

    def check_text(self, field: str, value: Any, *, inside: str = "", blank: bool = False) -> str:
        """`value` if it is text that a tokenizer can take.

        Raises:
            InputError: It is no text, is empty, holds a NUL, or cannot be written as UTF-8.
        """
        if not isinstance(value, str):
            fix = "write it as text, in quotes"
            raise self.error(field, f"must be text, got {type(value).__name__}", fix, inside=inside)
        if "\0" in value:
            raise self.error(field, "holds a NUL character", "remove the character", inside=inside)
        if any("\ud800" <= character <= "\udfff" for character in value):
            fix = "write the character as UTF-8 rather than as half of a \\u escape"
            raise self.error(field, "holds a lone surrogate, which is no character", fix, inside=inside)
        if not blank and not value.strip():
            raise self.error(field, "is empty", "fill it in or remove the row", inside=inside)
        return value


@dataclass(frozen=True, kw_only=True)
class Format:
    """A shape of rows.

    Attributes:
        fields: The columns that it needs; they also tell it from the other formats.
        optional: Columns that it reads where they are there.
        parse: Turns one row into an example.
    """

    fields: tuple[str, ...]
    optional: tuple[str, ...] = ()
    parse: Callable[[Record], Example]


def detect(columns: Collection[str], mapping: Mapping[str, str], *, where: str) -> str:
    """The name of the one format that the columns fit.

    Args:
        columns: The file's column names.
        mapping: Our field name to the file's column name; a format that does not know a mapped field is out.
        where: The file, for the error.

    Raises:
        InputError: The columns fit no format or several.
    """
    ours = set(columns) | set(mapping)
    fitting = [
        name
        for name, item in FORMATS.items()
        if ours.issuperset(item.fields) and set(mapping) <= {*item.fields, *item.optional}
    ]
    if len(fitting) == 1:
        return fitting[0]
    found = ", ".join(sorted(columns)) or "none"
    if fitting:
        problem = f"the columns ({found}) fit several formats: {', '.join(fitting)}"
        raise InputError(problem, where=where, fix="choose one with data.format")
    needs = "; ".join(f"{name}: {' + '.join(item.fields)}" for name, item in FORMATS.items())
    fix = f"map them with data.columns, e.g. {{prompt: question, response: answer}}. The formats need {needs}"
    raise InputError(f"the columns ({found}) fit no format", where=where, fix=fix)


def _prompt_response(record: Record) -> Example:
    return _pair(record, "response")


def _prompt_completion(record: Record) -> Example:
    return _pair(record, "completion")


def _pair(record: Record, answer: str) -> Example:
    """A prompt and its answer, each either text or a list of messages."""
    prompt_is_chat = isinstance(record.value("prompt"), list)
    answer_is_chat = isinstance(record.value(answer), list)
    if not prompt_is_chat and not answer_is_chat:
        return Example(index=record.index, prompt=record.text("prompt"), response=record.text(answer))
    if prompt_is_chat:
        turns = _turns(record, "prompt", role="role", content="content", roles=_CHAT_ROLES)
    else:
        turns = [{"role": "user", "content": record.text("prompt")}]
    if answer_is_chat:
        reply = _turns(record, answer, role="role", content="content", roles=_CHAT_ROLES)
        if len(reply) != 1:
            fix = "move the earlier turns to the prompt"
            raise record.error(answer, f"must be one assistant message, got {len(reply)} messages", fix)
    else:
        reply = [{"role": "assistant", "content": record.text(answer)}]
    return _conversation(record, answer, turns + reply)


def _messages(record: Record) -> Example:
    turns = _turns(record, "messages", role="role", content="content", roles=_CHAT_ROLES)
    return _conversation(record, "messages", turns)


def _sharegpt(record: Record) -> Example:
    turns = _turns(record, "conversations", role="from", content="value", roles=_SHAREGPT_ROLES)
    return _conversation(record, "conversations", turns)


def _alpaca(record: Record) -> Example:
    prompt = record.text("instruction")
    extra = record.text("input", blank=True) if record.has("input") else ""
    if extra.strip():
        prompt = f"{prompt}\n\n{extra}"
    return Example(index=record.index, prompt=prompt, response=record.text("output"))


FORMATS: dict[str, Format] = {
    "prompt-response": Format(fields=("prompt", "response"), parse=_prompt_response),
    "prompt-completion": Format(fields=("prompt", "completion"), parse=_prompt_completion),
    "messages": Format(fields=("messages",), parse=_messages),
    "alpaca": Format(fields=("instruction", "output"), optional=("input",), parse=_alpaca),
    "sharegpt": Format(fields=("conversations",), parse=_sharegpt),
}


def _conversation(record: Record, field: str, turns: list[dict[str, str]]) -> Example:
    """The last assistant turn is the response, all before it the prompt."""
    roles = [turn["role"] for turn in turns]
    if roles[-1] != "assistant":
        fix = "end the conversation with the expert's turn, or remove what follows it"
        raise record.error(field, f"must end with an assistant turn, ends with a {roles[-1]} turn", fix)
    if len(roles) < 2 or roles[-2] != "user":
        before = f"role '{roles[-2]}'" if len(roles) > 1 else "nothing"
        fix = "put the user's turn that the response answers before it"
        raise record.error(field, f"must have a user turn before the last assistant turn, has {before} there", fix)
    prompt = tuple(turns[:-1])
    return Example(index=record.index, messages=prompt, prompt=prompt[-1]["content"], response=turns[-1]["content"])


def _turns(record: Record, field: str, *, role: str, content: str, roles: Mapping[str, str]) -> list[dict[str, str]]:
    value = record.value(field)
    if isinstance(value, str):
        value = _from_json(record, field, value)
    if not isinstance(value, list):
        fix = f"write a list of {{{role}, {content}}} objects"
        raise record.error(field, f"must be a list of messages, got {type(value).__name__}", fix)
    if not value:
        raise record.error(field, "is empty", "fill it in or remove the row")
    return [
        _turn(record, field, turn, inside=f"[{position}]", role=role, content=content, roles=roles)
        for position, turn in enumerate(value)
    ]


def _turn(
    record: Record, field: str, turn: Any, *, inside: str, role: str, content: str, roles: Mapping[str, str]
) -> dict[str, str]:
    if not isinstance(turn, dict):
        fix = f"write it as {{{role}, {content}}}"
        raise record.error(field, f"must be an object, got {type(turn).__name__}", fix, inside=inside)
    for key in (role, content):
        if turn.get(key) is None:
            raise record.error(field, "is missing", "give every message this field", inside=f"{inside}.{key}")
    speaker = record.check_text(field, turn[role], inside=f"{inside}.{role}")
    if speaker not in roles:
        problem, fix = f"unknown role '{speaker}'", did_you_mean(speaker, roles)
        raise record.error(field, problem, fix, inside=f"{inside}.{role}")
    if turn.get("tool_calls"):
        fix = "remove the row, or write the call as text"
        raise record.error(field, "tool calls are not supported", fix, inside=f"{inside}.tool_calls")
    # An empty system turn is common, and it means something: it stands in for a template's default one.
    blank = roles[speaker] == "system"
    text = record.check_text(field, turn[content], inside=f"{inside}.{content}", blank=blank)
    return {"role": roles[speaker], "content": text}


def _from_json(record: Record, field: str, value: str) -> Any:
    """A list of messages as a CSV file holds it: JSON in a cell."""
    try:
        return json.loads(value)
    except (ValueError, RecursionError) as error:
        fix = "write the list of messages as JSON"
        raise record.error(field, "must be a list of messages, got text that is not JSON", fix) from error
