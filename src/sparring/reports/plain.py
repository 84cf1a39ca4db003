"""The summary as plain values, for programs."""

from __future__ import annotations

from dataclasses import asdict
from typing import Any

from sparring.reports.cost import seconds_by_stage
from sparring.reports.summary import Summary
from sparring.reports.verdict import verdict


def plain(summary: Summary) -> dict[str, Any]:
    """What `--json` prints: every estimate, those that the tables leave out too; the verdict; seconds by stage."""
    return {
        "run": str(summary.path),
        "verdict": asdict(verdict(summary, summary.answers())),
        "result": summary.result,
        "stability": summary.stability,
        "seconds": seconds_by_stage(summary.events),
        "policies": [{"name": row.name, "path": row.path, **row.estimates} for row in summary.rows],
    }
