"""How a run of the campaign of kills dies: started in one process or in two, and killed at an instant or at a call."""

from __future__ import annotations

import multiprocessing
import multiprocessing.connection
import os
import shutil
import signal
import socket
import subprocess
import time
from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from ground import PRELOADED, play, play_together

CALLS = ("write", "pwrite64", "openat", "fsync", "rename", "unlink", "unlinkat", "mkdir", "rmdir")
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


def traced(*args: Any, **settings: Any) -> None:
    """Waits for strace, then plays."""
    until = time.monotonic() + 20
    while "TracerPid:\t0" in Path("/proc/self/status").read_text(encoding="utf-8") and time.monotonic() < until:
        time.sleep(0.01)
    play(*args, **settings)


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
            self._wait_until_they_play(len(started))
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

    def _outputs(self) -> list[Path]:
        names = [""] if self._processes == 1 else [f"-{rank}" for rank in range(self._processes)]
        return [self._folder / f"stdout{name}" for name in names]

    def _wait_until_they_play(self, count: int) -> None:
        """Waits until each has opened its output: a signal before that would hit other code than sparring's."""
        until = time.monotonic() + 30
        while sum(path.exists() for path in self._outputs()) < count and time.monotonic() < until:
            time.sleep(0.01)

    def _start(self, command: list[str], death: Death | None, victims: Sequence[int]) -> list[Any]:
        for path in self._outputs():
            path.unlink(missing_ok=True)
        at = death.call if death is not None and death.kind == "function" else None
        by = signal.SIGKILL if death is None else death.by
        if self._processes == 1:
            target = traced if death is not None and death.kind == "system call" else play
            out, err = str(self._folder / "stdout"), str(self._folder / "stderr")
            started = [self._context.Process(target=target, args=(command, at, None, out, err, {}), kwargs={"by": by})]
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
