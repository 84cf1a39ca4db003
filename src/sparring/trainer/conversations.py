"""Rows in the form of TRL's trainers: chosen and rejected responses, and responses that are conversations."""

from __future__ import annotations

import json
from collections.abc import Collection, Iterable, Iterator, Mapping, Sequence
from functools import partial
from typing import Any, TypeGuard

from sparring.errors import InputError, did_you_mean, in_a_line
from sparring.examples import CALL_KEYS, PROMPT_NAMES, THOUGHT_KEYS
from sparring.following import end_of_turn, space_between
from sparring.inputs import is_nothing, joined_parts, other_part
from sparring.progress import console

_NAMES = {"chosen": "expert", "rejected": "generated"}

Turns = Sequence[Mapping[str, str]]
"""The messages of a chat, each with its `role` and `content`."""


_AS_IF_DRAWN = ", as if the model itself had drawn it; an objective such as dpo compares the two"


def named(
    dataset: Iterable[Mapping[str, Any]], where: str, *, pairs: bool
) -> Iterator[tuple[Mapping[str, Any], Mapping[str, str]]]:
    """The rows with `expert` and `generated` in place of TRL's `chosen` and `rejected`, and each row's own names.

    A row that has both of TRL's names holds a pair whose first response is preferred. The renaming is said once.

    Args:
        dataset: The rows.
        where: The name of the rows in messages.
        pairs: Whether they are read as pairs with a preference, which is then said instead.
    """
    told = False
    for number, given in enumerate(dataset):
        row = _unboxed_row(given, f"{where} row {number}")
        taken = {theirs: ours for theirs, ours in _NAMES.items() if theirs in row and row.get(ours) is None}
        if taken and not told:
            renamed = ", ".join(f"{theirs} is taken as {ours}" for theirs, ours in taken.items())
            if is_preferred(taken):
                renamed = "chosen is preferred to rejected" if pairs else f"{renamed}{_AS_IF_DRAWN}"
            console.print(f"{where}: {renamed}")
            told = True
        yield (
            {taken.get(name, name): value for name, value in row.items()} if taken else row,
            {ours: theirs for theirs, ours in taken.items()},
        )


def _unboxed_row(row: object, where: str) -> dict[str, Any]:
    """A row with lists and numbers in place of arrays and tensors, which data sets of some formats give."""
    if not isinstance(row, Mapping):
        fix = "give dictionaries; those of a pandas.DataFrame are frame.to_dict('records')"
        raise InputError(f"must map columns to values, got {type(row).__name__}", where=where, fix=fix)
    return {name: _unboxed(value) for name, value in row.items()}


def _unboxed(value: Any) -> Any:
    value = value.tolist() if hasattr(value, "tolist") else value
    # Only the first item is looked at: token ids are many, and all of one type.
    boxed = isinstance(value, list) and bool(value) and (hasattr(value[0], "tolist") or isinstance(value[0], list))
    return [_unboxed(each) for each in value] if boxed else value


def is_preferred(called: Mapping[str, str]) -> bool:
    """Whether a row has both of TRL's names, so that its first response is preferred."""
    return len(called) == len(_NAMES)


def is_turns(value: Any) -> TypeGuard[Turns]:
    """Whether a value is a conversation."""
    return isinstance(value, Sequence) and bool(value) and all(isinstance(turn, Mapping) for turn in value)


def split(row: Mapping[str, Any], where: str, called: Mapping[str, str]) -> Mapping[str, Any]:
    """The row with its conversations split into a prompt, a list of messages, and responses, each a message's content.

    A row whose responses are no conversations stays as it is. If there is no prompt, it is the expert's conversation
    without its last message. Contents in parts of text are joined.

    Args:
        row: A row from `named`.
        where: The name of the row in messages.
        called: The row's own names of its responses.

    Raises:
        InputError: There is no prompt, a response is not one message of the assistant, which the prompt may precede, or
            a part of a message is no text.
    """
    expert, generated, prompt = (_in_text(row.get(name), where) for name in ("expert", "generated", "prompt"))
    if not is_turns(expert):
        return {**row, "prompt": prompt} if is_turns(prompt) else row
    if generated is None:
        raise missing("generated", row, where, called)
    prompt = expert[:-1] if prompt is None else prompt
    if not prompt:
        raise missing("prompt", row, where, called)
    turns: Turns = prompt if is_turns(prompt) else [{"role": "user", "content": str(prompt)}]
    several = isinstance(generated, Sequence) and not isinstance(generated, str) and not is_turns(generated)
    answers = generated if several else [generated]
    others = [_content(each, turns, f"{where}, generated") for each in answers]
    return {**row, "prompt": list(turns), "expert": _content(expert, turns, f"{where}, expert"), "generated": others}


def _in_text(value: Any, where: str) -> Any:
    """A conversation, or several, with contents that are texts; any other value as it is."""
    if isinstance(value, Sequence) and not isinstance(value, str):
        return [_in_text(each, where) for each in value]
    if not isinstance(value, Mapping) or "content" not in value:
        return value
    content = joined_parts(value["content"])
    if (kind := other_part(content)) is not None:
        problem = f"a message holds a part that is no text ({kind}): sparring trains on text alone"
        raise InputError(problem, where=where, fix="remove the row")
    return {**value, "content": content}


def missing(name: str, row: Mapping[str, Any], where: str, called: Mapping[str, str]) -> InputError:
    """The error that a row lacks a field, with the row's own names."""
    theirs = next((theirs for theirs, ours in _NAMES.items() if ours == name), name)
    shown = theirs if called else name
    if name in row:
        fix = "fill it in, or leave the row out"
        return InputError(f"the field '{called.get(name, name)}' is null", where=where, fix=fix)
    also = "" if shown == theirs else f", which may be called '{theirs}' too"
    columns = [called.get(column, column) for column in row]
    likely = next((each for each in PROMPT_NAMES if name == "prompt" and each in columns), None)
    fix = f"rename '{likely}' to 'prompt'" if likely else did_you_mean(theirs, columns)
    return InputError(f"the field '{shown}' is missing{also}", where=where, fix=fix)


def _content(response: Any, prompt: Turns, where: str) -> str | None:
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
    for key in (*CALL_KEYS, *THOUGHT_KEYS):
        if not is_nothing(turns[0].get(key)):
            fix = f"write it into the content, as the model is to write it, or take '{key}' out"
            raise InputError("what stands beside the content is not trained on", where=f"{where}, {key}", fix=fix)
    return turns[0].get("content")


def rendered(tokenizer: Any, where: str, turns: Turns, **options: Any) -> Any:
    """The result of `apply_chat_template`.

    Args:
        tokenizer: The tokenizer with the template.
        where: The name of the row in messages.
        turns: The turns.
        options: Further arguments.

    Raises:
        InputError: There is no template, or it refuses the turns.
    """
    try:
        return tokenizer.apply_chat_template(turns, return_dict=False, **options)
    except Exception as error:
        # A template is a program of others, and may raise any error.
        problem = f"the chat template fails ({type(error).__name__}: {in_a_line(error)})"
        fix = "remove the turns that it does not take, or set the tokenizer's chat_template"
        raise InputError(problem, where=where, fix=fix) from error


def told_template(row: Mapping[str, Any], tokenizer: Any, where: str) -> dict[str, Any]:
    """The arguments of the chat template that a row holds: `tools`, and the variables of `chat_template_kwargs`.

    Args:
        row: A row from `split`.
        tokenizer: The tokenizer with the template.
        where: The name of the row in messages.

    Raises:
        InputError: They would have no effect: the prompt is no conversation, or the template does not read them.
    """
    told: dict[str, Any] = {}
    for name in ("tools", "chat_template_kwargs"):
        value: Any = row.get(name)
        value = _from_json(value, f"{where}, {name}") if isinstance(value, str) and value.strip() else value
        if is_nothing(value):
            continue
        if not is_turns(row.get("prompt")):
            fix = "give the prompt as a list of messages, or write it into the prompt"
            raise InputError("is shown to the model by a chat template alone", where=f"{where}, {name}", fix=fix)
        # A data set fills what one of its rows lacks with nulls.
        more = {"tools": value} if name == "tools" else {key: v for key, v in dict(value).items() if v is not None}
        write = partial(rendered, tokenizer, where, row["prompt"], tokenize=False, add_generation_prompt=True)
        if name == "tools" and write(**more) == write():
            fix = "take a model whose template does, or write them into a system turn"
            raise InputError("the chat template does not read them", where=f"{where}, {name}", fix=fix)
        told |= more
    return told


def _from_json(value: str, where: str) -> Any:
    try:
        return json.loads(value)
    except ValueError as error:
        raise InputError(f"is no JSON ({error})", where=where, fix="correct it") from error


def around(
    tokenizer: Any, prompt: Turns, response: str, ends: Collection[int], where: str, *, told: Mapping[str, Any]
) -> tuple[str, list[int]]:
    """The texts that the chat template writes around the words of an assistant's turn.

    Args:
        tokenizer: The tokenizer with the template.
        prompt: The turns before.
        response: The words.
        ends: As of `end_of_turn`.
        where: The name of the row in messages.
        told: The template's arguments from `told_template`.

    Returns:
        The white space before the words, from `space_between`, and the tokens after them, from `end_of_turn`, or the
        end-of-sequence token if that gives none.
    """

    def write(turns: Turns, **options: Any) -> str:
        return str(rendered(tokenizer, where, turns, tokenize=False, **told, **options))

    turns = [*prompt, {"role": "assistant", "content": response}]
    space = space_between(tokenizer, write(prompt, add_generation_prompt=True), write(turns), response)
    return space, end_of_turn(tokenizer, write, turns, ends) or [tokenizer.eos_token_id]
