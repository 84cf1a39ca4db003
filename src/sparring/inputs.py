"""Files and settings that people give, read so that a wrong one is refused and no read waits for ever."""

from __future__ import annotations

import math
import stat
from collections.abc import Mapping, Set
from pathlib import Path
from typing import Any, Literal

from sparring.errors import InputError

# Far above any configuration that a person writes; a few lines of YAML can name one value a billion times.
_MOST_VALUES = 100_000
_DEEPEST = 64
# The last is how Alpaca's rows say that there is no input.
_NOTHING = ("", "[]", "{}", "null", "<noinput>")
_LARGEST_TEXT = 16 * 2**20


def place(source: str) -> Path:
    """The path that a person means, with `~` replaced by their home folder.

    Raises:
        InputError: There is no user of that name.
    """
    try:
        return Path(source).expanduser()
    except RuntimeError as error:
        raise InputError(f"names no folder: {error}", where=source, fix="write the whole path") from error


def kind(path: Path) -> Literal["file", "folder", "nothing"]:
    """What lies at a path: a file, a folder or nothing.

    Raises:
        InputError: It cannot be reached; or it is something else, such as a pipe, and reading it might never end.
    """
    try:
        mode = path.stat().st_mode
    except (FileNotFoundError, NotADirectoryError, ValueError):
        # The path holds a NUL or half a character.
        return "nothing"
    except OSError as error:
        raise InputError(f"cannot be reached: {error.strerror}", where=str(path), fix="check the path") from error
    if stat.S_ISDIR(mode):
        return "folder"
    if not stat.S_ISREG(mode):
        raise InputError("is no plain file but a pipe, a socket or a device", where=str(path), fix="give a file")
    return "file"


def read_text(path: Path, *, fix: str, largest: int = _LARGEST_TEXT) -> str:
    """A file's text, which must be UTF-8.

    Raises:
        InputError: There is no such file, it is no text, or it has more bytes than `largest`; the fix is `cure`.
    """
    where = str(path)
    if (found := kind(path)) != "file":
        problem = "there is no such file" if found == "nothing" else "is a folder"
        raise InputError(problem, where=where, fix=fix)
    try:
        if path.stat().st_size > largest:
            raise InputError(f"has more than {largest // 2**10:,} KiB", where=where, fix=fix)
        return path.read_text(encoding="utf-8-sig")
    except UnicodeDecodeError as error:
        raise InputError(f"is not valid UTF-8 at byte {error.start + 1}", where=where, fix=fix) from error
    except OSError as error:
        raise InputError(f"cannot be read: {error.strerror}", where=where, fix=fix) from error


def check_settings(values: Any, *, where: str, most: int = _MOST_VALUES) -> None:
    """Checks that nested settings can be read, stored and written again.

    Raises:
        InputError: They are too many or nest too deeply; a key is no text; a text holds a NUL or half a character; or
            a whole number has more than 64 bits.
    """
    waiting: list[tuple[tuple[object, ...], Any]] = [((), values)]
    count = 0
    while waiting:
        path, value = waiting.pop()
        count += 1
        if len(path) > _DEEPEST or count > most + 1:
            raise InputError(
                f"holds more than {most:,} values, or nests more than {_DEEPEST} deep",
                where=where,
                fix="write it shorter; an alias may name itself",
            )
        if isinstance(value, Mapping):
            for key in value:
                _check_value(key, (*path, key), where, key=True)
            waiting += [((*path, key), each) for key, each in value.items()]
        elif isinstance(value, list | tuple | Set):
            waiting += [((*path, number), each) for number, each in enumerate(value)]
        else:
            _check_value(value, path, where)


def _check_value(value: object, path: tuple[object, ...], where: str, *, key: bool = False) -> None:
    problem = None
    if key and not isinstance(value, str):
        problem = f"a key must be text, got {type(value).__name__}; write it in quotes"
    elif isinstance(value, str) and ("\0" in value or not is_text(value)):
        problem = "holds a NUL, or half a character, which is none"
    elif isinstance(value, int) and not -(2**63) <= value < 2**63:
        problem = "is a whole number of more than 64 bits"
    if problem:
        name = ".".join(str(part)[:40] for part in path[:8])
        raise InputError(f"{name}: {problem}" if name else problem, where=where, fix="remove or correct it")


def text_problem(value: Any, *, blank: bool = False) -> InputError | None:
    """Why a value of a row is no text for a tokenizer, and the fix; None if it is one.

    Args:
        value: The value, of any type.
        blank: Whether a text of white space only is allowed.
    """
    if not isinstance(value, str):
        return InputError(f"must be text, got {type(value).__name__}", fix="write it as text, in quotes")
    if "\0" in value:
        return InputError("holds a NUL character", fix="remove the character")
    if not is_text(value):
        fix = "write the character as UTF-8 rather than as half of a \\u escape"
        return InputError("holds a lone surrogate, which is no character", fix=fix)
    if not blank and not value.strip():
        return InputError("is empty", fix="fill it in or remove the row")
    return None


def is_nothing(value: Any) -> bool:
    """Whether a value is empty: null, no characters, an empty list, or a list whose items are all empty."""
    if isinstance(value, str):
        return value.strip() in _NOTHING
    if isinstance(value, list | tuple):
        return all(map(is_nothing, value))
    if isinstance(value, dict):
        return all(map(is_nothing, value.values()))
    return value is None or is_nan(value)


def is_nan(value: Any) -> bool:
    """Whether a value is NaN, which pandas and its like write for an empty cell."""
    return isinstance(value, float) and math.isnan(value)


def is_text(value: str) -> bool:
    r"""Whether a text can be written and tokenized: it holds no half of a character, such as JSON's "\ud800"."""
    try:
        value.encode()
    except UnicodeEncodeError:
        return False
    return True


def joined_parts(content: Any) -> Any:
    """The text of a message that is given in parts, `[{"type": "text", "text": …}]`; any other value as it is."""
    if not isinstance(content, list) or not content:
        return content
    texts = [part.get("text") if isinstance(part, dict) and _is_text(part) else None for part in content]
    return content if not all(isinstance(text, str) for text in texts) else "".join(map(str, texts))


def other_part(content: Any) -> str | None:
    """The type of the first part of a message that is not text, such as `image`; None if all are text."""
    parts = [part for part in content if isinstance(part, dict)] if isinstance(content, list) else []
    kinds = [str(part.get("type", "unknown")) for part in parts if not _is_text(part)]
    return kinds[0] if kinds else None


def _is_text(part: Mapping[str, Any]) -> bool:
    return part.get("type", "text" if "text" in part else None) in {"text", "input_text", "output_text"}
