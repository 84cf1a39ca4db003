"""Refuses links in a run or a cache: it may be another person's, and a link could lead reads and writes out of it.

The folder of the run itself may be a link, since the user names it. Inside, only folders and plain files with one name
are allowed: no symbolic links, no hard links (the file may lie elsewhere too), no pipes and no devices.
"""

from __future__ import annotations

import errno
import os
import stat
from contextlib import suppress
from pathlib import Path

from sparring.errors import InputError

_FIX = (
    "remove it, or put a plain copy in its place: nothing in a run or a cache may lead out of it. One that is to lie "
    "elsewhere is named as a whole (output=PATH, SPARRING_CACHE)"
)
_DEEPEST = 32


def refuse_links(*paths: Path) -> None:
    """Checks files and folders with all that is in them, following no link; an absent one is passed over.

    Raises:
        InputError: One is a link, has several names, is neither a file nor a folder, lies too deep, or cannot be read.
    """
    folders = [path for path in paths if refuse_link(path)]
    for _ in range(_DEEPEST):
        folders = [inner for folder in folders for inner in _folders_in(folder)]
    if folders:
        # On thousands of levels the removal of a folder would fail.
        raise InputError("lies deeper than anything of a run or a cache", where=str(folders[0]), fix="remove it")


def refuse_link(path: Path) -> bool:
    """Checks a path as `refuse_links` does, but not what is in it; returns whether it is a folder."""
    try:
        status = path.lstat()
    except (FileNotFoundError, NotADirectoryError):
        return False
    _check(path, status)
    return stat.S_ISDIR(status.st_mode)


def open_plain(path: Path, flags: int) -> int:
    """A file descriptor for `os.fdopen`, as from `os.open`; the file is not truncated.

    Raises:
        InputError: The file is a link, or no plain file.
    """
    try:
        # Opening a pipe would wait for its other end.
        descriptor = os.open(path, flags | os.O_NOFOLLOW | os.O_NONBLOCK, 0o666)
    except OSError as error:
        if error.errno in {errno.ELOOP, errno.ENXIO, errno.EISDIR}:
            _check(path, path.lstat(), folder=False)
        raise
    try:
        _check(path, os.fstat(descriptor), folder=False)
    except BaseException:
        os.close(descriptor)
        raise
    return descriptor


def _folders_in(folder: Path) -> list[Path]:
    found: list[Path] = []
    try:
        with os.scandir(folder) as entries:
            for entry in entries:
                # Another process that plays the run may just have removed it.
                with suppress(FileNotFoundError):
                    status = entry.stat(follow_symlinks=False)
                    _check(entry.path, status)
                    if stat.S_ISDIR(status.st_mode):
                        found.append(Path(entry.path))
    except FileNotFoundError:
        pass
    except OSError as error:
        fix = "change its rights, or remove it"
        raise InputError(f"cannot be looked through ({error.strerror})", where=str(folder), fix=fix) from error
    return found


def _check(path: Path | str, status: os.stat_result, *, folder: bool = True) -> None:
    kind = stat.S_IFMT(status.st_mode)
    if folder and kind == stat.S_IFDIR:
        return
    if kind == stat.S_IFLNK:
        problem = "is a link"
    elif kind == stat.S_IFDIR:
        problem = "is a folder where a file should be"
    elif kind != stat.S_IFREG:
        problem = "is a pipe, a socket or a device"
    elif status.st_nlink > 1:
        problem = "is a hard link: the file has another name too"
    else:
        return
    raise InputError(problem, where=str(path), fix=_FIX)
