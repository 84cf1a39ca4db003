"""One row of data on its way to an `Example`: what it holds, and where a person finds what is wrong with it."""

from __future__ import annotations

import json
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

from sparring.errors import InputError, did_you_mean

Turn = dict[str, str]


@dataclass(frozen=True)
class Chat:
    """How messages are written: the keys of a turn, and what the roles are called, each with its usual name."""

    role: str
    content: str
    roles: Mapping[str, str]


MESSAGES = Chat("role", "content", {"system": "system", "user": "user", "assistant": "assistant"})
SHAREGPT = Chat("from", "value", {"system": "system", "human": "user", "gpt": "assistant"})


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

    def items(self, field: str, what: str = "list") -> list[Any]:
        """The field as a list, at least one item long; a CSV file holds one as JSON in a cell."""
        value = self.value(field)
        if isinstance(value, str):
            value = self._from_json(field, value, what)
        if not isinstance(value, list):
            raise self.error(field, f"must be a {what}, got {type(value).__name__}", f"write a {what}")
        if not value:
            raise self.error(field, "is empty", "fill it in or remove the row")
        return value

    def turns(self, field: str, chat: Chat = MESSAGES) -> list[Turn]:
        """The field as messages, at least one, each `{"role": …, "content": …}` under the usual names."""
        messages = self.items(field, "list of messages")
        return [self._turn(field, turn, f"[{position}]", chat) for position, turn in enumerate(messages)]

    def _turn(self, field: str, turn: Any, inside: str, chat: Chat) -> Turn:
        if not isinstance(turn, dict):
            fix = f"write it as {{{chat.role}, {chat.content}}}"
            raise self.error(field, f"must be an object, got {type(turn).__name__}", fix, inside=inside)
        for key in (chat.role, chat.content):
            if turn.get(key) is None:
                raise self.error(field, "is missing", "give every message this field", inside=f"{inside}.{key}")
        speaker = self.check_text(field, turn[chat.role], inside=f"{inside}.{chat.role}")
        if speaker not in chat.roles:
            problem, fix = f"unknown role '{speaker}'", did_you_mean(speaker, chat.roles)
            raise self.error(field, problem, fix, inside=f"{inside}.{chat.role}")
        if turn.get("tool_calls"):
            fix = "remove the row, or write the call as text"
            raise self.error(field, "tool calls are not supported", fix, inside=f"{inside}.tool_calls")
        # An empty system turn is common, and it means something: it stands in for a template's default one.
        blank = chat.roles[speaker] == "system"
        text = self.check_text(field, turn[chat.content], inside=f"{inside}.{chat.content}", blank=blank)
        return {"role": chat.roles[speaker], "content": text}

    def _from_json(self, field: str, value: str, what: str) -> Any:
        try:
            return json.loads(value)
        except (ValueError, RecursionError) as error:
            problem, fix = f"must be a {what}, got text that is not JSON", f"write the {what} as JSON"
            raise self.error(field, problem, fix) from error
