"""Damage: every file of a run, spoiled in every way, one at a time, and what a command then says.

    python campaigns/damage.py --seed 0 --count 320 --minutes 60 --json campaigns/results/damage.json

Four runs are spoiled: finished ones and ones that were killed while they trained, with all weights and with LoRA. A
command must end with the bits of the undamaged run, or say which file is damaged; no traceback, and no other bits in
silence.
"""

from __future__ import annotations

import argparse
import hashlib
import json
import random
import shutil
import subprocess
import sys
import tempfile
import time
from collections import Counter
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from pyarrow import parquet

from ground import Cli, Figures, command_line, contents, save_tiny, write_tiny_config

KILL = ("sparring.trainer.trainer:SelfPlayTrainer.compute_loss", 18)
LORA: dict[str, dict[str, int] | None] = {"full": None, "lora": {"r": 2}}
WAYS = ("flipped", "halved", "emptied", "removed", "linked")
GOOD = ("same", "unread", "refused", "said")
"""The bits of the undamaged run; those, but for a file that the command neither needed nor mended; a refusal that names
the file; other bits, and the file named: a log without its damaged lines."""


@dataclass(frozen=True)
class Subject:
    """A run to be spoiled, and what each command makes of it undamaged.

    Attributes:
        name: "finished" or "killed", and "full" or "lora".
        kept: A copy of the run.
        place: Where it was played and is played on.
        expected: By command.
    """

    name: str
    kept: Path
    place: Path
    expected: dict[str, Any]

    def restore(self) -> None:
        """Puts the undamaged run in its place."""
        shutil.rmtree(self.place, ignore_errors=True)
        shutil.copytree(self.kept, self.place, symlinks=True)


def spoil(path: Path, way: str, rng: random.Random) -> None:
    """Damages a file."""
    content = path.read_bytes()
    if way == "removed":
        path.unlink()
    elif way == "linked":
        # To the same bytes elsewhere, so that only the link itself can be refused.
        elsewhere = Path(tempfile.mkdtemp()) / path.name
        elsewhere.write_bytes(content)
        path.unlink()
        path.symlink_to(elsewhere)
    elif way == "flipped":
        changed = bytearray(content or b"\0")
        changed[rng.randrange(len(changed))] ^= 1 << rng.randrange(8)
        path.write_bytes(changed)
    else:
        path.write_bytes(content[: len(content) // 2] if way == "halved" else b"")


def commands(subject: str, file: str) -> tuple[str, ...]:
    """The commands that may read a file."""
    if subject.startswith("killed"):
        return ("resume",)
    if "/model/" in file:
        return ("export", "generate")
    if "/samples/" in file or "/scores/" in file:
        return ("export-samples", "resume")
    if "held_out" in file or "evaluation" in file or "shards" in file or file in {"stability.json", "metrics.jsonl"}:
        return ("report", "resume", "export-samples")
    return ("resume", "report", "export", "export-samples", "generate")


def result_of(
    cli: Cli, place: Path, command: str, file: str, *, without: Callable[[], set[str]] = set
) -> tuple[subprocess.CompletedProcess[str], Any]:
    """How a command ended, and what it made."""
    out = place.parent / "out"
    for path in (out, out.with_suffix(".parquet")):
        shutil.rmtree(path, ignore_errors=True)
        path.unlink(missing_ok=True)
    policy = file.partition("/model/")[0] if "/model/" in file else "iterations/000"
    words: dict[str, tuple[object, ...]] = {
        "resume": ("resume", place),
        "report": ("report", place, "--json"),
        "export": ("export", place, out, "--policy", policy),
        "export-samples": ("export-samples", place, out.with_suffix(".parquet")),
        "generate": ("generate", place / policy, "-p", "What is 2 + 3?", "--max-tokens", "8", "--json"),
    }
    done = cli(*words[command])
    if done.returncode != 0:
        return done, None
    made: dict[str, Callable[[], Any]] = {
        "resume": lambda: contents(place, without=without()),
        "report": lambda: _told(json.loads(done.stdout)),
        "export": lambda: {p.name: hashlib.sha256(p.read_bytes()).hexdigest() for p in sorted(out.iterdir())},
        "export-samples": lambda: parquet.read_table(out.with_suffix(".parquet")).to_pylist(),
        "generate": lambda: json.loads(done.stdout),
    }
    return done, made[command]()


def _told(report: dict[str, Any]) -> dict[str, Any]:
    """A report without what differs from time to time."""
    return {name: value for name, value in report.items() if name not in {"report"}}


def subjects(cli: Cli, ground: Path, kinds: Sequence[str]) -> list[Subject]:
    """A finished and a killed run of each kind."""
    model, found = save_tiny(ground / "model"), []
    for kind in kinds:
        place = ground / kind / "run"
        place.parent.mkdir()
        training = {"learning_rate": 1e-3, "per_device_train_batch_size": 2, "save_steps": 2, "save_total_limit": 2}
        config = write_tiny_config(
            ground / kind / "config.yaml", model, iterations=1, lora=LORA[kind], training=training
        )
        for name, kill_at in (("killed", KILL), ("finished", None)):
            shutil.rmtree(place, ignore_errors=True)
            done = cli("train", config, kill_at=kill_at)
            assert (done.returncode == 0) == (kill_at is None), done.stderr
            kept = ground / kind / name
            shutil.copytree(place, kept)
            found.append(Subject(f"{name} {kind}", kept, place, {}))
    return found


def expected(cli: Cli, subject: Subject, command: str, file: str) -> Any:
    """What a command makes of the undamaged run; it is found out once."""
    policy = file.partition("/model/")[0] if "/model/" in file else ""
    key = f"{command} {policy}"
    if key not in subject.expected:
        subject.restore()
        done, made = result_of(cli, subject.place, command, file)
        assert done.returncode == 0, done.stderr
        subject.expected[key] = made
    return subject.expected[key]


def outcome(cli: Cli, subject: Subject, file: str, way: str, command: str, *, rng: random.Random) -> tuple[str, str]:
    """How a damage ended, in a word that is one of `GOOD` or names a fault, and what was said."""
    wanted = expected(cli, subject, command, file)
    subject.restore()
    path = subject.place / file
    spoil(path, way, rng)
    damaged = _state(path)
    done, made = result_of(cli, subject.place, command, file, without=lambda: _unread(path, file, damaged))
    if "Traceback" in done.stderr:
        return "traceback", done.stderr
    if done.returncode != 0:
        plain = done.returncode in {1, 2} and "sparring: " in done.stderr and _names(done.stderr, file)
        return ("refused" if plain else "unnamed"), done.stderr
    skipped = _unread(path, file, damaged) if command == "resume" else set()
    if made == {name: value for name, value in wanted.items() if name not in skipped} if skipped else made == wanted:
        return ("unread" if skipped else "same"), done.stderr
    return ("said" if _names(done.stderr, file) else "other bits"), done.stderr


def _state(path: Path) -> tuple[bytes | None, bool]:
    return path.read_bytes() if path.exists() else None, path.is_symlink()


def _unread(path: Path, file: str, damaged: tuple[bytes | None, bool]) -> set[str]:
    """What a run holds that is not compared: a file that a command neither needed nor mended."""
    if _state(path) != damaged:
        return set()
    return {file, str(Path(file).parent)} if "/model/" in file else {file}


def _names(said: str, file: str) -> bool:
    """Whether the damaged file is named, or the policy's or checkpoint's folder that it is in."""
    folder = str(Path(file).parent)
    parts = [file, Path(file).name, *([folder] if "/" in folder else [])]
    # Lines are broken at the width of a terminal.
    return any(part in said.replace("\n", "") for part in parts)


def main(arguments: Sequence[str] | None = None) -> int:
    """Runs the campaign; returns 1 where something went wrong."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--count", type=int, default=320, help="how many damages")
    parser.add_argument("--kinds", nargs="+", choices=list(LORA), default=list(LORA), help="which runs")
    parser.add_argument("--minutes", type=float, default=60.0, help="after which no other damage is begun")
    parser.add_argument("--json", type=Path)
    options = parser.parse_args(arguments)
    figures, rng = Figures("damage", options.seed), random.Random(options.seed)
    deadline = time.monotonic() + 60 * options.minutes
    with tempfile.TemporaryDirectory() as folder:
        ground = Path(folder)
        cli = command_line(ground)
        runs = subjects(cli, ground, options.kinds)
        plan = [(run, str(path.relative_to(run.kept)), way) for run in runs for path in _files(run) for way in WAYS]
        rng.shuffle(plan)
        counts: Counter[str] = Counter()
        by_way: dict[str, Counter[str]] = {way: Counter() for way in WAYS}
        for run, file, way in plan[: options.count]:
            if time.monotonic() > deadline:
                break
            # Without its result a run looks like one that has not ended, and is reported and exported as that.
            unended = file == "result.json" and way == "removed"
            command = "resume" if unended else rng.choice(commands(run.name, file))
            ended, said = outcome(cli, run, file, way, command, rng=rng)
            counts[ended] += 1
            by_way[way][ended] += 1
            if ended not in GOOD:
                figures.faults.append(f"{run.name}: {file} {way}, then {command}: {ended}: {said[-600:]}")
    figures.counts = {
        "damages": sum(counts.values()),
        "of": len(plan),
        "outcomes": dict(sorted(counts.items())),
        "by_damage": {way: dict(sorted(each.items())) for way, each in by_way.items()},
    }
    return figures.end(options.json)


def _files(run: Subject) -> list[Path]:
    return sorted(path for path in run.kept.rglob("*") if path.is_file() and path.name not in {".lock", "report.html"})


if __name__ == "__main__":
    sys.exit(main())
