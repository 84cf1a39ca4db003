"""Folders that are written once: the file written last, `digests.json`, has the digest of every other file."""

from __future__ import annotations

import functools
import hashlib
import os
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

from sparring.digests import DamagedError
from sparring.files import read_json, write_json

DIGESTS = "digests.json"


def seal(folder: Path, *, log_lines: int) -> None:
    """Writes a folder's `digests.json`, with a sha256 of every file in it, when all of them are on the disk.

    Args:
        folder: The folder.
        log_lines: The number of lines of the run's log by now, so that a later loss of lines is noticed.
    """
    files = _files(folder)
    # Side by side: a thread that hashes, or waits for the disk, lets the others run.
    with ThreadPoolExecutor() as pool:
        digests = pool.map(_sync, (folder / file for file in files))
        values = {"files": dict(zip(files, digests, strict=True)), "log_lines": log_lines}
    write_json(folder / DIGESTS, values)


def _sync(path: Path) -> str:
    """A file's sha256, when it is on the disk."""
    with path.open("rb") as content:
        digest = hashlib.file_digest(content, "sha256").hexdigest()
        os.fsync(content.fileno())
    return digest


def check_folder(folder: Path, *, fix: str) -> None:
    """Checks that a folder holds exactly the files that `seal` found; once in a process, for it reads every byte.

    Args:
        folder: The folder.
        fix: What to do if it is damaged.

    Raises:
        DamagedError: A file is changed, missing, a link, or was added later.
    """
    path = folder / DIGESTS
    if path.is_symlink() or not path.is_file():
        problem = f"the folder has no {DIGESTS}: it was not written to its end, or lost the file"
        raise DamagedError(problem, where=str(folder), fix=fix)
    _check(folder.absolute(), path.read_bytes(), fix)


@functools.lru_cache(maxsize=64)
def _check(folder: Path, _sealed: bytes, fix: str) -> None:
    digests = read_json(folder / DIGESTS, fix=fix).get("files")
    if not isinstance(digests, dict):
        raise DamagedError("it holds no digests of files", where=str(folder / DIGESTS), fix=fix)
    paths = {folder / file: digests.get(file) for file in sorted({*digests, *_files(folder)})}
    with ThreadPoolExecutor() as pool:
        for path, problem in zip(paths, pool.map(_problem, paths, paths.values()), strict=True):
            if problem is not None:
                raise DamagedError(problem, where=str(path), fix=fix)


def _problem(path: Path, digest: object) -> str | None:
    if digest is None:
        return "the file was put there after the folder was written"
    if path.is_symlink():
        return "the file was replaced by a link"
    if not path.is_file():
        return "the file is missing"
    with path.open("rb") as content:
        found = hashlib.file_digest(content, "sha256").hexdigest()
    return None if found == digest else "the file is damaged: its sha256 is another"


def _files(folder: Path) -> list[str]:
    """The relative path of every file and link below a folder, except its `digests.json`."""
    found = (path for path in folder.rglob("*") if path.is_symlink() or not path.is_dir())
    return sorted(str(path.relative_to(folder)) for path in found if path != folder / DIGESTS)
