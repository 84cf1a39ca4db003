"""Verdicts in a run's shards: a judge is asked once, and its verdicts are read when they are needed again."""

from __future__ import annotations

import hashlib
from collections.abc import Iterable, Mapping
from dataclasses import asdict, fields
from pathlib import Path

from sparring.judges import Question, StartedJudge, Verdict
from sparring.judges.protocol import COUNTS
from sparring.shard_files import remove_damaged, write_shard
from sparring.shards import VerdictRow, read_verdicts

_ASKED = [field.name for field in fields(Question)]

Verdicts = dict[int, Verdict]
"""Verdicts by prompt index."""


def judge_file(judge: StartedJudge, questions: Mapping[int, Question], path: Path) -> Verdicts:
    """The verdicts on some questions: read from `path`, or asked for and written there.

    Each is stored with a digest of the question and of the judge's identity, so a verdict on other responses or of
    another judge is never used.
    """
    digests = {index: _digest(question, judge.identity) for index, question in questions.items()}
    remove_damaged(path)
    rows = read_verdicts(path) if path.exists() else []
    if {row["index"]: row["digest"] for row in rows} != digests:
        answers = judge.judge(list(questions.values()))
        write_shard(
            path,
            [
                {"index": index, "digest": digests[index], **asdict(verdict)}
                for index, verdict in zip(questions, answers, strict=True)
            ],
        )
        rows = read_verdicts(path)
    return verdicts_of(rows)


def verdicts_of(rows: Iterable[VerdictRow]) -> Verdicts:
    """The verdicts in the rows of a shard."""
    return {row["index"]: _verdict(row) for row in rows}


def _verdict(row: VerdictRow) -> Verdict:
    table = tuple(tuple(p for p in line) for line in row["pairwise"])
    return Verdict(pairwise=table, **{name: row[name] for name in COUNTS})  # type: ignore[literal-required]


def _digest(question: Question, identity: str) -> str:
    text = repr((*(getattr(question, name) for name in _ASKED), identity))
    return hashlib.sha256(text.encode()).hexdigest()[:16]
