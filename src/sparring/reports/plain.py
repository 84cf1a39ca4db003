"""The summary as plain values, for programs."""

from __future__ import annotations

from dataclasses import asdict
from typing import Any

from sparring.reports.conclusion import conclude
from sparring.reports.cost import seconds_by_stage
from sparring.reports.summary import Summary


def plain(summary: Summary) -> dict[str, Any]:
    """The content of `--json`: all estimates, those that the tables leave out too; conclusion; seconds by stage."""
    return {
        "run": str(summary.path),
        "conclusion": asdict(conclude(summary, summary.answers())),
        "result": summary.result,
        "stability": summary.stability,
        "seconds": seconds_by_stage(summary.events),
        "policies": [{"name": row.name, "path": row.path, **row.estimates} for row in summary.rows],
    }
