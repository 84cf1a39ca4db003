"""Token ids of a text that follows another; some tokenizers split it differently than the same text alone."""

from __future__ import annotations

from collections.abc import Callable, Collection, Mapping, Sequence
from typing import Any
from weakref import WeakKeyDictionary

# A character for private use: no token holds it together with other characters.
_BEFORE = "\ue000"
_NEXT = "sparringnext"
Turn = dict[str, str]

_marks: WeakKeyDictionary[Any, bool] = WeakKeyDictionary()


def following(tokenizer: Any, texts: Sequence[str], after: Sequence[int], **options: bool) -> list[list[int]]:
    """Token ids of texts, each as the tokenizer splits it after another token.

    Tokenizers of SentencePiece's kind put a space before the first word of a text, and some also before the first word
    after a special token. A response that follows a prompt must not get this space: its tokens would differ from those
    that the policy samples.

    Args:
        tokenizer: A tokenizer of transformers.
        texts: The texts.
        after: The token that each text follows.
        options: Further arguments of the tokenizer.
    """
    alone = _ids(tokenizer, texts, options)
    if not marks_beginning(tokenizer):
        return alone
    added = tokenizer.added_tokens_decoder
    before = [added[token].content if token in added else _BEFORE for token in after]
    # A special token may swallow the white space after it.
    before = ["" if text[:1].isspace() and head != _BEFORE else head for text, head in zip(texts, before, strict=True)]
    wholes = _ids(tokenizer, [head + text for head, text in zip(before, texts, strict=True)], options)
    heads = {head: _ids(tokenizer, [head], options)[0] for head in {*before}}
    return [
        whole[len(heads[head]) :] if whole[: len(heads[head])] == heads[head] else own
        for head, whole, own in zip(before, wholes, alone, strict=True)
    ]


def marks_beginning(tokenizer: Any) -> bool:
    """Whether a tokenizer splits the first word of a text differently than the same word after others; tried once."""
    if tokenizer not in _marks:
        alone, head, whole = _ids(tokenizer, ["a", _BEFORE, f"{_BEFORE}a"], {})
        known = tokenizer.unk_token_id is None or tokenizer.unk_token_id not in head
        _marks[tokenizer] = known and whole[: len(head)] == head and whole[len(head) :] != alone
    return _marks[tokenizer]


def space_between(tokenizer: Any, prompt: str, whole: str, response: str) -> str:
    """The white space that a chat template puts between a prompt and its response; mostly nothing.

    A model that was tuned on whole conversations begins its responses with it, be it a space or a line break. White
    space that the last token of the prompt swallows is not part of it.

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
    """The tokens that a chat template writes after a response, up to the first that ends it; empty if none ends it.

    A token that ends a response is a special token or, in tokenizers whose end of a turn is not special, an added one.
    Some templates write it only before a further turn: as the end of this turn, or as the beginning of the next, at
    which the model was taught to stop. Then it counts only if the model itself stops at it.

    Args:
        tokenizer: A tokenizer of transformers.
        write: Writes a conversation by the template.
        turns: A conversation that ends with the response.
        ends: The tokens at which the model's own `generate` stops.

    Returns:
        The tokens, or None if the template does not write the words of the response.
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
    """The tokens of a text up to its first special token, else its first added token; empty if it has neither."""
    added = tokenizer.added_tokens_decoder
    special = {index for index, token in added.items() if token.special} | {*tokenizer.all_special_ids}
    marks = {index for index, token in added.items() if token.content.strip()}
    (ids,) = following(tokenizer, [tail], [-1])
    place = next((place for ends in (special, marks) for place, token in enumerate(ids) if token in ends), -1)
    return ids[: place + 1]


def _ids(tokenizer: Any, texts: Sequence[str], options: dict[str, bool]) -> list[list[int]]:
    encoded = tokenizer([*texts], add_special_tokens=False, verbose=False, **options)["input_ids"] if texts else []
    return [list(ids) for ids in encoded]
