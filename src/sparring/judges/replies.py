"""Replies of an endpoint, kept on disk by request, so that none is paid for twice."""

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
    """A reply of an endpoint, and the tokens that it counted.

    Attributes:
        text: The reply.
        prompt_tokens: Tokens of the prompt.
        completion_tokens: Tokens of the reply.
        refusal: Why there is no answer to this prompt, e.g. that the endpoint refuses it; empty if there is an answer.
        cut: Whether it was cut, by the limit or by a filter.
    """

    text: str
    prompt_tokens: int
    completion_tokens: int
    refusal: str = ""
    cut: bool = False


_TYPES = {"text": str, "prompt_tokens": int, "completion_tokens": int, "refusal": str, "cut": bool}


@dataclass(frozen=True)
class Replies:
    """A folder with one file for each reply, named by a hash of everything that decides the reply but the key.

    Attributes:
        folder: The folder.
    """

    folder: Path

    def get(self, request: Mapping[str, Any]) -> Reply | None:
        """The kept reply to a request; None if there is none, or its file is damaged.

        Raises:
            InputError: There is a file, but it cannot be read now; its reply was paid for, so none is asked for again.
        """
        fix = "give the folder back its rights, or the disk back its place: the answer in it was paid for"
        try:
            reply = Reply(**read_json(self._path(request), fix=fix)["answer"])
        except (ValueError, KeyError, TypeError) as error:
            if isinstance(error.__cause__, OSError) and not isinstance(error.__cause__, FileNotFoundError):
                raise
            return None
        types = {name: type(value) for name, value in asdict(reply).items()}
        return reply if types == _TYPES else None

    def put(self, request: Mapping[str, Any], reply: Reply) -> None:
        """Keeps the reply to a request."""
        write_json(self._path(request), {"asked": request, "answer": asdict(reply)})

    def _path(self, request: Mapping[str, Any]) -> Path:
        digest = hashlib.sha256(json.dumps(request, sort_keys=True).encode()).hexdigest()
        return self.folder / digest[:2] / f"{digest}.json"
