"""Kills a tiny run again and again, at random, and compares what it ends with to a run that was left alone.

Each game is one run: it is killed at random, resumed, killed again, up to `PER_GAME` times, and then resumed to its
end; its samples, log-probs, weights and evaluations must have the very bits of an undisturbed run. Three ways to die:

- at an instant: SIGKILL, or for a share SIGTERM, SIGINT or SIGHUP, after a random time;
- at a system call: SIGKILL as the process enters the n-th write, rename, fsync, unlink, …, by strace's injection;
- at a function: SIGKILL at the n-th call of one that writes, renames or removes a file, or that trains a step.

With two processes, as torchrun would start them, one of them or both are killed, and what is left is ended by SIGTERM
and, should it not obey within a minute, counted as a fault.

    python campaigns/kill.py --kills 200 --seed 0 [--processes 2] [--lora] [--minutes 30] [--json FILE]
"""

from __future__ import annotations

import argparse
import random
import shutil
import signal
import tempfile
import time
from collections import Counter
from collections.abc import Sequence
from pathlib import Path

from deaths import Death, Launcher
from ground import Figures, contents, save_tiny, write_tiny_config

PER_GAME = 6
SMALL: dict[str, object] = {
    "data": {"source": "arithmetic", "limit": 8, "held_out": 2, "max_response_tokens": 16},
    "warmup": {"training": {"num_train_epochs": 1}},
}
FUNCTIONS = (
    "os:fsync",
    "pathlib:Path.replace",
    "pathlib:Path.unlink",
    "pathlib:Path.mkdir",
    "shutil:rmtree",
    "sparring.files:_sync_folder",
    "sparring.files:append_json_line",
    "sparring.work.fill:write_shard",
    "sparring.selfplay.retention:discard",
    "sparring.trainer.trainer:SelfPlayTrainer.compute_loss",
    "transformers.trainer_callback:TrainerState.save_to_json",
)
ASKED = (signal.SIGTERM, signal.SIGINT, signal.SIGHUP)


class Campaign:
    """The games of one campaign."""

    def __init__(self, options: argparse.Namespace, folder: Path) -> None:
        self.options, self.folder = options, folder
        self.random = random.Random(options.seed)
        self.launcher = Launcher(folder, options.processes)
        self.figures = Figures("kill", options.seed)
        self.counts: dict[str, Counter[str]] = {name: Counter() for name in ("kills", "signals", "died while", "codes")}
        self.games = self.killed = 0
        model = save_tiny(folder / "model")
        batch = 2 if options.processes == 1 else 1
        training = {"learning_rate": 1e-3, "per_device_train_batch_size": batch, "save_steps": 2, "logging_steps": 3}
        lora = {"r": 2} if options.lora else None
        self.configs = {}
        for name, keep in (("all", {}), ("kept", {"models": 1, "samples": 0})):
            (folder / name).mkdir()
            self.configs[name] = write_tiny_config(
                folder / name / "config.yaml", model, lora=lora, training=training, keep=keep, **SMALL
            )
        self.expected: dict[str, dict[str, object]] = {}
        self.calls: dict[str, int] = {}
        self.seconds = 0.0

    def play(self) -> Figures:
        """Plays games until enough were killed, or time is up."""
        self._leave_alone("kept")
        self.calls = self.launcher.count_calls(["train", self.configs["all"], f"output={self.folder / 'counted'}"])
        until = time.monotonic() + 60 * self.options.minutes
        while self.killed < self.options.kills and time.monotonic() < until:
            self._game()
        self.figures.counts = {
            "processes": self.options.processes,
            "lora": self.options.lora,
            "undisturbed_seconds": round(self.seconds, 2),
            "games": self.games,
            "killed": self.killed,
            **{name: dict(sorted(found.items())) for name, found in self.counts.items()},
            "bits_differ": sum("bits" in fault for fault in self.figures.faults),
        }
        return self.figures

    def _leave_alone(self, name: str) -> dict[str, object]:
        """What an undisturbed run of a configuration ends with."""
        if name not in self.expected:
            start, whole = time.monotonic(), self.folder / name / "whole"
            codes = self.launcher.run(["train", self.configs[name], f"output={whole}"])
            if any(codes):
                raise SystemExit(f"the undisturbed run failed: {codes}\n{self.launcher.errors()}")
            self.seconds = time.monotonic() - start
            self.expected[name] = contents(whole)
        return self.expected[name]

    def _game(self) -> None:
        self.games += 1
        name = ("all", "kept")[self.games % 2]
        run = self.folder / name / f"game-{self.games}"
        command: list[object] = ["train", self.configs[name], f"output={run}"]
        deaths: list[str] = []
        for _ in range(PER_GAME):
            if self.killed >= self.options.kills:
                break
            death, victims = self._death(), self._victims()
            code = self._die(command, death, victims, deaths)
            # Also where it ended on its own: its folder is taken then, and to resume it computes nothing.
            if (run / "config.yaml").exists() and (run / "manifest.json").exists():
                command = ["resume", run]
            if code == 0:
                break
        self._finish(name, run, command, deaths)

    def _die(self, command: list[object], death: Death, victims: list[int], deaths: list[str]) -> int:
        """Lets a run die; 0 where it ended before that."""
        run = Path(str(command[-1]).removeprefix("output="))
        try:
            codes = self.launcher.run(command, death, victims)
        except TimeoutError as error:
            self._fault(f"{death}, after {deaths}: {error}")
            return 1
        if not any(codes):
            return 0
        deaths.append(str(death))
        self.killed += 1
        self.counts["kills"][death.kind] += 1
        self.counts["signals"][signal.Signals(death.by).name] += 1
        self.counts["died while"][_stage(run)] += 1
        self.counts["codes"].update(map(str, codes))
        # −9 of the killed, 143 and kin of those that were asked, 1 of a process that lost another, or stops with it.
        allowed = {-signal.SIGKILL, 0, 1, *(128 + each for each in ASKED), *(-each for each in ASKED)}
        errors = self.launcher.errors()
        told = any(
            each in errors for each in ("lost the connection", "another process of the launch was asked to stop")
        )
        if not set(codes) <= allowed or "Traceback" in errors or (1 in codes and not told):
            self._fault(f"{death}, after {deaths[:-1]}: exit codes {codes}: {errors}")
        return 1

    def _finish(self, name: str, run: Path, command: list[object], deaths: list[str]) -> None:
        try:
            codes = self.launcher.run(command)
        except TimeoutError:
            codes = [124]
        if any(codes):
            self._fault(f"after {deaths}: it does not end: {codes}: {self.launcher.errors()}")
            return
        left = [str(path) for path in run.rglob("*.partial")]
        if contents(run) != self._leave_alone(name):
            self._fault(f"after {deaths}: the bits differ, see {run}")
        elif left:
            self._fault(f"after {deaths}: left behind: {left}")
        else:
            shutil.rmtree(run)

    def _death(self) -> Death:
        kinds = ["instant", "instant", "function", *(["system call"] if self.calls else [])]
        kind = self.random.choice(kinds)
        if kind == "instant":
            by = self.random.choice([signal.SIGKILL] * 3 + list(ASKED))
            return Death(kind, by, after_s=self.random.uniform(0, self.seconds))
        if kind == "function":
            return Death(kind, call=(self.random.choice(FUNCTIONS), self.random.randint(1, 24)))
        call = self.random.choice(list(self.calls))
        return Death(kind, call=(call, self.random.randint(1, self.calls[call])))

    def _victims(self) -> list[int]:
        if self.options.processes == 1:
            return [0]
        return self.random.choice([[0], [1], [0, 1]])

    def _fault(self, text: str) -> None:
        self.figures.faults.append(text)


def _stage(run: Path) -> str:
    """What a run was doing when it died, as its folder tells."""
    for name in ("base", "warmup", "iterations/000", "iterations/001"):
        stage = run / name
        if not (stage / "evaluation.json").exists():
            parts = ("held_out", "model", "training", "scores", "samples")
            last = next((part for part in parts if (stage / part).exists()), "start")
            return f"{name}: {last}"
    return "end"


def main(arguments: Sequence[str] | None = None) -> int:
    """Plays the campaign, prints its figures, and returns the exit code."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--kills", type=int, default=20)
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--processes", type=int, choices=(1, 2), default=1)
    parser.add_argument("--lora", action="store_true")
    parser.add_argument("--minutes", type=float, default=30.0, help="no new game starts after so many")
    parser.add_argument("--json", type=Path, default=None)
    options = parser.parse_args(arguments)
    folder = Path(tempfile.mkdtemp(prefix="sparring-kill-"))
    figures = Campaign(options, folder).play()
    if not figures.faults:
        shutil.rmtree(folder)
    return figures.end(options.json)


if __name__ == "__main__":
    raise SystemExit(main())
