"""Digests inside JSON objects, which tell a damaged object from a whole one.

They reveal damage by a disk, a copy or a hand. They are no signatures: whoever may write a file may write its digest.
"""

from __future__ import annotations

import hashlib
import json
from collections.abc import Mapping
from typing import Any

from sparring.errors import InputError
from sparring.json_text import to_json

KEY = "sha256"


class DamagedError(InputError):
    """A file of a run is missing, or its content is not what the run wrote."""


def with_digest(value: Mapping[str, Any], digits: int = 64) -> dict[str, Any]:
    """The JSON object with one more entry, the last: the first digits of the sha256 of the others."""
    return {**value, KEY: _digest(value)[:digits]}


def without_digest(value: Any) -> dict[str, Any] | None:
    """The object that `with_digest` was given; None where this one is damaged."""
    if not isinstance(value, dict) or not isinstance(found := value.get(KEY), str) or not found:
        return None
    rest = {name: entry for name, entry in value.items() if name != KEY}
    return rest if _digest(rest)[: len(found)] == found and len(found) >= 16 else None


def _digest(value: Mapping[str, Any]) -> str:
    # In the form in which it will be read: with keys as text, tuples as lists, and NaN and ±∞ as words.
    plain = json.loads(to_json(value))
    return hashlib.sha256(json.dumps(plain, sort_keys=True).encode()).hexdigest()
