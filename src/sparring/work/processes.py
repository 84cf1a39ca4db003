"""The processes that a launcher started to play one run together.

All of them go through the run side by side and take the same decisions. The main process owns the run directory: only
it writes single files such as the manifest; shards are shared out among all. They exchange their work through files, so
every node must see the run directory.
"""

from __future__ import annotations

import functools
import hashlib
import os
import socket
import time
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from datetime import timedelta
from pathlib import Path
from typing import Any, TypeVar

import torch
from torch import distributed

from sparring.disk import refusal
from sparring.errors import InputError, RunError, SparringError

_T = TypeVar("_T")
# A network file system may take seconds to show what another node wrote.
_VISIBLE_WITHIN_S = 60.0
# The launcher ends a launch of which one process died.
_FOR_EVER = timedelta(days=365)
# The errors of gloo and c10d when another process is gone.
_LOST = ("gloo", "Connection closed by peer", "Connection reset by peer", "Broken pipe", "recvValue failed")


def count() -> int:
    """The number of processes."""
    return distributed.get_world_size() if _joined() else 1


def index() -> int:
    """The number of this process, counted from 0."""
    return distributed.get_rank() if _joined() else 0


def is_main() -> bool:
    """Whether this process owns the run directory."""
    return index() == 0


def going_on(run: str = "RUN") -> str:
    """The command that resumes a run, with as many processes as play it now."""
    return f"sparring {'launch' if _launched() > 1 else 'resume'} {run}"


def wait() -> None:
    """Returns when all processes have called it, however long that takes."""
    if _joined():
        distributed.barrier(group=_patient())


def on_main(function: Callable[[], _T]) -> _T:
    """Calls `function` only in the main process; every process returns its result, or raises its error."""
    if not _joined():
        return function()
    result, failure = None, None
    if is_main():
        try:
            result = function()
        except Exception as error:  # noqa: BLE001 - raised again below, when the others know
            failure = error
    outcome: list[Any] = [result, None if failure is None else _told(failure)]
    distributed.broadcast_object_list(outcome, src=0, group=_patient())
    if failure is not None or outcome[1] is not None:
        raise failure or outcome[1]
    value: _T = outcome[0]
    return value


def _told(failure: Exception) -> SparringError:
    """The error that the other processes raise for an error of the main one."""
    if isinstance(failure, SparringError):
        return failure
    return refusal(failure, again=f"`{going_on()}`") or RunError(f"process 0: {failure}")


def any_of_them(yes: bool) -> bool:
    """Whether any process says yes."""
    if not _joined():
        return yes
    answer = torch.tensor(int(yes))
    distributed.all_reduce(answer, distributed.ReduceOp.MAX, group=_patient())
    return bool(answer)


def wait_for_files(paths: Sequence[Path]) -> None:
    """Waits until this process sees files that were written already, perhaps by another node.

    Raises:
        RunError: It does not see one after a minute.
    """
    deadline = time.monotonic() + _VISIBLE_WITHIN_S
    for path in paths:
        while not path.exists():
            if time.monotonic() > deadline:
                raise RunError(f"{path} was written by another process, but {socket.gethostname()} does not see it")
            # Listing the folder makes a network file system refresh it.
            list(path.parent.glob("*"))
            time.sleep(0.5)


def check_shared(file: Path) -> None:
    """Checks that all processes see the same file.

    Raises:
        InputError: This process does not see it.
    """
    wanted = on_main(lambda: _digest(file))
    try:
        wait_for_files([file])
        found: str | None = _digest(file)
    except (RunError, OSError):
        found = None
    if found != wanted:
        problem = f"process {index()} on {socket.gethostname()} does not see the run directory that process 0 wrote"
        fix = "set `output` to a folder that all nodes share"
        raise InputError(problem, where=str(file.parent), fix=fix)


@contextmanager
def losses_told() -> Iterator[None]:
    """Within, a broken connection to another process becomes an error in plain words.

    Raises:
        RunError: The connection to another process broke, as it does when that process ends.
    """
    try:
        yield
    except RuntimeError as error:
        launched = _launched()
        if launched == 1 or not _is_loss(error):
            raise
        raise RunError(
            f"process {os.environ.get('RANK')} of {launched} on {socket.gethostname()} lost the connection to another "
            "process of the launch, which died or was stopped; its own output, or the launcher's, says why. What is "
            f"finished is on disk: mend that, then `{going_on()}` with as many processes"
        ) from error


def _launched() -> int:
    """The number of processes that a launcher started, which may not have joined yet."""
    return int(os.environ.get("WORLD_SIZE", "1"))


def _is_loss(error: RuntimeError) -> bool:
    # gloo's errors have no class of their own in torch.
    return isinstance(error, distributed.DistError) or any(word in str(error) for word in _LOST)


def reports_errors() -> bool:
    """Whether this process reports its error: the first of a launch that asks does."""
    if os.environ.get("TORCHELASTIC_USE_AGENT_STORE") != "True":
        return True
    # In the launcher's own store, since an error may come before the processes have joined.
    try:
        store = distributed.TCPStore(  # type: ignore[attr-defined]
            os.environ["MASTER_ADDR"], int(os.environ["MASTER_PORT"]), is_master=False, timeout=timedelta(seconds=10)
        )
    except distributed.DistError:
        # The launcher itself is gone.
        return True
    return bool(store.add(f"sparring/errors/{os.environ.get('TORCHELASTIC_RESTART_COUNT')}", 1) == 1)


def disconnect() -> None:
    """Ends the connection to the other processes, if there are any."""
    if _joined():
        _patient.cache_clear()
        distributed.destroy_process_group()


@functools.cache
def _patient() -> Any:
    """A process group without a timeout: all can wait for hours while one judges, or leads a cluster.

    In the process group of training they would give up after `ddp_timeout`.
    """
    return distributed.new_group(backend="gloo", timeout=_FOR_EVER)


def _digest(file: Path) -> str:
    return hashlib.sha256(file.read_bytes()).hexdigest()


def _joined() -> bool:
    return distributed.is_available() and distributed.is_initialized()
