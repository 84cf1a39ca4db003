"""What the names of columns say of what they hold, where no format knows them by their own."""

from __future__ import annotations

from collections.abc import Collection, Mapping

from sparring.data.formats import GROUND_TRUTH
from sparring.examples import PROMPT_NAMES

_RESPONSES = ("response", "answer", "solution", "output", "completion", "demonstration")
# They say so, but a response to imitate may be called `answer` too.
_GROUND_TRUTHS = (
    *("answer", "final_answer", "correct_answer", "right_answer", "gold_answer", "expected_answer", "gold", "target"),
    *("expected", "final", "result", "correct", "label", "truth", "solution"),
)
# Whoever has one of these has the prompt, or the response, by its own name; a conversation has both.
_HAVE_PROMPT = frozenset({"prompt", "messages", "conversations"})
_HAVE_RESPONSE = frozenset({"response", "completion", "messages", "conversations", "chosen", "rejected", "responses"})
# What says something of a row, and is no part of what is said in it.
_NO_WORDS = frozenset(
    {*("id", "uid", "uuid", "idx", "index", "number", "source", "split", "category", "subject", "topic", "type")}
    | {*("level", "difficulty", "tags", "language", "date", "url", "license", "author")}
)
_BESIDE_INSTRUCTION = frozenset({"input", "context"})


def likely_ground_truths(columns: Collection[str]) -> list[str]:
    """Those of the columns whose names say that they hold the right answer, the likeliest first."""
    return _named(columns, _GROUND_TRUTHS)


def likely_columns(columns: Collection[str], given: Mapping[str, str]) -> dict[str, list[str]]:
    """By field, those of prompt and response, the columns whose names say that they hold it, the likeliest first.

    A field that is there by its own name, or that is given, is not among them, nor is one that no name tells. Beside
    what an instruction is completed by, the response is the field `output`, and the prompt is there.

    Args:
        columns: The file's column names.
        given: Our field name to the file's column name, as the user gave it.
    """
    ours, free = {*columns, *given}, {*columns} - {*given.values()}
    responses = [] if ours & _HAVE_RESPONSE or GROUND_TRUTH in given else _named(free, _RESPONSES)
    if ours >= {"instruction"} and ours & _BESIDE_INSTRUCTION and responses:
        likely = {"output": [] if "output" in ours else responses}
    else:
        likely = {"prompt": [] if ours & _HAVE_PROMPT else _named(free, PROMPT_NAMES), "response": responses}
    return {field: names for field, names in likely.items() if names}


def example_mapping(columns: Collection[str], given: Mapping[str, str]) -> dict[str, str]:
    """A mapping of a file's columns that a person may try: what they gave, and what the names of the others say.

    A lone column that no name tells is taken for the prompt, or for the response where the prompt is known. Empty where
    the columns say nothing.

    Args:
        columns: The file's column names.
        given: Our field name to the file's column name, as the user gave it.
    """
    compared = _compared({*columns} - {*given.values()})
    mapping = {**given, **compared}
    likely = {field: names[0] for field, names in likely_columns(columns, mapping).items()}
    ours, left = {*columns, *mapping, *likely}, {*columns} - {*mapping.values(), *likely.values()}
    truths = [] if compared or GROUND_TRUTH in ours else likely_ground_truths(left)
    needed = {"prompt": _HAVE_PROMPT | {"instruction"}, "response": _HAVE_RESPONSE | {"output"}}
    missing = [field for field, have in needed.items() if not have & ours]
    untold = {each for each in left - {*truths[:1]} if each.lower() not in _NO_WORDS.union(*needed.values())}
    if len(untold) == 1 and missing and (likely or truths or len(missing) == 1):
        likely[missing[0]] = untold.pop()
    found = {**mapping, **likely} | ({GROUND_TRUTH: truths[0]} if truths else {})
    return {field: found[field] for field in sorted(found, key=lambda field: field != "prompt")}


def columns_setting(mapping: Mapping[str, str]) -> str:
    """A mapping of our field names to a file's columns, as a command takes it."""
    return f"'data.columns={{{', '.join(f'{field}: {column}' for field, column in mapping.items())}}}'"


def _compared(columns: Collection[str]) -> dict[str, str]:
    """The columns of a chosen and of a rejected response, where both are told."""
    parts = {part: [each for each in columns if part in each.lower()] for part in ("chosen", "reject")}
    if any(len(names) != 1 or names[0].lower() in _HAVE_RESPONSE for names in parts.values()):
        return {}
    return {"chosen": parts["chosen"][0], "rejected": parts["reject"][0]}


def _named(columns: Collection[str], names: tuple[str, ...]) -> list[str]:
    found = [each for each in columns if each.lower() in names]
    return sorted(found, key=lambda each: (names.index(each.lower()), each))
