"""What tells the verdicts of one judge from those of another."""

from __future__ import annotations

import hashlib
from dataclasses import dataclass, fields
from pathlib import Path

from sparring.judges.protocol import Judge, JudgeSettings


@dataclass(frozen=True)
class StartedJudge:
    """A judge, and the `fingerprint` of what it was started from: files may change while it is at work."""

    judge: Judge
    identity: str

    @classmethod
    def of(cls, settings: JudgeSettings, cache: Path) -> StartedJudge:
        """Starts it; see `JudgeSettings`."""
        return cls(settings.start(cache), fingerprint(settings))


def fingerprint(settings: JudgeSettings) -> str:
    """A sha256 of a judge's settings, and of what they name on this machine: a template, a model's folder.

    A Hugging Face id, a model behind an endpoint and a rule that is a Python function stand for themselves. How an
    endpoint is reached does not matter.
    """
    names = [item.name for item in fields(settings) if item.name not in settings.reached_by]  # type: ignore[arg-type]
    decisive = {name: getattr(settings, name) for name in names}
    digest = hashlib.sha256(f"{type(settings).__name__} {sorted(decisive.items())}".encode())
    for part in settings.on_this_machine():
        digest.update(part.encode())
    return digest.hexdigest()
