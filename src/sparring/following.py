"""Token ids of a text that follows another, which some tokenizers write otherwise than one that stands alone."""

from __future__ import annotations

from collections.abc import Callable, Collection, Mapping, Sequence
from typing import Any
from weakref import WeakKeyDictionary

# Private use: no token holds it together with other characters.
_BEFORE = "\ue000"
_NEXT = "sparringnext"
Turn = dict[str, str]

_marks: WeakKeyDictionary[Any, bool] = WeakKeyDictionary()


def following(tokenizer: Any, texts: Sequence[str], after: Sequence[int], **options: bool) -> list[list[int]]:
    """Token ids of texts, each as the tokenizer writes it behind other tokens.

    Tokenizers of SentencePiece's kind put a space before the first word of a text, and some before the first one after
    a special token too. A response is none of that where it follows a prompt: with the space it would be other tokens
    than the policy's own samples are.

    Args:
        tokenizer: A tokenizer of transformers.
        texts: The texts.
        after: The token that each stands behind.
        options: What the tokenizer is told beside.
    """
    alone = _ids(tokenizer, texts, options)
    if not marks_beginning(tokenizer):
        return alone
    added = tokenizer.added_tokens_decoder
    before = [added[token].content if token in added else _BEFORE for token in after]
    # A special token may swallow the white space behind it.
    before = ["" if text[:1].isspace() and head != _BEFORE else head for text, head in zip(texts, before, strict=True)]
    wholes = _ids(tokenizer, [head + text for head, text in zip(before, texts, strict=True)], options)
    heads = {head: _ids(tokenizer, [head], options)[0] for head in {*before}}
    return [
        whole[len(heads[head]) :] if whole[: len(heads[head])] == heads[head] else own
        for head, whole, own in zip(before, wholes, alone, strict=True)
    ]


def marks_beginning(tokenizer: Any) -> bool:
    """Whether a tokenizer writes the first word of a text otherwise than the same word behind others; tried once."""
    if tokenizer not in _marks:
        alone, head, whole = _ids(tokenizer, ["a", _BEFORE, f"{_BEFORE}a"], {})
        known = tokenizer.unk_token_id is None or tokenizer.unk_token_id not in head
        _marks[tokenizer] = known and whole[: len(head)] == head and whole[len(head) :] != alone
    return _marks[tokenizer]


def space_between(tokenizer: Any, prompt: str, whole: str, response: str) -> str:
    """The white space that a chat template puts between a prompt and its response; mostly nothing.

    A model that was tuned on whole conversations begins its responses with it, be it a space or a line break. What the
    last token of the prompt swallows is none of it.

    Args:
        tokenizer: A tokenizer of transformers.
        prompt: The prompt, as the template writes it.
        whole: Prompt and response, as the template writes them.
        response: The response.
    """
    rest = whole.removeprefix(prompt) if whole.startswith(prompt) else ""
    space = rest[: max(rest.find(response), 0)]
    if not space.isspace():
        return ""
    apart, together = _ids(tokenizer, [prompt + response, prompt + space + response], {})
    return "" if apart == together else space


def end_of_turn(
    tokenizer: Any, write: Callable[[list[Turn]], str], turns: Sequence[Mapping[str, str]], ends: Collection[int]
) -> list[int] | None:
    """The tokens of what a chat template writes behind a response, up to the first that ends it; none where none does.

    That is a special token or, of tokenizers that hold the end of a turn as one that is not special, an added one. A
    template may write none behind the last turn, but one before a turn that follows: the end of the last, or the
    beginning of the next, before which the model was taught to stop. Then the model itself must stop at it.

    Args:
        tokenizer: A tokenizer of transformers.
        write: Writes a conversation.
        turns: One that ends with the response.
        ends: The tokens at which the model's own `generate` stops.

    Returns:
        None where the words of the response are not written.
    """
    answered = [dict(turn) for turn in turns]
    _, words, tail = write(answered).rpartition(answered[-1]["content"].strip())
    if not words:
        return None
    found = _up_to_a_mark(tokenizer, tail)
    if found or not ends:
        return found
    try:
        longer = write([*answered, {"role": "user", "content": _NEXT}])
    except Exception:  # noqa: BLE001 - whatever a template of another's raises
        return []
    found = _up_to_a_mark(tokenizer, longer.rpartition(words)[2].partition(_NEXT)[0])
    return found if found and found[-1] in ends else []


def _up_to_a_mark(tokenizer: Any, tail: str) -> list[int]:
    """The tokens of a text up to its first special one, else to its first added one; none where it has neither."""
    added = tokenizer.added_tokens_decoder
    special = {index for index, token in added.items() if token.special} | {*tokenizer.all_special_ids}
    marks = {index for index, token in added.items() if token.content.strip()}
    (ids,) = following(tokenizer, [tail], [-1])
    place = next((place for ends in (special, marks) for place, token in enumerate(ids) if token in ends), -1)
    return ids[: place + 1]


def _ids(tokenizer: Any, texts: Sequence[str], options: dict[str, bool]) -> list[list[int]]:
    encoded = tokenizer([*texts], add_special_tokens=False, verbose=False, **options)["input_ids"] if texts else []
    return [list(ids) for ids in encoded]
