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
import multiprocessing
import multiprocessing.connection
import os
import random
import shutil
import signal
import socket
import subprocess
import tempfile
import time
from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from ground import PRELOADED, Figures, contents, play, play_together, save_tiny, write_tiny_config

PER_GAME = 6
SMALL: dict[str, object] = {
    "data": {"source": "arithmetic", "limit": 8, "held_out": 2, "max_response_tokens": 16},
    "warmup": {"training": {"num_train_epochs": 1}},
}
CALLS = ("write", "pwrite64", "openat", "fsync", "rename", "unlink", "unlinkat", "mkdir", "rmdir")
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
LIMIT_S = 180.0


@dataclass(frozen=True)
class Death:
    """How a process dies.

    Attributes:
        kind: "instant", "system call" or "function".
        by: The signal.
        after_s: When, of an instant.
        call: The system call or function, and at which of its calls.
    """

    kind: str
    by: int = signal.SIGKILL
    after_s: float = 0.0
    call: tuple[str, int] = ("", 0)

    def __str__(self) -> str:
        at = f"after {self.after_s:.2f} s" if self.kind == "instant" else f"call {self.call[1]} of {self.call[0]}"
        return f"{signal.Signals(self.by).name} at {self.kind}, {at}"


def traced(*args: Any) -> None:
    """Waits for strace, then plays."""
    until = time.monotonic() + 20
    while "TracerPid:\t0" in Path("/proc/self/status").read_text(encoding="utf-8") and time.monotonic() < until:
        time.sleep(0.01)
    play(*args)


class Launcher:
    """Starts `sparring` in one process or in two, and lets it die."""

    def __init__(self, folder: Path, processes: int) -> None:
        self._context = multiprocessing.get_context("forkserver")
        self._context.set_forkserver_preload(list(PRELOADED))
        self._folder, self._processes = folder, processes

    def run(self, arguments: Sequence[object], death: Death | None = None, victims: Sequence[int] = (0,)) -> list[int]:
        """The exit codes, one a process; TimeoutError where one does not end."""
        command = [str(argument) for argument in arguments]
        started = self._start(command, death, victims)
        tracer = None
        if death is not None and death.kind == "system call":
            tracer = _trace(started[victims[0]].pid, *death.call, self._folder)
        if death is not None and death.kind == "instant":
            multiprocessing.connection.wait([each.sentinel for each in started], timeout=death.after_s)
            for victim in victims:
                if started[victim].is_alive():
                    os.kill(started[victim].pid, death.by)
        try:
            return self._end(started)
        finally:
            if tracer is not None:
                tracer.wait(timeout=20)

    def count_calls(self, command: Sequence[object]) -> dict[str, int]:
        """How often an undisturbed run makes each system call in its main thread; none where strace cannot be used."""
        if shutil.which("strace") is None or self._processes > 1:
            return {}
        (process,) = self._start([*map(str, command)], Death("system call"), (0,))
        calls = ["strace", "-qq", "-e", f"trace={','.join(CALLS)}", "-o", str(self._folder / "strace")]
        tracer = subprocess.Popen([*calls, "-p", str(process.pid)], stderr=subprocess.DEVNULL)
        process.join(timeout=LIMIT_S)
        tracer.wait(timeout=20)
        lines = (self._folder / "strace").read_text(encoding="utf-8", errors="replace").splitlines()
        found = Counter(line.split("(")[0] for line in lines)
        return {call: found[call] for call in CALLS if found[call]}

    def errors(self) -> str:
        """What the processes of the last start wrote."""
        return "\n".join(path.read_text()[-1500:] for path in sorted(self._folder.glob("stderr*")))

    def _start(self, command: list[str], death: Death | None, victims: Sequence[int]) -> list[Any]:
        at = death.call if death is not None and death.kind == "function" else None
        by = signal.SIGKILL if death is None else death.by
        if self._processes == 1:
            target = traced if death is not None and death.kind == "system call" else play
            out, err = str(self._folder / "stdout"), str(self._folder / "stderr")
            started = [self._context.Process(target=target, args=(command, at, None, out, err, {}, by))]
        else:
            with socket.socket() as probe:
                probe.bind(("127.0.0.1", 0))
                port = probe.getsockname()[1]
            started = [
                self._context.Process(
                    target=play_together,
                    args=(rank, 2, port, command, {}, at if rank in victims else None, str(self._folder), by),
                )
                for rank in range(self._processes)
            ]
        for process in started:
            process.start()
        return started

    def _end(self, started: list[Any]) -> list[int]:
        """What a launcher does: when one process fails, it asks the others to end."""
        multiprocessing.connection.wait([each.sentinel for each in started], timeout=LIMIT_S)
        for process in started:
            process.join(timeout=0 if process.exitcode else 8)
            if process.is_alive():
                process.terminate()
                process.join(timeout=60)
        alive = [process for process in started if process.is_alive()]
        for process in alive:
            process.kill()
            process.join()
        if alive:
            raise TimeoutError("a process did not end when it was asked to")
        return [process.exitcode for process in started]


def _trace(pid: int, call: str, count: int, folder: Path) -> subprocess.Popen[bytes]:
    inject = f"inject={call}:signal=SIGKILL:when={count}"
    command = ["strace", "-f", "-qq", "-e", f"trace={call}", "-e", inject, "-o", str(folder / "strace"), "-p", str(pid)]
    return subprocess.Popen(command, stderr=subprocess.DEVNULL)


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
            if code == 0:
                break
            if (run / "config.yaml").exists() and (run / "manifest.json").exists():
                command = ["resume", run]
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
        # −9 of the killed, 143 and kin of those that were asked, 1 of a process that lost another.
        allowed = {-signal.SIGKILL, 0, 1, *(128 + each for each in ASKED), *(-each for each in ASKED)}
        errors = self.launcher.errors()
        if not set(codes) <= allowed or "Traceback" in errors or (1 in codes and "lost the connection" not in errors):
            self._fault(f"{death}, after {deaths[:-1]}: exit codes {codes}: {errors}")
        return 1

    def _finish(self, name: str, run: Path, command: list[object], deaths: list[str]) -> None:
        try:
            codes = self.launcher.run(command)
        except TimeoutError:
            codes = [124]
        if any(codes) and command[0] == "train" and not deaths:
            # The game ended on its own, so its folder is taken: resume it, which computes nothing.
            codes = self.launcher.run(["resume", run])
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
