"""The identity of a judge, which tells its verdicts from those of another judge."""

from __future__ import annotations

import hashlib
from dataclasses import dataclass, fields
from pathlib import Path

from sparring.judges.protocol import Judge, JudgeSettings


@dataclass(frozen=True)
class StartedJudge:
    """A judge that was started, and its identity.

    Attributes:
        judge: The judge.
        identity: The `fingerprint` of its settings when it was started, since files may change while it works.
    """

    judge: Judge
    identity: str

    @classmethod
    def of(cls, settings: JudgeSettings, cache: Path) -> StartedJudge:
        """Starts the judge of some settings; see `JudgeSettings.start`."""
        return cls(settings.start(cache), fingerprint(settings))


def fingerprint(settings: JudgeSettings) -> str:
    """A sha256 of a judge's settings, and of the files that they name: a template, a model's folder.

    A Hugging Face id, a model behind an endpoint and a rule that is a Python function count by their names only; how an
    endpoint is reached does not count.
    """
    names = [item.name for item in fields(settings) if item.name not in settings.reached_by]  # type: ignore[arg-type]
    decisive = {name: getattr(settings, name) for name in names}
    digest = hashlib.sha256(f"{type(settings).__name__} {sorted(decisive.items())}".encode())
    for part in settings.on_this_machine():
        digest.update(part.encode())
    return digest.hexdigest()
