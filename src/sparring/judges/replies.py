"""Replies of an endpoint that were paid for, kept on disk by what was asked."""

from __future__ import annotations

import hashlib
import json
from collections.abc import Mapping
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

from sparring.files import read_json, write_json


@dataclass(frozen=True, kw_only=True)
class Reply:
    """What an endpoint said, and the tokens that it counted.

    Attributes:
        text: Its words.
        prompt_tokens: Tokens that it was asked in, and
        completion_tokens: that it said them in.
        refusal: Why it would not answer this prompt; empty where it did.
        cut: Whether the limit ended it.
    """

    text: str
    prompt_tokens: int
    completion_tokens: int
    refusal: str = ""
    cut: bool = False


_TYPES = {"text": str, "prompt_tokens": int, "completion_tokens": int, "refusal": str, "cut": bool}


@dataclass(frozen=True)
class Replies:
    """One file a reply, written whole; its name is a hash of all that decides the reply.

    A key never gets here: it decides nothing.
    """

    folder: Path

    def get(self, asked: Mapping[str, Any]) -> Reply | None:
        """The reply, if it was given before; a file that cannot be read is asked for again."""
        try:
            reply = Reply(**read_json(self._path(asked))["answer"])
        except (OSError, ValueError, KeyError, TypeError):
            return None
        types = {name: type(value) for name, value in asdict(reply).items()}
        return reply if types == _TYPES else None

    def put(self, asked: Mapping[str, Any], reply: Reply) -> None:
        """Keeps a reply."""
        write_json(self._path(asked), {"asked": asked, "answer": asdict(reply)})

    def _path(self, asked: Mapping[str, Any]) -> Path:
        digest = hashlib.sha256(json.dumps(asked, sort_keys=True).encode()).hexdigest()
        return self.folder / digest[:2] / f"{digest}.json"
