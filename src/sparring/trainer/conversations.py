"""Rows as TRL's trainers take them: chosen and rejected responses, and responses that are conversations."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping, Sequence
from typing import Any, TypeGuard

from sparring.errors import InputError, did_you_mean
from sparring.progress import console

_NAMES = {"chosen": "expert", "rejected": "generated"}

Turns = Sequence[Mapping[str, str]]
"""The messages of a chat, each with its `role` and `content`."""


def named(dataset: Iterable[Mapping[str, Any]], where: str, *, pairs: bool) -> Iterator[tuple[Mapping[str, Any], bool]]:
    """The rows with the columns `expert` and `generated`, which TRL calls `chosen` and `rejected`; said once.

    Beside each stands whether both were called so: then the one is preferred to the other.

    Args:
        dataset: The rows.
        where: What messages call them.
        pairs: Whether they are read as pairs, of which one is preferred, which is then what is said.
    """
    told = False
    for row in dataset:
        taken = {theirs: ours for theirs, ours in _NAMES.items() if theirs in row and row.get(ours) is None}
        preferred = len(taken) == len(_NAMES)
        if taken and not told:
            renamed = ", ".join(f"{theirs} is taken as {ours}" for theirs, ours in taken.items())
            console.print(f"{where}: {'chosen is preferred to rejected' if pairs and preferred else renamed}")
            told = True
        yield {taken.get(name, name): value for name, value in row.items()} if taken else row, preferred


def is_turns(value: Any) -> TypeGuard[Turns]:
    """Whether a value is a conversation."""
    return isinstance(value, Sequence) and bool(value) and all(isinstance(turn, Mapping) for turn in value)


def split(row: Mapping[str, Any], where: str) -> Mapping[str, Any]:
    """The row with its conversations as a prompt, a list of messages, and responses, the content of one message each.

    A row whose responses are no conversations stays as it is. Without a prompt, all but the expert's last message is.

    Raises:
        InputError: There is no prompt, or a response is not one message of the assistant, which the prompt may precede.
    """
    expert, generated, prompt = (row.get(name) for name in ("expert", "generated", "prompt"))
    if not is_turns(expert):
        return row
    if generated is None:
        raise missing("generated", row, where)
    prompt = expert[:-1] if prompt is None else prompt
    if not prompt:
        raise missing("prompt", row, where)
    turns: Turns = prompt if is_turns(prompt) else [{"role": "user", "content": str(prompt)}]
    answers = generated if isinstance(generated, Sequence) and all(map(is_turns, generated)) else [generated]
    others = [_content(each, turns, f"{where}, generated") for each in answers]
    return {**row, "prompt": list(turns), "expert": _content(expert, turns, f"{where}, expert"), "generated": others}


def missing(name: str, row: Mapping[str, Any], where: str) -> InputError:
    """The error that a row lacks a field, with the names that it may have."""
    theirs = next((theirs for theirs, ours in _NAMES.items() if ours == name), None)
    also = "" if theirs is None else f", which may be called '{theirs}' too"
    return InputError(f"the field '{name}' is missing{also}", where=where, fix=did_you_mean(theirs or name, row))


def _content(response: Any, prompt: Turns, where: str) -> str:
    if isinstance(response, str):
        return response
    turns = list(response) if is_turns(response) else []
    if turns[: len(prompt)] == list(prompt):
        turns = turns[len(prompt) :]
    if len(turns) != 1 or turns[0].get("role") != "assistant":
        problem = "must be one message of the assistant, after the prompt or alone"
        raise InputError(
            problem, where=where, fix="move the earlier turns to the prompt; both responses answer the same"
        )
    return turns[0]["content"]


def turn_end(tokenizer: Any, prompt: Turns, response: str) -> list[int]:
    """The tokens with which the chat template ends an assistant's turn, up to the first special one.

    The end-of-sequence token where the template writes none.
    """
    turn = {"role": "assistant", "content": response}
    whole = tokenizer.apply_chat_template([*prompt, turn], tokenize=False)
    _, found, tail = whole.rpartition(response.strip())
    ids = list(tokenizer(tail, add_special_tokens=False).input_ids) if found else []
    special = {token for token, each in tokenizer.added_tokens_decoder.items() if each.special}
    place = next((place for place, token in enumerate(ids) if token in special), None)
    return [tokenizer.eos_token_id] if place is None else ids[: place + 1]
