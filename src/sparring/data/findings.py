"""Findings on the rows that a person should know before training: how many rows, what it means, and an example."""

from __future__ import annotations

import html
import json
import re
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from difflib import SequenceMatcher

from sparring.data.chats import Turn
from sparring.errors import InputError

SHOWN = 40
"""The number of characters that are shown of a text."""

_MARKS = "⟦", "⟧"
_SIGNS = re.compile(r"[\W_]+")


@dataclass(frozen=True, kw_only=True)
class Observation:
    """A property of the rows that changes what is learned from them.

    Attributes:
        name: Its name for programs, of about two words.
        count: The number of rows that have it.
        of: The number of rows that were looked at.
        sentence: What it means and what to do about it, with both numbers.
        example: The first such row, with its place.
        warning: Whether it is a warning rather than a remark.
    """

    name: str
    count: int
    of: int
    sentence: str
    example: str
    warning: bool = True

    def __str__(self) -> str:
        return f"{self.sentence}\n  e.g. {self.example}"


@dataclass(kw_only=True)
class Count:
    """Counts the rows with some property, and keeps the first as an example."""

    count: int = 0
    of: int = 0
    example: str = ""

    def add(self, found: int, of: int, example: Callable[[], str]) -> None:
        """Counts `found` of `of` more; `example` is called for the first that is found."""
        if found and not self.count:
            self.example = example()
        self.count += found
        self.of += of

    def finding(self, name: str, sentence: str, *, warning: bool = True) -> Observation | None:
        """The finding, or None if the count is zero."""
        if not self.count:
            return None
        text = f"{self.count} of {self.of} {sentence}"
        return Observation(
            name=name, count=self.count, of=self.of, sentence=text, example=self.example, warning=warning
        )


@dataclass(kw_only=True)
class DroppedTurns:
    """Finds the turns whose words a chat template does not write.

    Whether the template writes a turn at all is tried with a word that occurs nowhere else, once for every order of
    roles. Whether it writes all words of a turn is looked up in the prompt, however it trims, escapes or capitalises.

    Attributes:
        render: Writes turns as a prompt.
    """

    render: Callable[[list[Turn]], str]
    _known: dict[tuple[str, ...], frozenset[int]] = field(default_factory=dict)

    def find(self, turns: Sequence[Turn], prompt: str) -> list[int]:
        """The positions of the turns that are dropped or cut."""
        roles = tuple(turn["role"] for turn in turns)
        if roles not in self._known:
            self._known[roles] = self._dropped(roles)
        return [
            position
            for position, turn in enumerate(turns)
            if turn["content"].strip() and (position in self._known[roles] or not _appears(turn["content"], prompt))
        ]

    def _dropped(self, roles: tuple[str, ...]) -> frozenset[int]:
        words = [f"sparringturn{position}x" for position in range(len(roles))]
        try:
            text = self.render([{"role": role, "content": word} for role, word in zip(roles, words, strict=True)])
        except InputError:
            # Whether this template writes a turn depends on its words, so the trial tells nothing; the prompt does.
            return frozenset()
        return frozenset(position for position, word in enumerate(words) if word not in text.lower())


def _appears(content: str, prompt: str) -> bool:
    if content.strip() in prompt:
        return True
    whole = _letters(prompt)
    forms = (content, json.dumps(content), json.dumps(content, ensure_ascii=False), html.escape(content))
    return any(_letters(form) in whole for form in forms)


def _letters(text: str) -> str:
    return _SIGNS.sub("", text).casefold()


def difference(joined: str, whole: str) -> str:
    """The first place where prompt and response, joined, differ from the whole conversation, marked in both."""
    start = next((i for i, (a, b) in enumerate(zip(joined, whole, strict=False)) if a != b), len(whole))
    ours, theirs = joined[start : start + 5 * SHOWN], whole[start : start + 5 * SHOWN]
    codes = SequenceMatcher(None, ours, theirs, autojunk=False).get_opcodes()
    _, i1, i2, j1, j2 = next((code for code in codes if code[0] != "equal"), ("equal", 0, 0, 0, 0))
    before = joined[max(0, start - SHOWN) : start]
    here, there = (_marked(before, text, a, b) for text, a, b in ((ours, i1, i2), (theirs, j1, j2)))
    return f"prompt and response: {here}; as one conversation: {there}"


def _marked(before: str, text: str, start: int, end: int) -> str:
    head, middle = before + text[:start], text[start:end]
    middle = middle if len(middle) <= 2 * SHOWN else f"{middle[: 2 * SHOWN]}…"
    # As Python literals, so that white space is visible.
    pieces = [repr(piece)[1:-1] for piece in (head, middle, text[end : end + SHOWN])]
    return f"…{pieces[0]}{_MARKS[0]}{pieces[1]}{_MARKS[1]}{pieces[2]}…"


def shortened(text: str) -> str:
    """The beginning of a text, as a Python literal."""
    return repr(text if len(text) <= SHOWN else f"{text[: SHOWN - 1]}…")
