"""JSON in which NaN and ±∞, for which it has no numbers, are the texts "NaN", "Infinity" and "-Infinity".

Python's `float` and JavaScript's `Number` read these texts as the numbers that they stand for.
"""

from __future__ import annotations

import json
import math
from collections import Counter
from collections.abc import Mapping
from typing import Any

_NUMBERS = {"NaN": math.nan, "Infinity": math.inf, "-Infinity": -math.inf}


def to_json(value: Any, **layout: Any) -> str:
    """A value as JSON.

    Args:
        value: Plain values.
        layout: Arguments of `json.dumps`, such as `indent`.
    """
    try:
        return json.dumps(value, allow_nan=False, ensure_ascii=False, **layout)
    except ValueError:
        return json.dumps(_worded(value), allow_nan=False, ensure_ascii=False, **layout)


class RepeatedKeyError(ValueError):
    """A JSON object has a key twice, and all but the last of its values would be lost."""


def from_json(text: str) -> Any:
    """The value that a JSON text stands for.

    Raises:
        RepeatedKeyError: An object has a key twice.
        ValueError: The text is no JSON.
    """
    return json.loads(text, object_pairs_hook=_object)


def numbers(value: Any) -> Any:
    """A value that was read from JSON, with the numbers in place of the texts "NaN", "Infinity" and "-Infinity".

    Only for JSON without texts of people, who may write these words.
    """
    if isinstance(value, dict):
        return {name: numbers(entry) for name, entry in value.items()}
    if isinstance(value, list):
        return [numbers(entry) for entry in value]
    return _NUMBERS.get(value, value) if isinstance(value, str) else value


def _object(entries: list[tuple[str, Any]]) -> dict[str, Any]:
    found = dict(entries)
    if len(found) < len(entries):
        name, _ = Counter(key for key, _ in entries).most_common(1)[0]
        raise RepeatedKeyError(f"an object has the key '{name}' twice, and one of the values would be lost")
    return found


def _worded(value: Any) -> Any:
    if isinstance(value, Mapping):
        return {name: _worded(entry) for name, entry in value.items()}
    if isinstance(value, list | tuple):
        return [_worded(entry) for entry in value]
    if isinstance(value, float) and not math.isfinite(value):
        return "NaN" if math.isnan(value) else "Infinity" if value > 0 else "-Infinity"
    return value
