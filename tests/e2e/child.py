"""What runs in the child process: the command line, and perhaps its own death."""

from __future__ import annotations

import errno
import functools
import gc
import importlib
import operator
import os
import resource
import signal
import sys
from collections.abc import Callable
from typing import Any

PRELOADED = (
    *("torch", "transformers", "peft", "pyarrow.parquet", "sacrebleu"),
    *(
        "e2e.child",
        "sparring.selfplay.loop",
        "sparring.cli.training",
        "sparring.reports.run",
        "sparring.reports.terminal",
    ),
)


def play(
    arguments: list[str],
    kill_at: tuple[str, int] | None,
    disk_full_at: tuple[str, int] | None,
    stdout: str,
    stderr: str,
    environment: dict[str, str],
    *,
    largest_file: int | None = None,
    by: int = signal.SIGKILL,
) -> None:
    """Runs `sparring ARGUMENTS` with its output in files.

    At the n-th call of a function it is sent a signal, by default the one that kills, or finds the disk full; no file
    may grow beyond `largest_file` bytes.
    """
    import torch

    os.environ |= environment
    for descriptor, path in ((1, stdout), (2, stderr)):
        os.dup2(os.open(path, os.O_WRONLY | os.O_CREAT | os.O_TRUNC), descriptor)
    torch.set_num_threads(1)
    # What was imported before the fork need not be gone through at every collection, of which a run has many.
    gc.freeze()
    if kill_at is not None:
        _arm(*kill_at, lambda: os.kill(os.getpid(), by))
    if disk_full_at is not None:
        _arm(*disk_full_at, _fill_the_disk)
    if largest_file is not None:
        resource.setrlimit(resource.RLIMIT_FSIZE, (largest_file, largest_file))
    from sparring.cli import main

    sys.argv = ["sparring", *arguments]
    main()


def _fill_the_disk() -> None:
    raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))


def _arm(target: str, count: int, act: Callable[[], None]) -> None:
    module_name, path = target.split(":")
    *parents, name = path.split(".")
    owner = functools.reduce(getattr, parents, importlib.import_module(module_name))
    original = operator.attrgetter(name)(owner)
    calls = 0

    @functools.wraps(original)
    def armed(*args: Any, **kwargs: Any) -> Any:
        nonlocal calls
        calls += 1
        if calls == count:
            act()
        return original(*args, **kwargs)

    setattr(owner, name, armed)
