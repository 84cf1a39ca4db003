"""Feeds broken and hostile input to everything that reads some: what is wrong must be said in words, and in time.

    $ python campaigns/fuzz.py --inputs 100000 --minutes 60 --seed 0 --json campaigns/results/fuzz.json

Most of an input is right, and one thing in it is odd, so that about half of them are read and the others refused in
many places; `distinct refusals` counts those. Each kind of input has a strategy of hypothesis and the very function
that the commands call. A fault is any exception but sparring's own errors, or an input that takes more than `SLOWEST`
seconds; it is minimised, printed, and written to the folder `--failures`. The same seed makes the same inputs.
"""

from __future__ import annotations

import argparse
import random
import re
import sys
import tempfile
import time
import traceback
from collections import Counter
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from hypothesis import HealthCheck, Phase, given, seed, settings
from hypothesis.strategies import SearchStrategy

from ground import Figures
from sparring.errors import SparringError

SLOWEST = 20.0
VARIANTS = 1


class SlowError(Exception):
    """An input took too long."""


@dataclass(frozen=True)
class Target:
    """Something that reads input.

    Attributes:
        inputs: What it is fed with.
        read: Reads one, in a folder that it may write to.
        share: Its part of all inputs.
        damage: Makes an input of another kind of wrong out of one; `VARIANTS` of each are read too.
    """

    inputs: SearchStrategy[Any]
    read: Callable[[Any, Path], None]
    share: float
    damage: Callable[[Any, random.Random], Any] | None = None


def refusal(error: SparringError) -> tuple[str, int, str]:
    """What tells one refusal from another: the line that raised it, and its first plain words, none of them quoted."""
    *_, (frame, line) = traceback.walk_tb(error.__traceback__)
    told = re.sub(r"^\S*: |, got .*|\(.*|(?<!\w)'[^']*'", " ", getattr(error, "problem", str(error)).partition("\n")[0])
    words = re.findall(r"(?<!\S)[a-z]+(?=[,;:]?(?:\s|$))", told)
    return frame.f_code.co_filename, line, " ".join(words[:4])


@dataclass(kw_only=True)
class Reading:
    """One kind of input as it is read.

    Attributes:
        target: What reads it.
        folder: Where that may write.
        until: When to stop.
        counts: How many inputs there were, and how many of them were read and refused.
        refusals: The refusals that differ.
        failed: The last input that was a fault.
    """

    target: Target
    folder: Path
    until: float
    counts: Counter[str] = field(default_factory=Counter)
    refusals: set[tuple[str, int, str]] = field(default_factory=set)
    failed: list[Any] = field(default_factory=list)

    def inputs(self, value: Any) -> None:
        """Reads an input, and what damage makes of it."""
        if time.monotonic() > self.until and not self.failed:
            return
        self._read(value)
        chance = random.Random(repr(value))
        for _ in range(VARIANTS if self.target.damage else 0):
            self._read(self.target.damage(value, chance))  # type: ignore[misc]

    def _read(self, value: Any) -> None:
        started = time.monotonic()
        self.counts["inputs"] += 1
        try:
            self.target.read(value, self.folder)
            self.counts["read"] += 1
        except SparringError as error:
            self.counts["refused"] += 1
            self.refusals.add(refusal(error))
        except Exception:
            self.failed = [value]
            raise
        # The first imports what reads it.
        if time.monotonic() - started > SLOWEST and self.counts["inputs"] > 1:
            self.failed = [value]
            raise SlowError(f"{time.monotonic() - started:.1f} s")


def fuzz(target: Target, *, inputs: int, seconds: float, number: int) -> tuple[dict[str, int], str | None]:
    """Reads so many inputs; how many were read and refused, and the first fault, minimised, with its traceback."""
    options = settings(
        max_examples=max(1, inputs // (1 + (VARIANTS if target.damage else 0))),
        database=None,
        deadline=None,
        derandomize=False,
        suppress_health_check=list(HealthCheck),
        phases=(Phase.generate, Phase.shrink),
        report_multiple_bugs=False,
        print_blob=False,
    )
    fault = None
    with tempfile.TemporaryDirectory() as folder:
        reading = Reading(target=target, folder=Path(folder), until=time.monotonic() + seconds)
        try:
            seed(number)(options(given(target.inputs)(reading.inputs)))()
        except BaseException as error:
            if isinstance(error, KeyboardInterrupt):
                raise
            told = "".join(traceback.format_exception(error))[-3000:]
            fault = f"{type(error).__name__}: {reading.failed[:1]!r:.2000}\n{told}"
    return {**reading.counts, "distinct refusals": len(reading.refusals)}, fault


def main(arguments: Sequence[str] | None = None) -> int:
    """Feeds everything; the exit code is 1 where there were faults."""
    from fuzz_targets import TARGETS

    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0] if __doc__ else "")
    parser.add_argument("--inputs", type=int, default=100_000)
    parser.add_argument("--minutes", type=float, default=60.0)
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--only", nargs="*", choices=sorted(TARGETS), default=sorted(TARGETS))
    parser.add_argument("--failures", type=Path, default=Path("fuzz-failures"))
    parser.add_argument("--json", type=Path)
    asked = parser.parse_args(arguments)
    figures, by_kind = Figures("fuzz", asked.seed), {}
    total = sum(TARGETS[name].share for name in asked.only)
    sys.setrecursionlimit(1000)
    for name in asked.only:
        share = TARGETS[name].share / total
        # Time is kept generously by share: a fast one leaves the others what it did not need.
        by_kind[name], fault = fuzz(
            TARGETS[name],
            inputs=max(1, round(asked.inputs * share)),
            seconds=max(5.0, 60 * asked.minutes * (0.02 + share)),
            number=random.Random(f"{asked.seed} {name}").getrandbits(64),
        )
        print(f"{name}: {by_kind[name]}", file=sys.stderr, flush=True)
        if fault is not None:
            told = f"{name}: {fault}"
            figures.faults.append(told)
            asked.failures.mkdir(parents=True, exist_ok=True)
            (asked.failures / f"{name}.txt").write_text(told, encoding="utf-8", errors="backslashreplace")
            print(told.encode("utf-8", "backslashreplace").decode(), file=sys.stderr, flush=True)
    figures.counts = {"inputs": sum(counts["inputs"] for counts in by_kind.values()), "by_kind": by_kind}
    return figures.end(asked.json)


if __name__ == "__main__":
    sys.exit(main())
