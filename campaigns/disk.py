"""Runs whose disk is full at random moments: each ends with the very bits of an undisturbed one once there is space.

    python campaigns/disk.py --seed 0 --runs 48 --minutes 30 --json campaigns/results/disk.json

What is done to them, in turn:

    full       the run lies on a file system of its own, which is filled up at a random moment, again and again
    read-only  it is killed there, and its file system is then one that can only be read
    limit      no file may grow beyond a random size (RLIMIT_FSIZE), so that writing ends in the middle of a file
    call       a random call of a function that writes fails for want of space
    cache      the cache that runs share is full, or can only be read: the run goes on without it
    targets    `report --to`, `export` and `export-samples` write to where there is no space, or no right

Where no file system may be mounted (it takes root), only `limit` and `call` are done, and the figures say so.
"""

from __future__ import annotations

import argparse
import errno
import random
import shutil
import subprocess
import sys
import tempfile
import threading
import time
from collections import Counter
from collections.abc import Callable, Iterator
from contextlib import contextmanager, nullcontext
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from ground import Cli, Figures, command_line, contents, save_tiny, write_tiny_config

# By function: about how often an undisturbed run calls it.
WRITES = {
    "os:fsync": 60,
    "os:replace": 60,
    "torch:save": 8,
    "pyarrow.parquet:write_table": 25,
    "sparring.work.fill:write_shard": 25,
    "transformers.trainer_callback:TrainerState.save_to_json": 6,
    "sparring.run_directory:append_json_line": 60,
}
MOUNTED = ("full", "read-only", "cache", "targets")
SIZE = 32 * 2**20
AT_MOST = 3
FULL = (", then `sparring resume RUN`", ", then give the command again", "the run needs about")
CLOSED = ("lies on a file system that can only be read",)


@dataclass
class Ground:
    """What the trials share.

    Attributes:
        folder: Where all lies that is not on a file system of its own.
        mount: The folder of that file system.
        cli: The command line.
        size: How many bytes an undisturbed run is in the end.
        expected: What it computes.
        random: Decides everything.
        figures: What is found.
    """

    folder: Path
    mount: Path
    cli: Cli
    random: random.Random
    figures: Figures
    size: int = 0
    expected: dict[str, object] = field(default_factory=dict)
    told: Counter[str] = field(default_factory=Counter)

    @property
    def config(self) -> Path:
        """The configuration of every run."""
        return self.folder / "config.yaml"

    @property
    def whole(self) -> Path:
        """The undisturbed run."""
        return self.folder / "whole"

    def fault(self, what: str) -> None:
        """Notes what should not have happened."""
        self.figures.faults.append(what)


class Trial:
    """One run: its commands, each checked to end well or in plain words."""

    def __init__(self, ground: Ground, kind: str, number: int, run: Path) -> None:
        self.ground, self.run, self.name = ground, run, f"{kind} {number}"
        self.harmed = 0

    def play(self, words: tuple[str, ...] = FULL, **harm: Any) -> bool:
        """Starts the run, or resumes it; whether it came to its end."""
        started = (self.run / "config.yaml").exists() and (self.run / "manifest.json").exists()
        command = ("resume", self.run) if started else ("train", self.ground.config, f"output={self.run}")
        return self.tell(command, words, **harm)

    def tell(self, command: tuple[object, ...], words: tuple[str, ...], **harm: Any) -> bool:
        """Gives a command; whether it did its work. Else it must have said why in one of the words."""
        done = self.ground.cli(*command, **harm)
        if done.returncode == 0:
            return True
        if done.returncode < 0 and "kill_at" in harm:
            self.harmed += 1
            return False
        self.harmed += 1
        said = next((word for word in words if word in done.stderr), None)
        self.ground.told[f"exit code {done.returncode}"] += 1
        if said is None or "Traceback" in done.stderr or done.returncode not in {1, 2}:
            self.ground.fault(f"{self.name}: {command[0]} {harm} ended with {done.returncode}: {done.stderr[-1500:]}")
        return False

    def end(self) -> None:
        """There is space again: the run ends, with the right bits and nothing half written."""
        # A run may have been stopped on its last step, the report.
        if not self.play():
            self.ground.fault(f"{self.name}: did not end although there was space")
            return
        if contents(self.run) != self.ground.expected:
            self.ground.fault(f"{self.name}: ended with other bits than an undisturbed run")
        if left := [str(path) for path in self.run.rglob("*.partial")]:
            self.ground.fault(f"{self.name}: left {left}")


@contextmanager
def filled(folder: Path, used: int = 0) -> Iterator[None]:
    """No byte is free on the file system of a folder from when so many bytes are used, until the end."""
    filler, stop = folder / "filler", threading.Event()

    def fill() -> None:
        while shutil.disk_usage(folder).used < used and not stop.wait(0.002):
            pass
        with filler.open("wb", buffering=0) as file:
            for size in (2**20, 4096, 1):
                try:
                    while not stop.is_set():
                        file.write(bytes(size))
                except OSError as error:
                    if error.errno != errno.ENOSPC:
                        raise

    thread = threading.Thread(target=fill)
    thread.start()
    if used == 0:
        time.sleep(0.05)
    try:
        yield
    finally:
        stop.set()
        thread.join()
        filler.unlink(missing_ok=True)


@contextmanager
def read_only(folder: Path) -> Iterator[None]:
    """The file system that is mounted on a folder can only be read meanwhile."""
    subprocess.run(["mount", "-o", "remount,ro", folder], check=True)
    try:
        yield
    finally:
        subprocess.run(["mount", "-o", "remount,rw", folder], check=True)


def full(ground: Ground, trial: Trial) -> None:
    """Fills the run's file system at random moments."""
    for _ in range(ground.random.randint(1, AT_MOST)):
        # In bytes, since a busy machine takes many times as long.
        with filled(ground.mount, used=int(ground.random.random() * ground.size)):
            if trial.play():
                return


def closed(ground: Ground, trial: Trial) -> None:
    """Kills the run; then nothing may be written there."""
    trial.play(kill_at=("sparring.work.fill:write_shard", ground.random.randint(1, 20)))
    with read_only(ground.mount):
        trial.play(CLOSED)
        if (trial.run / "config.yaml").exists():
            trial.tell(("report", trial.run), CLOSED)
            to = ground.folder / "report.html"
            if not trial.tell(("report", trial.run, "--to", to), ()):
                ground.fault(f"{trial.name}: no report was written elsewhere")


def limit(ground: Ground, trial: Trial) -> None:
    """Lets no file grow beyond a random size."""
    # The largest file of the run is a checkpoint of about 300 kB; standard error is a file too.
    for _ in range(ground.random.randint(1, AT_MOST)):
        if trial.play(largest_file=int(4096 * 2 ** ground.random.uniform(0, 7))):
            return


def call(ground: Ground, trial: Trial) -> None:
    """Lets random calls of functions that write fail."""
    for _ in range(ground.random.randint(1, AT_MOST)):
        function = ground.random.choice(list(WRITES))
        if trial.play(disk_full_at=(function, ground.random.randint(1, WRITES[function]))):
            return


def cache(ground: Ground, trial: Trial) -> None:
    """Plays with a cache that cannot be written."""
    harm = filled(ground.mount) if ground.random.random() < 0.5 else read_only(ground.mount)
    trial.run = ground.folder / trial.name.replace(" ", "-")
    environment = {"SPARRING_CACHE": str(ground.mount)}
    command = ("train", ground.config, f"output={trial.run}", "reuse=true")
    with harm:
        if not trial.tell(command, (), environment=environment):
            ground.fault(f"{trial.name}: a run needs the cache")
    trial.harmed += 1


def targets(ground: Ground, trial: Trial) -> None:
    """Writes what leaves a run to where it cannot be written, and then to where it can."""
    whole, full_disk = ground.whole, ground.random.random() < 0.5
    commands: list[tuple[object, ...]] = [
        ("report", whole, "--to", ground.mount / "report.html"),
        ("export", whole, ground.mount / "model", "--policy", "iterations/000"),
        ("export-samples", whole, ground.mount / "samples.parquet"),
    ]
    with filled(ground.mount) if full_disk else read_only(ground.mount):
        for command in commands:
            if trial.tell(command, FULL if full_disk else CLOSED):
                ground.fault(f"{trial.name}: {command[0]} wrote to a full disk")
    if left := [path.name for path in ground.mount.iterdir()]:
        ground.fault(f"{trial.name}: left {left}")
    for command in commands:
        if not trial.tell(command, ()):
            ground.fault(f"{trial.name}: {command[0]} did not write where there was space")
    trial.run = whole


KINDS: dict[str, Callable[[Ground, Trial], None]] = {
    "full": full,
    "limit": limit,
    "read-only": closed,
    "call": call,
    "cache": cache,
    "targets": targets,
}


def play(ground: Ground, kind: str, number: int) -> bool:
    """Plays one trial; whether anything was done to it before it ended."""
    run = ground.mount / "run" if kind in MOUNTED else ground.folder / f"{kind}-{number}"
    trial = Trial(ground, kind, number, run)
    with mounted(ground.mount) if kind in MOUNTED else nullcontext():
        KINDS[kind](ground, trial)
        trial.end()
    if trial.run != ground.whole:
        shutil.rmtree(trial.run, ignore_errors=True)
    return trial.harmed > 0


@contextmanager
def mounted(folder: Path) -> Iterator[None]:
    """A file system of its own on a folder."""
    subprocess.run(["mount", "-t", "tmpfs", "-o", f"size={SIZE}", "tmpfs", folder], check=True, capture_output=True)
    try:
        yield
    finally:
        subprocess.run(["umount", "--lazy", folder], check=True)


def may_mount(folder: Path) -> bool:
    """Whether this user may mount a file system."""
    try:
        with mounted(folder):
            return True
    except (OSError, subprocess.CalledProcessError):
        return False


def campaign(folder: Path, *, seed: int, runs: int, minutes: float, kinds: list[str], iterations: int) -> Figures:
    """Plays the trials; the figures count those that something was done to."""
    for name in ("mount", "output"):
        (folder / name).mkdir()
    figures = Figures("disk", seed)
    # On a busy machine a run of seconds may take minutes.
    cli = command_line(folder / "output", within_s=900)
    ground = Ground(folder, folder / "mount", cli, random.Random(seed), figures)
    write_tiny_config(ground.config, save_tiny(folder / "model"), iterations=iterations)
    done = cli("train", ground.config, f"output={ground.whole}")
    assert done.returncode == 0, done.stderr
    ground.size = sum(path.stat().st_size for path in ground.whole.rglob("*") if path.is_file())
    ground.expected = contents(ground.whole)
    known = [kind for kind in kinds if kind not in MOUNTED or may_mount(ground.mount)]
    counts = {kind: {"tried": 0, "disturbed": 0} for kind in known}
    for number in range(runs):
        if time.monotonic() - figures.started > 60 * minutes:
            break
        kind = known[number % len(known)]
        counts[kind]["tried"] += 1
        counts[kind]["disturbed"] += play(ground, kind, number)
        sys.stderr.write(f"{kind} {number}: {time.monotonic() - figures.started:.0f} s, {len(figures.faults)} faults\n")
    disturbed = sum(count["disturbed"] for count in counts.values())
    figures.counts = {
        "runs": sum(count["tried"] for count in counts.values()),
        "disturbed": disturbed,
        "by_kind": counts,
        "refused": dict(ground.told),
        "file_system_of_its_own": "full" in known,
    }
    return figures


def main(arguments: list[str] | None = None) -> int:
    """Reads the options, plays, and returns the exit code."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--runs", type=int, default=48)
    parser.add_argument("--minutes", type=float, default=30.0)
    parser.add_argument("--kinds", nargs="+", choices=list(KINDS), default=list(KINDS))
    parser.add_argument("--iterations", type=int, default=2, help="of each run")
    parser.add_argument("--json", type=Path, help="write the figures there too")
    given = parser.parse_args(arguments)
    with tempfile.TemporaryDirectory() as folder:
        figures = campaign(
            Path(folder),
            seed=given.seed,
            runs=given.runs,
            minutes=given.minutes,
            kinds=given.kinds,
            iterations=given.iterations,
        )
    return figures.end(given.json)


if __name__ == "__main__":
    sys.exit(main())
