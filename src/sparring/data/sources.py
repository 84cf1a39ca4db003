"""Reads rows from files, folders and Hugging Face datasets, each row with the place that a person finds it at."""

from __future__ import annotations

import csv
import io
import json
import re
from collections import Counter
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import Any

from sparring.errors import InputError, did_you_mean
from sparring.inputs import kind, place

_OTHER_SPLITS = ("test", "valid", "dev", "eval")
_BYTE_ORDER_MARK = b"\xef\xbb\xbf"
_PACKED = frozenset({".gz", ".bz2", ".xz", ".zst", ".zip"})
_UTF8 = "save the file as UTF-8"
_SHARD = re.compile(r"(?P<name>.+)-\d+-of-(?P<total>\d+)\.")


@dataclass(frozen=True, kw_only=True)
class Row:
    """One row as it was read: the place of it, and its values by column name."""

    where: str
    values: dict[str, Any]


# A row that cannot be read is its error, so that the caller may go on without it.
Rows = Iterator[Row | InputError]


@dataclass(frozen=True, kw_only=True)
class Source:
    """The rows of a source, which are read anew by each loop over them: nobody needs to hold them all.

    A row that cannot be read is an InputError in its place.

    Attributes:
        name: What errors call it.
        begin: Begins to read.

    Raises:
        InputError: In a loop: the source is of an unknown kind, unreadable or empty.
    """

    name: str
    begin: Callable[[], Rows]

    def __iter__(self) -> Rows:
        empty = True
        for row in self.begin():
            empty = False
            yield row
        if empty:
            raise InputError("has no rows", where=self.name, fix="give a source with at least one example")


def read(source: str, *, split: str, subset: str | None) -> Source:
    """A source, ready to be read.

    Args:
        source: A file, a folder or the name of a Hugging Face dataset.
        split: The split to take where the source has splits.
        subset: The configuration name of a Hugging Face dataset.

    Raises:
        InputError: There is no such dataset, or a split is asked of a single file.
    """
    path = place(source)
    found = kind(path)
    if found == "folder":
        return Source(name=source, begin=partial(_read_folder, path, split))
    if found == "file" or path.suffix.lower() in READERS or source.startswith((".", "/", "~")):
        if split != "train":
            raise InputError(f"a single file has no split '{split}'", where=str(path), fix="leave the split out")
        return Source(name=source, begin=partial(_read_file, path))
    return Source(name=source, begin=partial(_table_rows, _load_hub(source, split, subset), f"{source} [{split}]"))


def _read_file(path: Path) -> Rows:
    if kind(path) == "nothing":
        raise InputError("there is no such file", where=str(path), fix=_neighbours(path))
    reader = READERS.get(path.suffix.lower())
    if reader is None:
        fix = f"convert it to one of {', '.join(READERS)}" if _unpacked(path) == path else "unpack it"
        raise InputError(f"files ending in '{path.suffix}' cannot be read", where=str(path), fix=fix)
    try:
        yield from reader(path)
    except OSError as error:
        raise InputError(f"cannot be read: {error}", where=str(path), fix="check the file and its rights") from error


def _neighbours(path: Path) -> str:
    if not path.parent.is_dir():
        return f"check the path: the folder {path.parent} does not exist either"
    names = [item.name for item in path.parent.iterdir() if item.suffix.lower() in READERS]
    return did_you_mean(path.name, names) if names else f"check the path: {path.parent} holds no data files"


def _read_json_lines(path: Path) -> Rows:
    with path.open("rb") as file:
        # One line after the other: the file may be as large as half of the memory.
        for number, line in enumerate(file, start=1):
            content = (line.removeprefix(_BYTE_ORDER_MARK) if number == 1 else line).removesuffix(b"\n")
            if content.strip():
                yield _json_row(content, f"{path}, line {number}")


def _json_row(line: bytes, where: str) -> Row | InputError:
    try:
        value = json.loads(line.decode("utf-8"))
    except UnicodeDecodeError as error:
        return InputError(f"is not valid UTF-8 at byte {error.start + 1} of the line", where=where, fix=_UTF8)
    except (ValueError, RecursionError) as error:
        fix = "write one JSON object a line; a file that is one JSON array ends in .json"
        return InputError(f"is not valid JSON: {error}", where=where, fix=fix)
    return _object_row(value, where)


def _object_row(value: Any, where: str) -> Row | InputError:
    if not isinstance(value, dict):
        fix = 'write an object, e.g. {"prompt": "…", "response": "…"}'
        return InputError(f"must be a JSON object, got {type(value).__name__}", where=where, fix=fix)
    return Row(where=where, values=value)


def _read_json(path: Path) -> Rows:
    text = _decode(path)
    if not text.lstrip().startswith("["):
        yield from _read_json_lines(path)
        return
    try:
        values = json.loads(text)
    except (ValueError, RecursionError) as error:
        fix = "write one JSON array of objects"
        raise InputError(f"is not valid JSON: {error}", where=str(path), fix=fix) from error
    for number, value in enumerate(values, start=1):
        yield _object_row(value, f"{path}, row {number}")


def _decode(path: Path) -> str:
    content = path.read_bytes()
    try:
        return content.decode("utf-8-sig")
    except UnicodeDecodeError as error:
        line = content.count(b"\n", 0, error.start) + 1
        raise InputError("is not valid UTF-8", where=f"{path}, line {line}", fix=_UTF8) from error


def _read_csv(path: Path) -> Rows:
    text = _decode(path)
    reader = csv.reader(io.StringIO(text, newline=""), strict=True, delimiter=_delimiter(text))
    try:
        header = next(reader, [])
        _check_names(header, f"{path}, header")
        for number, cells in enumerate(filter(None, reader), start=1):
            yield _csv_row(header, cells, f"{path}, row {number}")
    except csv.Error as error:
        fix = "mend the quotes, or convert the file to .jsonl or .parquet"
        raise InputError(f"is not valid CSV: {error}", where=f"{path}, line {reader.line_num}", fix=fix) from error


def _delimiter(text: str) -> str:
    """What separates the columns: a comma or, where the header has none, a semicolon or a tab (spreadsheets)."""
    header = text.partition("\n")[0]
    return next((mark for mark in ",;\t" if mark in header), ",")


def _check_names(columns: Sequence[str], where: str) -> None:
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


def _read_parquet(path: Path) -> Rows:
    from pyarrow import parquet

    try:
        # pyarrow takes a relative path such as "s3:data.parquet" for an address.
        with parquet.ParquetFile(path.absolute()) as file:
            table = file.read()
    except OSError:
        raise
    except Exception as error:
        # Of a file that is broken on purpose pyarrow says so with errors of many kinds.
        raise InputError(f"is not a valid Parquet file: {error}", where=str(path), fix="write it anew") from error
    yield from _table_rows(table, str(path))


def _table_rows(table: Any, where: str) -> Rows:
    """The rows of a pyarrow table."""
    _check_names(table.schema.names, where)
    number = 0
    for batch in table.to_batches(max_chunksize=1000):
        try:
            values = batch.to_pylist()
        except Exception:  # noqa: BLE001 - whatever it is, the row in which it is says so
            values = [_slow_row(batch, position) for position in range(batch.num_rows)]
        for value in values:
            number += 1
            at = f"{where}, row {number}"
            if isinstance(value, InputError):
                yield InputError(value.problem, where=f"{at}, {value.where}", fix=value.fix)
            else:
                yield Row(where=at, values=value)


def _slow_row(batch: Any, position: int) -> dict[str, Any] | InputError:
    """One row of a batch in which some value has no counterpart; which column's it is, where it is in this row."""
    values = {}
    for name in batch.schema.names:
        try:
            values[name] = batch.column(name)[position].as_py()
        except UnicodeDecodeError:
            return InputError("is not valid UTF-8", where=f"field '{name}'", fix=_UTF8)
        except Exception as error:  # noqa: BLE001 - pyarrow's own errors, and those of dates that Python has not
            fix = "write it as text or as a number, or leave the column out"
            return InputError(f"holds a value that cannot be read: {error}", where=f"field '{name}'", fix=fix)
    return values


READERS: dict[str, Callable[[Path], Rows]] = {
    ".jsonl": _read_json_lines,
    ".json": _read_json,
    ".parquet": _read_parquet,
    ".csv": _read_csv,
}


def _read_folder(folder: Path, split: str) -> Rows:
    if (folder / "dataset_dict.json").exists() or (folder / "state.json").exists():
        yield from _read_saved(folder, split)
        return
    files = _data_files(folder)
    if not files:
        below = [path.name for path in folder.iterdir() if path.is_dir() and _data_files(path)]
        fix = f"give a folder with files ending in {', '.join(READERS)}, or one that save_to_disk wrote"
        fix = f"give its folder {' or '.join(sorted(below))}, which does" if below else fix
        raise InputError("the folder holds no data files", where=str(folder), fix=fix)
    chosen = [path for path in files if path.name.startswith(split)]
    named = [path.name for path in files if path.name.startswith(_OTHER_SPLITS)]
    if not chosen and (split != "train" or named):
        fix = f"set the split to how one of these starts: {', '.join(path.name for path in files)}"
        raise InputError(f"no data file's name starts with the split '{split}'", where=str(folder), fix=fix)
    _check_shards(chosen or files, folder)
    for path in chosen or files:
        yield from _read_file(path)


def _data_files(folder: Path) -> list[Path]:
    """The files of a folder that hold rows, sorted; also those that are packed, whose reading is refused."""
    files = (path for path in folder.iterdir() if path.is_file())
    return sorted(path for path in files if _unpacked(path).suffix.lower() in READERS)


def _unpacked(path: Path) -> Path:
    return path.with_suffix("") if path.suffix.lower() in _PACKED else path


def _check_shards(files: Sequence[Path], folder: Path) -> None:
    """Raises InputError where some of the files of a set, numbered as in a-00000-of-00003.parquet, are not there."""
    named = [found for path in files if (found := _SHARD.match(path.name))]
    for (name, total), count in Counter((found["name"], found["total"]) for found in named).items():
        if count < int(total):
            problem = f"{count} of the {int(total)} files {name}-…-of-{total} are there"
            raise InputError(problem, where=str(folder), fix="download the others, or name the files that are meant")


def _read_saved(folder: Path, split: str) -> Rows:
    import datasets

    try:
        data = datasets.load_from_disk(str(folder))
    except Exception as error:
        fix = "write it anew with save_to_disk"
        raise InputError(f"is not a readable saved dataset: {error}", where=str(folder), fix=fix) from error
    where = str(folder)
    if isinstance(data, datasets.DatasetDict):
        if split not in data:
            raise InputError(f"there is no split '{split}'", where=where, fix=did_you_mean(split, data))
        where, data = f"{folder} [{split}]", data[split]
    elif split != "train":
        raise InputError(f"a single saved dataset has no split '{split}'", where=where, fix="leave the split out")
    yield from _table_rows(data.with_format("arrow")[:], where)


def _load_hub(name: str, split: str, subset: str | None) -> Any:
    import datasets

    try:
        data = datasets.load_dataset(name, subset, split=split)
    except Exception as error:
        problem = (
            "is neither a file, a folder nor a built-in task, and loading it from the Hugging Face Hub failed "
            f"({type(error).__name__}: {error})"
        )
        fix = "check the name, data.subset, data.split and the connection, or give a local file"
        raise InputError(problem, where=name, fix=fix) from error
    return data.with_format("arrow")[:]
