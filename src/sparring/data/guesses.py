"""Guesses at the content of columns by their names, where these are not the names of a format."""

from __future__ import annotations

from collections.abc import Collection, Mapping

from sparring.data.formats import GROUND_TRUTH
from sparring.examples import PROMPT_NAMES

_RESPONSES = ("response", "answer", "solution", "output", "completion", "demonstration")
# Names of right answers that may also be names of responses to imitate, such as `answer`.
_GROUND_TRUTHS = (
    *("answer", "final_answer", "correct_answer", "right_answer", "gold_answer", "expected_answer", "gold", "target"),
    *("expected", "final", "result", "correct", "label", "truth", "solution"),
)
# Columns that already hold the prompt, or the response, under a format's own name; a conversation holds both.
_HAVE_PROMPT = frozenset({"prompt", "messages", "conversations"})
_HAVE_RESPONSE = frozenset({"response", "completion", "messages", "conversations", "chosen", "rejected", "responses"})
# Names of columns about the row, which hold neither prompt nor response.
_NO_WORDS = frozenset(
    {*("id", "uid", "uuid", "idx", "index", "number", "source", "split", "category", "subject", "topic", "type")}
    | {*("level", "difficulty", "tags", "language", "date", "url", "license", "author")}
)
_BESIDE_INSTRUCTION = frozenset({"input", "context"})


def likely_ground_truths(columns: Collection[str]) -> list[str]:
    """The columns that hold right answers by their names, the likeliest first."""
    return _named(columns, _GROUND_TRUTHS)


def likely_columns(columns: Collection[str], given: Mapping[str, str]) -> dict[str, list[str]]:
    """For the fields of prompt and response, the columns that hold them by their names, the likeliest first.

    A field is left out if it is there under its own name, if it is given, or if no column's name fits. Beside a column
    of instructions' inputs (as in Alpaca's files) the response is called `output`, and the prompt is there.

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
    """A mapping of a file's columns to suggest: the given one, completed by guesses from the other columns' names.

    If a single column is left whose name tells nothing, it is taken for the prompt, or for the response if the prompt
    is known. Empty if no name tells anything.

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
    """A mapping of our field names to a file's columns, as it is written on the command line."""
    return f"'data.columns={{{', '.join(f'{field}: {column}' for field, column in mapping.items())}}}'"


def _compared(columns: Collection[str]) -> dict[str, str]:
    """The columns of a chosen and of a rejected response, where the names of two columns tell both."""
    parts = {part: [each for each in columns if part in each.lower()] for part in ("chosen", "reject")}
    if any(len(names) != 1 or names[0].lower() in _HAVE_RESPONSE for names in parts.values()):
        return {}
    return {"chosen": parts["chosen"][0], "rejected": parts["reject"][0]}


def _named(columns: Collection[str], names: tuple[str, ...]) -> list[str]:
    found = [each for each in columns if each.lower() in names]
    return sorted(found, key=lambda each: (names.index(each.lower()), each))
