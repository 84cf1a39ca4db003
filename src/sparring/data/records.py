"""A row of data on its way to an `Example`: access to its fields, and errors that name file, row and field."""

from __future__ import annotations

import math
from collections.abc import Collection, Mapping
from dataclasses import dataclass, field
from decimal import Decimal
from typing import Any

from sparring.data.chats import (
    PART_KEYS,
    ROLES,
    TOOL_ROLES,
    WEIGHTS,
    Turn,
    by_message,
    refusal,
    transcript,
    weight_problem,
    writes_messages,
)
from sparring.errors import InputError, did_you_mean
from sparring.inputs import is_nan, is_nothing, joined_parts, other_part, text_problem
from sparring.json_text import RepeatedKeyError, from_json

_ROLE_KEYS, _CONTENT_KEYS = ("role", "from"), ("content", "value")


@dataclass(frozen=True, kw_only=True)
class RowReading:
    """How the rows of one source are read.

    Attributes:
        columns: Our field name to the file's column name, or to the key of a message for `role` and `content`.
        roles: The file's names of roles, each with the usual name.
        ignored: Columns, and keys of messages, whose content may be left out.
        unread: Collects the columns and keys that hold content and are not read.
    """

    columns: Mapping[str, str] = field(default_factory=dict)
    roles: Mapping[str, str] = field(default_factory=dict)
    ignored: frozenset[str] = frozenset()
    unread: set[str] = field(default_factory=set)


@dataclass(frozen=True, kw_only=True)
class Record:
    """One row on its way to an `Example`, with its place for errors.

    Attributes:
        index: Its number in the source, from 0.
        where: The file and the line or row, as a person counts them.
        values: The row, by the file's own column names.
        reading: How the source is read.
    """

    index: int
    where: str
    values: Mapping[str, Any]
    reading: RowReading

    def error(self, field: str, problem: str, fix: str, *, inside: str = "") -> InputError:
        """An error at a field, or at a place inside it such as `[2].content`, under the file's own name."""
        return InputError(problem, where=f"{self.where}, field '{self._name(field)}{inside}'", fix=fix)

    def value(self, field: str) -> Any:
        """The field's value; an error where it is absent or null."""
        value = self._get(field)
        if value is None:
            raise self.error(field, self._absent(self._name(field), self.values), "give every row this field")
        return value

    def has(self, field: str) -> bool:
        """Whether the field is there and not null."""
        return self._get(field) is not None

    def text(self, field: str, *, blank: bool = False) -> str:
        """The field as text; `blank` allows a text of white space only."""
        return self.check_text(field, self.value(field), blank=blank)

    def spoken(self, field: str) -> Any:
        """The field's value: a text, a message or a list of messages; messages that a cell holds as JSON are parsed.

        In a row without a prompt, a transcript (a text that names the speaker of each turn) is parsed too.
        """
        value = self.value(field)
        if isinstance(value, str) and writes_messages(value):
            value = self._from_json(field, value, "list of messages")
        if isinstance(value, dict):
            return by_message(value)
        said = transcript(value) if isinstance(value, str) and not self.has("prompt") else None
        return value if said is None else said

    def text_or_number(self, field: str) -> str:
        """The field as text; a number is written out, without an exponent."""
        value = self.value(field)
        if isinstance(value, int | float) and not isinstance(value, bool) and math.isfinite(value):
            return format(Decimal(repr(value)), "f")
        return self.check_text(field, value)

    def check_text(self, field: str, value: Any, *, inside: str = "", blank: bool = False) -> str:
        """`value` if it is text that a tokenizer can take.

        Raises:
            InputError: It is no text, is empty, holds a NUL, or cannot be encoded as UTF-8.
        """
        if (wrong := text_problem(value, blank=blank)) is not None:
            raise self.error(field, wrong.problem, str(wrong.fix), inside=inside)
        text: str = value
        return text

    def items(self, field: str, what: str = "list") -> list[Any]:
        """The field as a list, at least one item long; a CSV file holds one as JSON in a cell."""
        return self._listed(field, self.value(field), what)

    def _listed(self, field: str, value: Any, what: str) -> list[Any]:
        if isinstance(value, str):
            value = self._from_json(field, value, what)
        if not isinstance(value, list):
            raise self.error(field, f"must be a {what}, got {type(value).__name__}", f"write a {what}")
        if not value:
            raise self.error(field, "is empty", "fill it in or remove the row")
        return value

    def turns(self, field: str) -> list[Turn]:
        """The field as messages, one or a list, each `{"role": …, "content": …}` under the usual names.

        Raises:
            InputError: A message has not this form, its role is unknown, it holds content that sparring cannot show to
                a model, or the last one, the assistant's, is marked as not to be trained on.
        """
        value = self.spoken(field)
        messages = [value] if isinstance(value, dict) else self._listed(field, value, "list of messages")
        turns = [self._turn(field, turn, f"[{position}]") for position, turn in enumerate(messages)]
        wrong = weight_problem(messages[-1], self.reading.ignored) if turns[-1]["role"] == "assistant" else None
        if wrong is not None:
            fix = "end the conversation before it, or remove the row"
            raise self.error(field, f"is not to be trained on ({wrong})", fix, inside=f"[{len(turns) - 1}]")
        return turns

    def before(self) -> list[Turn]:
        """The turns before the prompt that other columns hold: a `system` turn, and those of a `history`."""
        system: list[Turn] = []
        if not self.is_nothing("system"):
            text = self.check_text("system", joined_parts(self.value("system")))
            system = [{"role": "system", "content": text}]
        if self.is_nothing("history"):
            return system
        shape = "list of [question, answer] pairs"
        items = self.items("history", shape)
        if all(isinstance(item, dict) for item in items):
            return system + self.turns("history")
        for position, pair in enumerate(items):
            if not isinstance(pair, list) or len(pair) != 2:
                fix = f"write a {shape}, or name another column with data.columns"
                raise self.error("history", f"must be a {shape}", fix, inside=f"[{position}]")
            for place, role in enumerate(("user", "assistant")):
                text = self.check_text("history", pair[place], inside=f"[{position}][{place}]")
                system.append({"role": role, "content": text})
        return system

    def is_nothing(self, field: str) -> bool:
        """Whether the field is absent, null or empty."""
        return is_nothing(self._get(field))

    def check_unread(self, read: Collection[str]) -> None:
        """Notes the columns that no field reads, and refuses those with content that the model would have to see.

        Args:
            read: The fields that were read.
        """
        names = {self._name(field) for field in read} | self.reading.ignored
        for column, value in self.values.items():
            if column not in names and not is_nothing(value):
                cure = refusal(column, value, in_message=False)
                if cure is not None:
                    raise InputError(cure.problem, where=f"{self.where}, field '{column}'", fix=cure.fix)
                self.reading.unread.add(column)

    def _absent(self, name: str, values: Mapping[str, Any]) -> str:
        """What is wrong with a value that is absent or empty."""
        return "is null" if name in values and name not in self.reading.ignored else "is missing"

    def _name(self, field: str) -> str:
        return self.reading.columns.get(field, field)

    def _get(self, field: str) -> Any:
        name = self._name(field)
        value = self.values.get(name)
        return None if name in self.reading.ignored or is_nan(value) else value

    def _turn(self, field: str, turn: Any, inside: str) -> Turn:
        role_key, content_key = self._keys(turn)
        if not isinstance(turn, dict):
            fix = f"write it as {{{role_key}, {content_key}}}"
            raise self.error(field, f"must be an object, got {type(turn).__name__}", fix, inside=inside)
        self._check_keys(field, turn, inside, {role_key, content_key, *WEIGHTS})
        for ours, key in (("role", role_key), ("content", content_key)):
            if turn.get(key) is None:
                fix = f"give every message this field, or name its key with data.columns, e.g. {{{ours}: text}}"
                raise self.error(field, self._absent(key, turn), fix, inside=f"{inside}.{key}")
        speaker = self.check_text(field, turn[role_key], inside=f"{inside}.{role_key}")
        role = self._role(field, speaker, f"{inside}.{role_key}")
        content = joined_parts(turn[content_key])
        kind = other_part(content)
        if kind is not None:
            problem, fix = f"holds a part that is no text ({kind}): sparring trains on text alone", "remove the row"
            raise self.error(field, problem, fix, inside=f"{inside}.{content_key}")
        if isinstance(turn[content_key], list) and isinstance(content, str):
            for part in turn[content_key]:
                self._check_keys(field, part, f"{inside}.{content_key}", PART_KEYS)
        # An empty system turn is common and has a meaning: it replaces a template's default system turn.
        text = self.check_text(field, content, inside=f"{inside}.{content_key}", blank=role == "system")
        return {"role": role, "content": text}

    def _keys(self, turn: Any) -> tuple[str, str]:
        """The keys of a message's role and content; where one is missing, the key that goes with the other."""
        held = turn if isinstance(turn, dict) else {}
        pair = int(not {"role", "content"} & held.keys() and bool({"from", "value"} & held.keys()))
        names = []
        for ours, keys in (("role", _ROLE_KEYS), ("content", _CONTENT_KEYS)):
            there = next((key for key in keys if held.get(key) is not None), keys[pair])
            names.append(self.reading.columns.get(ours, there))
        return names[0], names[1]

    def _role(self, field: str, speaker: str, inside: str) -> str:
        given = self.reading.roles.get(speaker)
        role = given or ROLES.get(speaker.strip().lower())
        if role is None:
            likely = {*ROLES, *self.reading.roles}
            fix = f"{did_you_mean(speaker, likely)}; or map it with data.roles, e.g. {{{speaker}: user}}"
            if speaker.strip().lower() in TOOL_ROLES:
                fix = (
                    "write a tool's call into an assistant's turn, as the model is to write it, and what the tool says "
                    "into a user's (data.roles maps names), or remove the row"
                )
            raise self.error(field, f"unknown role '{speaker}'", fix, inside=inside)
        return role

    def _check_keys(self, field: str, turn: Mapping[str, Any], inside: str, read: Collection[str]) -> None:
        for key, value in turn.items():
            if key in read or key in self.reading.ignored or is_nothing(value):
                continue
            cure = refusal(key, value, in_message=True)
            if cure is not None:
                raise self.error(field, cure.problem, cure.fix or "", inside=f"{inside}.{key}")
            self.reading.unread.add(f"{self._name(field)}[].{key}")

    def _from_json(self, field: str, value: str, what: str) -> Any:
        try:
            return from_json(value)
        except RepeatedKeyError as error:
            raise self.error(field, str(error), "remove one of the two") from error
        except (ValueError, RecursionError) as error:
            problem, fix = f"must be a {what}, got text that is not JSON", f"write the {what} as JSON"
            raise self.error(field, problem, fix) from error
