"""The rows of a data file, whose columns are partly recognised by their names."""

from __future__ import annotations

from collections.abc import Mapping

from sparring.data import DataConfig
from sparring.data.formats import GROUND_TRUTH
from sparring.data.guesses import columns_setting, likely_columns, likely_ground_truths
from sparring.data.rows import Rows, parse
from sparring.data.sources import read
from sparring.data.text_files import Row
from sparring.errors import InputError

Columns = Mapping[str, str]
"""Our field name to the file's column name."""


def read_by_names(data: DataConfig) -> tuple[Rows, Columns]:
    """The rows of a source, and the columns that were taken for a field by their names.

    Columns are taken for prompts and responses if nothing can be learned from the rows otherwise, and for right answers
    if rows have none.

    Raises:
        InputError: The source cannot be read, its columns fit no format, or two of them may be the same field.
    """
    try:
        rows = _parsed(data, {})
    except InputError:
        guess = _guessed(data)
        found = _with_right_answers(data, _parsed(data, guess), guess) if guess else None
        if found is None or not teaches(found[0]):
            raise
        return found
    guess = {} if teaches(rows) else _guessed(data)
    return _with_right_answers(data, _parsed(data, guess) if guess else rows, guess)


def teaches(rows: Rows) -> bool:
    """Whether a row has more than a prompt, so that something can be learned from it."""
    return _unanswered(rows) < len(rows.valid)


def _guessed(data: DataConfig) -> dict[str, str]:
    """The columns that are the prompt and the response by their names."""
    (part,) = data.parts
    rows = read(part.source, split=part.split, subset=part.subset)
    likely = likely_columns({name for row in rows if isinstance(row, Row) for name in row.values}, data.columns)
    guess = {field: names[0] for field, names in likely.items()}
    if doubtful := next((field for field, names in likely.items() if len(names) > 1), None):
        *others, last = likely[doubtful]
        role = "prompt" if doubtful == "prompt" else "response"
        problem = f"the columns {', '.join(others)} and {last} may each be the {role}, by their names"
        setting = columns_setting({**data.columns, **guess})
        fix = f"say which one is, e.g. {setting}, with ground_truth as the right answer's field"
        raise InputError(problem, where=part.source, fix=fix)
    response = next((field for field in guess if field != "prompt"), None)
    if response is not None and likely_ground_truths([guess[response]]):
        texts = [each.response for each in _parsed(data, guess).valid if each.response is not None]
        # A single word, and a number that is no text, is the right answer alone: there is nothing to imitate in it.
        if all(len(text.split()) == 1 for text in texts):
            del guess[response]
    return guess


def _with_right_answers(data: DataConfig, rows: Rows, columns: Columns) -> tuple[Rows, Columns]:
    """The rows and columns, with a column of right answers if rows have none and a column's name fits."""
    for name in likely_ground_truths(rows.unread) if _unanswered(rows) else ():
        found = {**columns, GROUND_TRUTH: name}
        other = _parsed(data, found)
        # Prompts that repeat may have different right answers.
        if len(other.problems) <= len(rows.problems) and _unanswered(other) < _unanswered(rows):
            return other, found
    return rows, columns


def _parsed(data: DataConfig, columns: Columns) -> Rows:
    (part,) = data.parts
    part = part.model_copy(update={"columns": {**data.columns, **columns}})
    return parse(data, part, {"the model": frozenset()}, start=0, seen={})


def _unanswered(rows: Rows) -> int:
    """The number of rows that hold nothing but a prompt."""
    return sum(each.reference_answer is None and each.comparison is None for each in rows.valid)
