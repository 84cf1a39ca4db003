"""Prompts with their known answers: as text, and as the exact token ids that all stages use."""

from __future__ import annotations

import json
from array import array
from collections.abc import Sequence
from dataclasses import dataclass, field

PROMPT_NAMES = ("prompt", "question", "instruction", "query", "problem", "input", "task", "request", "exercise")
"""Names that people give to the column of prompts, the likeliest first."""
CALL_KEYS = ("tool_calls", "function_call")
"""Keys of a message that hold a call of a tool."""
THOUGHT_KEYS = (
    *("reasoning_content", "reasoning", "reasoning_text", "reasoning_details", "thinking", "thinking_content"),
    *("thought", "thoughts"),
)
"""Keys of a message that hold a thought."""


@dataclass(frozen=True, kw_only=True)
class Comparison:
    """K ≥ 2 responses to one prompt that the data bring, with preferences among them.

    Attributes:
        responses: The responses as text.
        pairwise: `[K][K]` P_ij = P(y_i ≻ y_j | x), with P_ij + P_ji = 1 and ½ on the diagonal.
    """

    responses: tuple[str, ...]
    pairwise: tuple[tuple[float, ...], ...]


class _Kept:
    """A field whose value is stored in another form, in an attribute of the same name with an underscore before it."""

    def __set_name__(self, owner: type, name: str) -> None:
        self._name = f"_{name}"


class Text(_Kept):
    """A field of text, stored as UTF-8: with one non-Latin character, Python takes two or four bytes for every one."""

    def __get__(self, instance: object | None, owner: type | None = None) -> str:
        if instance is None:
            # A dataclass reads the attribute of the class to find a default; there is none.
            raise AttributeError(self._name)
        return _decoded(getattr(instance, self._name))

    def __set__(self, instance: object, text: str) -> None:
        object.__setattr__(instance, self._name, _encoded(text))


class OptionalText(_Kept):
    """A field of text or None, stored as UTF-8; None by default."""

    def __get__(self, instance: object | None, owner: type | None = None) -> str | None:
        kept = None if instance is None else getattr(instance, self._name)
        return None if kept is None else _decoded(kept)

    def __set__(self, instance: object, text: str | None) -> None:
        object.__setattr__(instance, self._name, None if text is None else _encoded(text))


class Turns(_Kept):
    """A field of chat turns or None, stored as JSON in UTF-8; None by default."""

    def __get__(self, instance: object | None, owner: type | None = None) -> tuple[dict[str, str], ...] | None:
        kept = None if instance is None else getattr(instance, self._name)
        return None if kept is None else tuple(json.loads(_decoded(kept)))

    def __set__(self, instance: object, turns: Sequence[dict[str, str]] | None) -> None:
        kept = None if turns is None else _encoded(json.dumps(list(turns), ensure_ascii=False))
        object.__setattr__(instance, self._name, kept)


def _encoded(text: str) -> str | bytes:
    """The text as UTF-8 if that saves memory, else the text; half characters stay, since a later check refuses them."""
    return text if text.isascii() else text.encode("utf-8", "surrogatepass")


def _decoded(kept: str | bytes) -> str:
    return kept if isinstance(kept, str) else kept.decode("utf-8", "surrogatepass")


@dataclass(frozen=True, kw_only=True)
class Answered:
    """The answers to a prompt that the data know: one of the two, both, or neither.

    Attributes:
        response: The expert's response, which is imitated.
        ground_truth: The right answer, such as a number, in whatever words a response gives it; it is never imitated.
    """

    response: OptionalText = OptionalText()
    ground_truth: OptionalText = OptionalText()

    @property
    def reference_answer(self) -> str | None:
        """The answer that responses are verified against: the ground truth, or else the expert's response."""
        return self.response if self.ground_truth is None else self.ground_truth


@dataclass(frozen=True, kw_only=True)
class Example(Answered):
    """One prompt as text, with its known answers.

    Attributes:
        index: Its row in the source, counted from 0; errors and samples name the prompt by it.
        messages: The prompt as chat turns (`{"role": …, "content": …}`), or None for a plain prompt.
        prompt: The prompt as plain text; of a chat, its last user turn.
        comparison: Responses with preferences, or None.
        where: The file and line that it was read from; it does not count when two examples are compared.
    """

    index: int
    messages: Turns = Turns()
    prompt: Text = Text()
    comparison: Comparison | None = None
    where: str | None = field(default=None, compare=False)


class TokenIds(_Kept):
    """A field of token ids, set and read as a list, and stored in a tenth of a list's memory."""

    def __get__(self, instance: object | None, owner: type | None = None) -> list[int]:
        if instance is None:
            # A dataclass reads the attribute of the class to find a default; there is none.
            raise AttributeError(self._name)
        return _unpacked(getattr(instance, self._name))

    def __set__(self, instance: object, ids: Sequence[int]) -> None:
        # Not by `__dict__`: reading it makes Python create a dict, which is larger than the ids of a short text.
        object.__setattr__(instance, self._name, _packed(ids))


class TokenIdLists(_Kept):
    """A field of several lists of token ids, stored in the same way; empty by default."""

    def __get__(self, instance: object | None, owner: type | None = None) -> list[list[int]]:
        lists: tuple[bytes, ...] = () if instance is None else getattr(instance, self._name)
        # The default of a dataclass's field has to be immutable.
        return [*map(_unpacked, lists)] if instance is not None else ()  # type: ignore[return-value]

    def __set__(self, instance: object, lists: Sequence[Sequence[int]]) -> None:
        object.__setattr__(instance, self._name, tuple(map(_packed, lists)))


def _packed(ids: Sequence[int]) -> bytes:
    """The ids as bytes, the type code of their array first: bytes take less memory than the array itself."""
    code = "H" if max(ids, default=0) < 2**16 else "I"
    return code.encode() + array(code, ids).tobytes()


def _unpacked(packed: bytes) -> list[int]:
    return array(chr(packed[0]), packed[1:]).tolist()


@dataclass(frozen=True, kw_only=True)
class EncodedExample(Answered):
    """One prompt as the exact token ids that generation, scoring and training all use.

    Responses end with the end-of-response token unless they were truncated. `expert_ids` and `compared_ids` are empty
    where `response` and `comparison` are None.
    """

    index: int
    prompt_ids: TokenIds = TokenIds()
    expert_ids: TokenIds = TokenIds()
    prompt: Text = Text()
    messages: Turns = Turns()
    comparison: Comparison | None = None
    compared_ids: TokenIdLists = TokenIdLists()

    @property
    def earlier(self) -> list[str]:
        """The turns of a chat before its last one (the prompt), each as a text of its role and content."""
        return [f"{turn['role']}: {turn['content']}" for turn in (self.messages or ())[:-1]]
