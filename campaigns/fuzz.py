"""Feeds broken and hostile input to everything that reads some: what is wrong must be said in words, and in time.

    $ python campaigns/fuzz.py --inputs 100000 --minutes 60 --seed 0 --json campaigns/results/fuzz.json

Each kind of input has a strategy of hypothesis and the very function that the commands call. A fault is any exception
but sparring's own errors, or an input that takes more than `SLOWEST` seconds; it is minimised, printed, and written to
the folder `--failures`. The same seed makes the same inputs.
"""

from __future__ import annotations

import argparse
import json
import random
import sys
import tempfile
import time
import traceback
from collections import Counter
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from hypothesis import HealthCheck, Phase, given, seed, settings
from hypothesis.strategies import SearchStrategy

from ground import Figures

SLOWEST = 20.0
VARIANTS = 15


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


def fuzz(name: str, target: Target, *, inputs: int, seconds: float, number: int, counts: Counter[str]) -> str | None:
    """Reads so many inputs; the first fault, minimised, with its traceback."""
    from sparring.errors import SparringError

    until, failed = time.monotonic() + seconds, {}

    with tempfile.TemporaryDirectory() as folder:

        def read(value: Any) -> None:
            started = time.monotonic()
            counts[f"{name}/inputs"] += 1
            try:
                target.read(value, Path(folder))
                counts[f"{name}/read"] += 1
            except SparringError:
                counts[f"{name}/refused"] += 1
            except Exception:
                failed["is"] = value
                raise
            # The first imports what reads it.
            if time.monotonic() - started > SLOWEST and counts[f"{name}/inputs"] > 1:
                failed["is"] = value
                raise SlowError(f"{time.monotonic() - started:.1f} s")

        def one(value: Any) -> None:
            if time.monotonic() > until and not failed:
                return
            read(value)
            chance = random.Random(repr(value))
            for _ in range(VARIANTS if target.damage else 0):
                read(target.damage(value, chance))  # type: ignore[misc]

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
        try:
            seed(number)(options(given(target.inputs)(one)))()
        except BaseException as error:
            if isinstance(error, KeyboardInterrupt):
                raise
            told = "".join(traceback.format_exception(error))[-3000:]
            return f"{name}: {type(error).__name__}: {failed.get('is')!r:.2000}\n{told}"
    return None


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
    figures, counts = Figures("fuzz", asked.seed), Counter[str]()
    total = sum(TARGETS[name].share for name in asked.only)
    sys.setrecursionlimit(1000)
    for name in asked.only:
        target = TARGETS[name]
        share = target.share / total
        number = random.Random(f"{asked.seed} {name}").getrandbits(64)
        # Time is kept generously by share: a fast one leaves the others what it did not need.
        fault = fuzz(
            name,
            target,
            inputs=max(1, round(asked.inputs * share)),
            seconds=max(5.0, 60 * asked.minutes * (0.02 + share)),
            number=number,
            counts=counts,
        )
        print(f"{name}: {counts[f'{name}/inputs']} inputs", file=sys.stderr, flush=True)
        if fault is not None:
            figures.faults.append(fault)
            asked.failures.mkdir(parents=True, exist_ok=True)
            (asked.failures / f"{name}.txt").write_text(fault, encoding="utf-8", errors="backslashreplace")
            print(fault.encode("utf-8", "backslashreplace").decode(), file=sys.stderr, flush=True)
    figures.counts = {
        "inputs": sum(count for key, count in counts.items() if key.endswith("/inputs")),
        "by_kind": json.loads(json.dumps(dict(sorted(counts.items())))),
    }
    return figures.end(asked.json)


if __name__ == "__main__":
    sys.exit(main())
