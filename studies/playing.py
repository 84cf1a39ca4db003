"""Runs of a study: each in a process of its own, several side by side, and gone on with where they were stopped."""

from __future__ import annotations

import argparse
import os
import subprocess
import sys
from collections.abc import Callable, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor, as_completed
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch

from sparring.run_directory import RunDirectory


@dataclass(frozen=True, kw_only=True)
class Play:
    """A run to be played.

    Attributes:
        run: Its directory.
        arguments: The recipe and its overrides.
    """

    run: Path
    arguments: tuple[str, ...]

    @property
    def ended(self) -> bool:
        """Whether it was played to its end."""
        return RunDirectory(self.run).result.exists()

    def play(self, threads: int) -> None:
        """Starts it, continues it, or leaves it where it ended. None stops early: a study is about how it goes on."""
        if self.ended:
            return
        if RunDirectory(self.run).manifest.exists():
            # What the run does with that consent, such as importing a judge's rule, this command asked for itself.
            sparring("resume", self.run, "--trust-remote-code", threads=threads)
        else:
            sparring("train", *self.arguments, f"output={self.run}", "stop.enabled=false", threads=threads)


def options(description: str | None) -> argparse.Namespace:
    """The command line of a study on a model that adds."""
    parser = argparse.ArgumentParser(description=description, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("folder", type=Path, help="where the runs are, of this study and of others")
    parser.add_argument("--seeds", type=int, nargs="+", default=[0, 1])
    parser.add_argument("--at-once", type=int, default=2)
    parser.add_argument("--table", action="store_true", help="play nothing")
    return parser.parse_args()


def play_all(plays: Sequence[Play], *, at_once: int, after_each: Callable[[], None] = lambda: None) -> None:
    """Plays what is missing, so many runs side by side on the cores that there are.

    Args:
        plays: The runs.
        at_once: How many go on at a time.
        after_each: Called as a run ends, in the caller's thread.

    Raises:
        subprocess.CalledProcessError: A run failed; the others that had begun were played to their end.
    """
    missing = [each for each in plays if not each.ended]
    with ThreadPoolExecutor(at_once) as pool:
        started = [pool.submit(each.play, _threads(at_once)) for each in missing]
        for each in as_completed(started):
            try:
                each.result()
                after_each()
            except subprocess.CalledProcessError:
                pool.shutdown(cancel_futures=True)
                raise


def of_ended(
    cases: Mapping[int, Mapping[str, Play]] | Mapping[str, Mapping[str, Play]], measured: Callable[[str, Path], Any]
) -> dict[str, dict[str, Any]]:
    """What is measured of every run that has ended, by case and seed.

    Args:
        cases: The runs, by seed, or by what else stands for it, and case.
        measured: Takes a case and its run.
    """
    found: dict[str, dict[str, Any]] = {}
    for seed, of_seed in cases.items():
        for case, play in of_seed.items():
            if play.ended:
                found.setdefault(case, {})[str(seed)] = measured(case, play.run)
    return found


def sparring(*arguments: object, threads: int) -> None:
    """One command, in a process of its own, so that its memory ends with it; what it says goes to a log."""
    environment = os.environ | {"OMP_NUM_THREADS": str(threads)}
    command = [sys.executable, "-m", "sparring", *map(str, arguments)]
    subprocess.run(command, check=True, env=environment)


def _threads(at_once: int) -> int:
    # Of the cores that this process may use, which may be fewer than there are.
    return max(1, torch.get_num_threads() // at_once)
