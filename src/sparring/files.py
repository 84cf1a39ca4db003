"""Files that are either whole or absent: written under a temporary name, synced, then renamed."""

from __future__ import annotations

import fcntl
import json
import os
import shutil
from collections.abc import Iterable, Iterator, Mapping, Sequence
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import Any, BinaryIO

from sparring.digests import DamagedError, with_digest, without_digest
from sparring.inputs import kind, place
from sparring.json_text import to_json
from sparring.links import open_plain

_PARTIAL = ".partial"
_DATA_SUFFIXES = frozenset({".jsonl", ".ndjson", ".json", ".parquet", ".csv", ".tsv"})


def cache_root() -> Path:
    """The folder for what is worth keeping between runs: `$SPARRING_CACHE`, or `~/.cache/sparring`.

    Raises:
        InputError: It begins with the name of somebody who is not there.
    """
    return place(os.environ.get("SPARRING_CACHE") or "~/.cache/sparring")


def public_name(source: str) -> str:
    """What a file, a folder or a hub id is called where others read it: of a path, its last part alone.

    A relative path that is not there (any more) and looks like a hub id is taken for one.
    """
    path = Path(source).expanduser()
    is_path = source.startswith(("/", ".", "~")) or len(path.parts) > 2 or bool(_DATA_SUFFIXES & {*path.suffixes})
    return path.absolute().name if is_path or path.exists() else source


def standing(path: Path) -> Path:
    """The path itself where it is there, else the nearest above it that is."""
    return next(each for each in (path, *path.absolute().parents) if each.exists())


@contextmanager
def atomic_path(path: Path) -> Iterator[Path]:
    """Yields a temporary path beside `path`; on success what was written there becomes `path`.

    Works for a file and for a folder, whose files get the modes that the user's umask gives. If the block raises, the
    temporary is removed and `path` is untouched; if the process is killed, only the temporary is left, and the next
    writer of `path` replaces it.
    """
    path.parent.mkdir(parents=True, exist_ok=True)
    partial = path.with_name(path.name + _PARTIAL)
    try:
        remove(partial)
        yield partial
        open_to_others(partial)
        _sync(partial)
        if partial.is_dir():
            remove(path)
        partial.replace(path)
        _sync_folder(path.parent)
    except BaseException as error:
        # pyarrow and `write` do not say which file it was.
        if isinstance(error, OSError) and error.errno is not None and error.filename in {None, str(partial)}:
            error.filename = str(path)
        # Where nothing may be removed, that is not what went wrong.
        with suppress(OSError):
            remove(partial)
        raise


def write_text(path: Path, text: str) -> None:
    """Writes a whole UTF-8 file atomically."""
    with atomic_path(path) as partial:
        partial.write_text(text, encoding="utf-8")


def write_json(path: Path, value: Mapping[str, Any] | Sequence[Any]) -> None:
    """Writes a JSON object with its digest, or a list, which is for other programs, as it is; atomically."""
    whole = with_digest(value) if isinstance(value, Mapping) else value
    write_text(path, to_json(whole, indent=2) + "\n")


def read_json(path: Path, *, fix: str = "restore it from a copy") -> dict[str, Any]:
    """Reads a JSON object that `write_json` wrote, without its digest.

    Args:
        path: The file.
        fix: What to do where it is damaged.

    Raises:
        DamagedError: It is cut, empty, changed or missing.
    """
    try:
        value = json.loads(path.read_text(encoding="utf-8"))
    except (OSError, ValueError, RecursionError) as error:
        why = error.strerror if isinstance(error, OSError) else str(error).splitlines()[0]
        raise DamagedError(f"the file cannot be read ({why})", where=str(path), fix=fix) from error
    found = without_digest(value)
    if found is None:
        raise DamagedError("the file is damaged: its sha256 is not that of its content", where=str(path), fix=fix)
    return found


def write_json_lines(path: Path, values: Iterable[Any]) -> None:
    """Writes a whole file of JSON lines atomically."""
    write_text(path, "".join(f"{to_json(value)}\n" for value in values))


def append_json_line(path: Path, value: Any) -> None:
    """Appends one JSON object as one line, in one write, so that a kill loses at most that line.

    What a kill left of an earlier line is removed first: the new one would be glued to it.
    """
    with os.fdopen(open_plain(path, os.O_RDWR | os.O_CREAT | os.O_APPEND), "a+b") as file:
        _remove_torn_line(file)
        file.write((to_json(value) + "\n").encode())


def whole_lines(path: Path) -> list[bytes]:
    """The lines of a file, none where there is none; what follows the last line end was cut short by a kill."""
    # Bytes: `str.splitlines` would also split at line separators inside a string, and a cut may halve a character.
    return [] if kind(path) == "nothing" else path.read_bytes().split(b"\n")[:-1]


def _remove_torn_line(file: BinaryIO) -> None:
    if file.seek(0, os.SEEK_END) == 0:
        return
    file.seek(-1, os.SEEK_END)
    if file.read(1) != b"\n":
        file.seek(0)
        file.truncate(file.read().rfind(b"\n") + 1)


@contextmanager
def lock(path: Path, *, wait: bool = True) -> Iterator[None]:
    """Holds a file lock; the operating system drops it when its holder dies, so a kill cannot leave it behind.

    Raises:
        BlockingIOError: Another process holds it, and `wait` is false.
        InputError: It is a link or no plain file.
    """
    path.parent.mkdir(parents=True, exist_ok=True)
    with os.fdopen(open_plain(path, os.O_RDWR | os.O_CREAT), "r+b", buffering=0) as file:
        fcntl.flock(file, fcntl.LOCK_EX if wait else fcntl.LOCK_EX | fcntl.LOCK_NB)
        yield


def remove(path: Path) -> None:
    """Removes a file or a folder if it is there."""
    if path.is_dir() and not path.is_symlink():
        shutil.rmtree(path)
    else:
        path.unlink(missing_ok=True)


def discard(path: Path) -> None:
    """Removes a file or a folder, which a kill leaves whole or under a temporary name; the next call removes that."""
    doomed = path.with_name(path.name + _PARTIAL)
    remove(doomed)
    if path.exists():
        path.replace(doomed)
        remove(doomed)


def open_to_others(folder: Path) -> None:
    """Undoes that a library wrote a file in a folder through a temporary one, which nobody but its user may read.

    safetensors does, so weights could not be served by another user. A file gets what the user's umask gave its folder,
    and no more: in a private folder it stays private.
    """
    for file in folder.rglob("*"):
        if file.is_file() and not file.is_symlink():
            mode = file.stat().st_mode
            given = file.parent.stat().st_mode & 0o666
            if mode | given != mode:
                file.chmod(mode | given)


def _sync(path: Path) -> None:
    for file in [path] if path.is_file() else path.rglob("*"):
        if file.is_file():
            with file.open("rb") as handle:
                os.fsync(handle.fileno())


def _sync_folder(path: Path) -> None:
    descriptor = os.open(path, os.O_RDONLY)
    try:
        os.fsync(descriptor)
    finally:
        os.close(descriptor)
