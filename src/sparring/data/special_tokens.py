"""The text of special tokens in the data: found, and encoded as plain characters."""

from __future__ import annotations

import re
from collections.abc import Callable, Sequence
from copy import deepcopy
from dataclasses import dataclass
from functools import cached_property
from typing import TYPE_CHECKING, Any

from sparring.data.chats import Turn

if TYPE_CHECKING:
    from transformers import PreTrainedTokenizerBase


@dataclass(frozen=True)
class SpecialTokens:
    """A tokenizer's special tokens, which no text should be able to write: begin and end of turns, and the like.

    Attributes:
        tokenizer: The tokenizer.
    """

    tokenizer: PreTrainedTokenizerBase

    @cached_property
    def known(self) -> dict[str, Any]:
        """The special tokens by their texts."""
        ids, added = {*self.tokenizer.all_special_ids}, self.tokenizer.added_tokens_decoder
        return {token.content: token for index, token in added.items() if token.special or index in ids}

    @cached_property
    def _pattern(self) -> re.Pattern[str] | None:
        texts = sorted(filter(str.strip, self.known), key=len, reverse=True)
        return re.compile("|".join(map(re.escape, texts))) if texts else None

    def found(self, text: str) -> list[str]:
        """The special tokens whose texts occur in a text, in order."""
        return [] if self._pattern is None else self._pattern.findall(text)

    @cached_property
    def _within(self) -> PreTrainedTokenizerBase:
        """The tokenizer for text after a special token, since some mark the beginning of a whole text only."""
        splitter = getattr(getattr(self.tokenizer, "backend_tokenizer", None), "pre_tokenizer", None)
        if getattr(splitter, "prepend_scheme", None) != "first":
            return self.tokenizer
        copied = deepcopy(self.tokenizer)
        copied.backend_tokenizer.pre_tokenizer.prepend_scheme = "never"
        return copied

    def prompt(self, turns: Sequence[Turn], render: Callable[[list[Turn]], str]) -> list[int] | None:
        """A chat's token ids, in which the template's special tokens are tokens, and those in the turns are characters.

        Args:
            turns: The turns.
            render: Writes turns as a prompt.

        Returns:
            The ids; None where this tokenizer or this template leaves no safe way to tell the two apart.
        """
        plain = render(list(turns))
        hidden, stand_ins = self._hidden(turns, plain)
        marked = render(hidden)
        shown = marked
        for stand_in, text in stand_ins.items():
            shown = shown.replace(stand_in, text)
        pieces = self._pieces(marked)
        if shown != plain or self._joined(self._pieces(plain)) != self._whole(plain):
            return None
        for number, piece in enumerate(pieces):
            for stand_in, text in stand_ins.items():
                pieces[number] = pieces[number].replace(stand_in, text) if number % 2 == 0 else piece
        ids = self._joined(pieces)
        special = {*map(self.tokenizer.convert_tokens_to_ids, self.known)}
        return ids if sum(index in special for index in ids) == len(pieces) // 2 else None

    def _hidden(self, turns: Sequence[Turn], text: str) -> tuple[list[Turn], dict[str, str]]:
        """The turns with a stand-in for each special token's text, and the text that each stand-in stands for."""
        found = sorted({name for turn in turns for name in self.found(turn["content"])})
        # Characters for private use that the text does not hold; no tokenizer has a special token with them.
        free = (chr(code) for code in range(0xE000, 0xF8FF) if chr(code) not in text)
        stand_ins = {next(free): name for name in found}
        names = {name: stand_in for stand_in, name in stand_ins.items()}
        assert self._pattern is not None  # noqa: S101 (something was found)
        pattern = self._pattern
        hidden = [{**turn, "content": pattern.sub(lambda match: names[match[0]], turn["content"])} for turn in turns]
        return hidden, stand_ins

    def _pieces(self, text: str) -> list[str]:
        """Text and special tokens in turn, beginning and ending with text, which may be empty."""
        if self._pattern is None:
            return [text]
        pieces, end = [], 0
        for match in self._pattern.finditer(text):
            pieces += [text[end : match.start()], match[0]]
            end = match.end()
        pieces.append(text[end:])
        for number in range(1, len(pieces), 2):
            token = self.known[pieces[number]]
            # Some special tokens swallow the white space beside them.
            pieces[number - 1] = pieces[number - 1].rstrip() if token.lstrip else pieces[number - 1]
            pieces[number + 1] = pieces[number + 1].lstrip() if token.rstrip else pieces[number + 1]
        return pieces

    def _joined(self, pieces: Sequence[str]) -> list[int]:
        ids: list[int] = []
        for number, piece in enumerate(pieces):
            if number % 2:
                ids.append(int(self.tokenizer.convert_tokens_to_ids(piece)))
            elif piece:
                ids += _split(self._within if number else self.tokenizer, piece)
        return ids

    def _whole(self, text: str) -> list[int]:
        return list(self.tokenizer(text, add_special_tokens=False, verbose=False)["input_ids"])


def _split(tokenizer: PreTrainedTokenizerBase, text: str) -> list[int]:
    ids = tokenizer(text, add_special_tokens=False, split_special_tokens=True, verbose=False)["input_ids"]
    return list(ids)
