"""Reads rows from files of text, JSON and CSV, each row with the place that a person finds it at."""

from __future__ import annotations

import csv
import io
import json
from collections import Counter
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, BinaryIO, cast

from sparring.errors import InputError
from sparring.examples import PROMPT_NAMES
from sparring.json_text import RepeatedKeyError, from_json

_BYTE_ORDER_MARK = b"\xef\xbb\xbf"
PACKED = frozenset({".gz", ".bz2", ".zst"})
"""How the names of files end that are unpacked as they are read."""

UTF8 = "save the file as UTF-8"
"""What to do about text that is none."""

_ONCE = "remove one of the two"


@dataclass(frozen=True, kw_only=True)
class Row:
    """One row as it was read: the place of it, and its values by column name."""

    where: str
    values: dict[str, Any]


# A row that cannot be read is its error, so that the caller may go on without it.
Rows = Iterator[Row | InputError]


def unpacked(path: Path) -> Path:
    """A file's name without what says that it is packed."""
    return path.with_suffix("") if path.suffix.lower() in PACKED else path


def _open(path: Path) -> BinaryIO:
    """A file to be read; a packed one is unpacked on the way."""
    if unpacked(path) == path:
        return path.open("rb")
    import pyarrow

    # pyarrow takes a relative path such as "s3:data.jsonl.gz" for an address.
    return cast(BinaryIO, io.BufferedReader(pyarrow.input_stream(str(path.absolute()))))


def read_json_lines(path: Path) -> Rows:
    """The rows of a file with one JSON object a line."""
    with _open(path) as file:
        # One line after the other: the file may be as large as half of the memory.
        for number, line in enumerate(file, start=1):
            content = (line.removeprefix(_BYTE_ORDER_MARK) if number == 1 else line).removesuffix(b"\n")
            if content.strip():
                yield _json_row(content, f"{path}, line {number}")


def _json_row(line: bytes, where: str) -> Row | InputError:
    try:
        value = from_json(line.decode("utf-8"))
    except RepeatedKeyError as error:
        return InputError(str(error), where=where, fix=_ONCE)
    except UnicodeDecodeError as error:
        return InputError(f"is not valid UTF-8 at byte {error.start + 1} of the line", where=where, fix=UTF8)
    except (ValueError, RecursionError) as error:
        fix = "write one JSON object a line; a file that is one JSON array ends in .json"
        return InputError(f"is not valid JSON: {error}", where=where, fix=fix)
    return _object_row(value, where)


def _object_row(value: Any, where: str) -> Row | InputError:
    if not isinstance(value, dict):
        fix = 'write an object, e.g. {"prompt": "…", "response": "…"}'
        return InputError(f"must be a JSON object, got {type(value).__name__}", where=where, fix=fix)
    return Row(where=where, values=value)


def read_json(path: Path) -> Rows:
    """The rows of a file that is a JSON array, or has one object a line."""
    text = _decode(path)
    if not text.lstrip().startswith("["):
        _check_lines(text, path)
        yield from read_json_lines(path)
        return
    try:
        values = from_json(text)
    except RepeatedKeyError as error:
        raise InputError(str(error), where=f"{path}, row {_first_wrong(text)}", fix=_ONCE) from error
    except (ValueError, RecursionError) as error:
        fix = "write one JSON array of objects"
        raise InputError(f"is not valid JSON: {error}", where=str(path), fix=fix) from error
    for number, value in enumerate(values, start=1):
        yield _object_row(value, f"{path}, row {number}")


def _first_wrong(array: str) -> int:
    """Which row of a JSON array is the first that cannot be read, from 1."""
    decoder, number, at = json.JSONDecoder(), 0, array.index("[")
    while True:
        number += 1
        start = at + 1
        while array[start].isspace():
            start += 1
        try:
            end = decoder.raw_decode(array, start)[1]
            from_json(array[start:end])
        except ValueError:
            return number
        at = array.index(",", end)


def _check_lines(text: str, path: Path) -> None:
    """Raises InputError where a file is one JSON object that is no row: over several lines, or around the rows."""
    try:
        whole = json.loads(text)
    except (ValueError, RecursionError):
        return
    several = "\n" in text.strip()
    if isinstance(whole, dict) and (several or _is_around_rows(whole)):
        what = "over several lines" if several else "with the rows inside"
        problem = f"is one JSON object {what} (its keys: {', '.join(whole)[:80]})"
        fix = "write its rows alone, as an array of objects or one object a line (pandas: orient='records')"
        raise InputError(problem, where=str(path), fix=fix)


def _is_around_rows(whole: dict[str, Any]) -> bool:
    """Whether an object holds rows, or columns as pandas writes them, rather than being a row."""
    lists = [value for value in whole.values() if isinstance(value, list)]
    asks = {*PROMPT_NAMES, "messages", "conversations"} & whole.keys()
    return _are_rows([*whole.values()]) or (not asks and len(lists) == 1 and _are_rows(lists[0]))


def _are_rows(items: list[Any]) -> bool:
    """Whether they are objects, and no messages."""
    spoken = {"role", "from", "content", "value"}
    return bool(items) and all(isinstance(item, dict) and not spoken & item.keys() for item in items)


def _decode(path: Path) -> str:
    with _open(path) as file:
        content = file.read()
    try:
        return content.decode("utf-8-sig")
    except UnicodeDecodeError as error:
        line = content.count(b"\n", 0, error.start) + 1
        raise InputError("is not valid UTF-8", where=f"{path}, line {line}", fix=UTF8) from error


def read_csv(path: Path) -> Rows:
    """The rows of a table of text, whose first line names the columns."""
    text = _decode(path)
    # The limit is the whole process's; Python's own refuses a cell of more than 128 KiB.
    csv.field_size_limit(max(csv.field_size_limit(), len(text)))
    reader = csv.reader(io.StringIO(text, newline=""), strict=True, delimiter=_delimiter(path, text))
    try:
        header = next(reader, [])
        check_names(header, f"{path}, header")
        for number, cells in enumerate(filter(None, reader), start=1):
            yield _csv_row(header, cells, f"{path}, row {number}")
    except csv.Error as error:
        fix = "mend the quotes, or convert the file to .jsonl or .parquet"
        raise InputError(f"is not valid CSV: {error}", where=f"{path}, line {reader.line_num}", fix=fix) from error


def _delimiter(path: Path, text: str) -> str:
    """What separates the columns: a comma or, where the header has none, a semicolon or a tab (spreadsheets)."""
    if unpacked(path).suffix.lower() == ".tsv":
        return "\t"
    header = text.partition("\n")[0]
    return next((mark for mark in ",;\t" if mark in header), ",")


def check_names(columns: Sequence[str], where: str) -> None:
    """Raises InputError where two columns have one name, so that one of them would be lost."""
    name, count = Counter(columns).most_common(1)[0] if columns else ("", 0)
    if count > 1:
        raise InputError(f"two columns are named '{name}'", where=where, fix="rename one of them")


def _csv_row(header: list[str], cells: list[str], where: str) -> Row | InputError:
    if len(cells) != len(header):
        problem = f"has {len(cells)} values, but the header has {len(header)} columns"
        return InputError(problem, where=where, fix="put text with separators or line breaks in double quotes")
    # An empty cell is all that a CSV file has for a value that is not there.
    return Row(where=where, values={name: cell or None for name, cell in zip(header, cells, strict=True)})
