"""What runs in the child process: the command line, and perhaps its own death."""

from __future__ import annotations

import functools
import importlib
import operator
import os
import signal
import sys
from typing import Any

PRELOADED = ("torch", "transformers", "peft", "pyarrow.parquet", "e2e.child", "sparring.training.loop")


def play(arguments: list[str], kill_at: tuple[str, int] | None, stdout: str, stderr: str) -> None:
    """Runs `sparring ARGUMENTS` with its output in files; dies by SIGKILL at the n-th call of a function."""
    import torch

    for descriptor, path in ((1, stdout), (2, stderr)):
        os.dup2(os.open(path, os.O_WRONLY | os.O_CREAT | os.O_TRUNC), descriptor)
    torch.set_num_threads(1)
    if kill_at is not None:
        _arm(*kill_at)
    from sparring.cli import main

    sys.argv = ["sparring", *arguments]
    main()


def _arm(target: str, count: int) -> None:
    module_name, path = target.split(":")
    *parents, name = path.split(".")
    owner = functools.reduce(getattr, parents, importlib.import_module(module_name))
    original = operator.attrgetter(name)(owner)
    calls = 0

    @functools.wraps(original)
    def dying(*args: Any, **kwargs: Any) -> Any:
        nonlocal calls
        calls += 1
        if calls == count:
            os.kill(os.getpid(), signal.SIGKILL)
        return original(*args, **kwargs)

    setattr(owner, name, dying)
