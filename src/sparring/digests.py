"""Digests inside JSON objects, by which a damaged one is told from a whole one.

They find what a disk, a copy or a hand spoiled. They are no signatures: whoever may write a file may write its digest.
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
    """A file of a run is not what was written into it."""


def with_digest(value: Mapping[str, Any], digits: int = 64) -> dict[str, Any]:
    """A JSON object with the sha256 of the rest as its last entry, cut to some digits."""
    return {**value, KEY: _digest(value)[:digits]}


def without_digest(value: Any) -> dict[str, Any] | None:
    """The object that `with_digest` was given; None where this one is damaged."""
    if not isinstance(value, dict) or not isinstance(found := value.get(KEY), str) or not found:
        return None
    rest = {name: entry for name, entry in value.items() if name != KEY}
    return rest if _digest(rest)[: len(found)] == found and len(found) >= 16 else None


def _digest(value: Mapping[str, Any]) -> str:
    # As it will be read: keys become text, tuples lists, and what is no number its word.
    plain = json.loads(to_json(value))
    return hashlib.sha256(json.dumps(plain, sort_keys=True).encode()).hexdigest()
