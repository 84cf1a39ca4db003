"""What the campaigns share: a tiny real run to do harm to, the command line in processes of its own, figures.

A campaign is the long form of what the tests hold in seconds, so it plays with the tests' own tools.
"""

from __future__ import annotations

import json
import sys
import time
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

ROOT = Path(__file__).resolve().parents[1]
sys.path[:0] = [str(ROOT / "tests"), str(ROOT / "benchmarks")]

from completions_server import CompletionsServer  # noqa: E402 - the tests' tools are found by the line above
from e2e.bits import contents  # noqa: E402
from e2e.child import PRELOADED, play  # noqa: E402
from e2e.command import Cli, command_line, write_tiny_config  # noqa: E402
from e2e.several import play_together  # noqa: E402
from measuring import hardware, versions  # noqa: E402
from tiny import save_tiny  # noqa: E402

__all__ = [
    "PRELOADED",
    "Cli",
    "CompletionsServer",
    "Figures",
    "command_line",
    "contents",
    "play",
    "play_together",
    "save_tiny",
    "write_tiny_config",
]


@dataclass
class Figures:
    """What a campaign tried and what came out, printed and written as JSON.

    Attributes:
        campaign: Its name.
        seed: What all its random choices come from.
        counts: How many were tried, by kind, and how many ended in each way.
        faults: What should not have happened, each in words that let somebody do it again.
    """

    campaign: str
    seed: int
    counts: dict[str, Any] = field(default_factory=dict)
    faults: list[str] = field(default_factory=list)
    started: float = field(default_factory=time.monotonic)

    def end(self, to: Path | None) -> int:
        """Prints the figures, writes them where a file is given, and returns the exit code, 1 after faults."""
        found = {
            "campaign": self.campaign,
            "command": " ".join(["python", *sys.argv]),
            "seed": self.seed,
            **self.counts,
            "faults": self.faults,
            "seconds": round(time.monotonic() - self.started, 1),
            "hardware": hardware(),
            "versions": versions(),
        }
        text = json.dumps(found, indent=2, ensure_ascii=False) + "\n"
        sys.stdout.write(text)
        if to is not None:
            to.write_text(text, encoding="utf-8")
        return 1 if self.faults else 0
