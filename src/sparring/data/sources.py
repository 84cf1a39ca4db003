"""Reads rows from files, folders and Hugging Face datasets, each row with the place that a person finds it at."""

from __future__ import annotations

import re
from collections import Counter
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import Any

from sparring.data.text_files import (
    PACKED,
    UTF8,
    Row,
    Rows,
    check_names,
    read_csv,
    read_json,
    read_json_lines,
    unpacked,
)
from sparring.errors import InputError, did_you_mean, in_a_line
from sparring.inputs import kind, place

_OTHER_SPLITS = ("test", "valid", "dev", "eval")
_SHARD = re.compile(r"(?P<name>.+)-\d+-of-(?P<total>\d+)\.")


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
    if found == "file" or is_data(path) or source.startswith((".", "/", "~")):
        if split != "train":
            raise InputError(f"a single file has no split '{split}'", where=str(path), fix="leave the split out")
        return Source(name=source, begin=partial(_read_file, path))
    return Source(name=source, begin=partial(_table_rows, _load_hub(source, split, subset), f"{source} [{split}]"))


def _read_file(path: Path) -> Rows:
    if kind(path) == "nothing":
        raise InputError("there is no such file", where=str(path), fix=_neighbours(path))
    reader = _reader(path)
    if reader is None:
        fix = "unpack it" if _is_packed_otherwise(path) else f"convert it to one of {', '.join(READERS)}"
        raise InputError(f"files ending in '{path.suffix}' cannot be read", where=str(path), fix=fix)
    try:
        yield from reader(path)
    except OSError as error:
        # What is wrong with the content has no number.
        fix = "download or pack it anew" if error.errno is None else "check the file and its rights"
        raise InputError(f"cannot be read: {in_a_line(error)}", where=str(path), fix=fix) from error


def _neighbours(path: Path) -> str:
    if not path.parent.is_dir():
        return f"check the path: the folder {path.parent} does not exist either"
    names = [item.name for item in path.parent.iterdir() if is_data(item)]
    return did_you_mean(path.name, names) if names else f"check the path: {path.parent} holds no data files"


def _read_parquet(path: Path) -> Rows:
    from pyarrow import parquet

    try:
        # pyarrow takes a relative path such as "s3:data.parquet" for an address.
        with parquet.ParquetFile(path.absolute()) as file:
            table = file.read()
    except Exception as error:
        # Of a broken file pyarrow says so with errors of many kinds; an OSError has no number then.
        if isinstance(error, OSError) and error.errno is not None:
            raise
        problem = f"is not a valid Parquet file: {in_a_line(error)}"
        raise InputError(problem, where=str(path), fix="write it anew") from error
    yield from _table_rows(table, str(path))


def _table_rows(table: Any, where: str) -> Rows:
    """The rows of a pyarrow table."""
    check_names(table.schema.names, where)
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
            return InputError("is not valid UTF-8", where=f"field '{name}'", fix=UTF8)
        except Exception as error:  # noqa: BLE001 - pyarrow's own errors, and those of dates that Python has not
            fix = "write it as text or as a number, or leave the column out"
            return InputError(f"holds a value that cannot be read: {error}", where=f"field '{name}'", fix=fix)
    return values


READERS: dict[str, Callable[[Path], Rows]] = {
    ".jsonl": read_json_lines,
    ".ndjson": read_json_lines,
    ".json": read_json,
    ".parquet": _read_parquet,
    ".csv": read_csv,
    ".tsv": read_csv,
}


def is_data(path: Path) -> bool:
    """Whether a file's name says that it holds rows."""
    return _reader(path) is not None


def _reader(path: Path) -> Callable[[Path], Rows] | None:
    """How the rows of a file are read, by its name; a table that is packed in itself is not packed again."""
    reader = READERS.get(unpacked(path).suffix.lower())
    return None if reader is _read_parquet and path.suffix.lower() in PACKED else reader


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
    _check_below(folder, split if chosen else "")
    for path in chosen or files:
        yield from _read_file(path)


def _data_files(folder: Path) -> list[Path]:
    """The files of a folder that hold rows, sorted; also those that are packed so that their reading is refused."""
    files = (path for path in folder.iterdir() if path.is_file())
    return sorted(path for path in files if is_data(path) or _is_packed_otherwise(path))


def _is_packed_otherwise(path: Path) -> bool:
    """Whether a file's name says that it holds rows, packed in a way that is not read."""
    return path.suffix.lower() in {*PACKED, ".xz", ".zip"} and is_data(path.with_suffix(""))


def _check_shards(files: Sequence[Path], folder: Path) -> None:
    """Raises InputError where some of the files of a set, numbered as in a-00000-of-00003.parquet, are not there."""
    named = [found for path in files if (found := _SHARD.match(path.name))]
    for (name, total), count in Counter((found["name"], found["total"]) for found in named).items():
        if count < int(total):
            problem = f"{count} of the {int(total)} files {name}-…-of-{total} are there"
            raise InputError(problem, where=str(folder), fix="download the others, or name the files that are meant")


def _check_below(folder: Path, start: str) -> None:
    """Raises InputError where a folder in the folder has files whose names start so too: nothing reads them."""
    below = (path for path in folder.iterdir() if path.is_dir() and not path.name.startswith("."))
    left = sorted(file for inner in below for file in _data_files(inner) if file.name.startswith(start))
    if left:
        problem = f"data files lie in the folder and in a folder of it, such as {left[0].relative_to(folder)}"
        fix = "move them into one folder, or name each file or folder in data.sources"
        raise InputError(problem, where=str(folder), fix=fix)


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
