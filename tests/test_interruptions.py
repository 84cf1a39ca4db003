"""Signals: the first is heard, now or later; a second ends the process; and all is put back afterwards."""

from __future__ import annotations

import os
import pty
import signal
import subprocess
import sys
import threading
import time
from collections.abc import Callable
from contextlib import suppress
from pathlib import Path

import pytest

from sparring import interruptions
from sparring.interruptions import Interruption, deferred, heeded, is_asked

HEEDED = (signal.SIGINT, signal.SIGTERM, signal.SIGHUP)


def handlers() -> list[object]:
    return [signal.getsignal(number) for number in HEEDED]


@pytest.mark.parametrize(("number", "code"), [(signal.SIGINT, 130), (signal.SIGTERM, 143), (signal.SIGHUP, 129)])
def test_a_signal_is_raised_and_the_handlers_are_put_back(number: int, code: int) -> None:
    before = handlers()
    with pytest.raises(Interruption) as asked, heeded(str):
        os.kill(os.getpid(), number)
    assert (asked.value.signal, asked.value.exit_code) == (number, code)
    assert handlers() == before
    assert not is_asked()


def heed(inside: Callable[[], None]) -> None:
    with heeded(str):
        inside()


def test_a_deferred_signal_waits_until_the_block_has_ended() -> None:
    done = []

    def work() -> None:
        with deferred():
            assert not is_asked()
            os.kill(os.getpid(), signal.SIGTERM)
            # The same request, which `timeout` sends to the process and to its group.
            os.kill(os.getpid(), signal.SIGTERM)
            assert is_asked()
            done.append("the checkpoint")
        done.append("what follows")

    with pytest.raises(Interruption):
        heed(work)
    assert done == ["the checkpoint"]


def test_an_error_inside_is_not_hidden_by_a_signal() -> None:
    def work() -> None:
        with deferred():
            os.kill(os.getpid(), signal.SIGTERM)
            raise OSError("the disk")

    with pytest.raises(OSError, match="the disk"):
        heed(work)


def test_nothing_that_catches_errors_catches_it() -> None:
    def work() -> None:
        with suppress(Exception):
            os.kill(os.getpid(), signal.SIGTERM)

    with pytest.raises(Interruption):
        heed(work)


def test_in_another_thread_nothing_changes() -> None:
    before, seen = handlers(), []

    def work() -> None:
        with heeded(str), deferred():
            seen.extend(handlers())

    thread = threading.Thread(target=work)
    thread.start()
    thread.join()
    assert seen == before


def test_a_signal_that_is_ignored_stays_so() -> None:
    before = signal.signal(signal.SIGHUP, signal.SIG_IGN)
    try:
        with heeded(str):
            os.kill(os.getpid(), signal.SIGHUP)
            assert signal.getsignal(signal.SIGHUP) is signal.SIG_IGN
    finally:
        signal.signal(signal.SIGHUP, before)


def test_without_anybody_who_heeds_them_nothing_is_asked() -> None:
    with deferred():
        interruptions.check()
    assert not is_asked()


WORK = """
import sys, time
from sparring.interruptions import Interruption, deferred, heeded, is_asked
from sparring.progress import progress
try:
    with heeded(lambda: "all is well"), progress("work", 9), {inside}:
        print("ready", flush=True)
        {work}
except Interruption as asked:
    print("stopped", asked.signal.name, file=open(sys.argv[1], "w"))
    sys.exit(asked.exit_code)
"""
UNTIL_ASKED = "while not is_asked(): time.sleep(0.01)\n        print('a checkpoint', file=sys.stderr)"


def start(work: str, to: object, *, inside: str = "deferred()", **streams: object) -> subprocess.Popen[bytes]:
    return subprocess.Popen([sys.executable, "-c", WORK.format(work=work, inside=inside), str(to)], **streams)


def test_a_second_signal_ends_it_at_once(tmp_path: Path) -> None:
    process = start("time.sleep(60)\n        time.sleep(60)", tmp_path / "told", stdout=-1, stderr=-1)
    assert process.stdout.readline() == b"ready\n"
    process.send_signal(signal.SIGTERM)
    time.sleep(interruptions._ONE_REQUEST_S + 0.3)
    process.send_signal(signal.SIGTERM)
    _, said = process.communicate(timeout=20)
    assert process.returncode == 143
    assert said.decode().split("\n")[1::2] == [
        "sparring: stopping: the step that is under way and a checkpoint come first; once more ends it at once",
        "sparring: stopped at once by SIGTERM: all is well",
    ]
    assert not (tmp_path / "told").exists()


# A lock that is taken twice, in a library that hears no signal meanwhile.
IN_C = "import ctypes; lock = ctypes.create_string_buffer(64)\n        " + (
    "for _ in range(2): ctypes.CDLL(None).pthread_mutex_lock(lock)"
)


@pytest.mark.parametrize(("inside", "signals"), [("deferred()", 2), ("progress('more', 1)", 1)])
def test_it_ends_where_the_main_thread_hears_nothing(tmp_path: Path, inside: str, signals: int) -> None:
    hasty = "import sparring.interruptions as it; it._PATIENCE_S = 0.5\n        "
    process = start(hasty + IN_C, tmp_path / "told", inside=inside, stdout=-1, stderr=-1)
    assert process.stdout.readline() == b"ready\n"
    time.sleep(0.3)
    for _ in range(signals):
        process.send_signal(signal.SIGTERM)
        time.sleep(interruptions._ONE_REQUEST_S + 0.3)
    _, said = process.communicate(timeout=20)
    assert process.returncode == 143
    assert said.decode() == "\nsparring: stopped at once by SIGTERM: all is well\n"


def test_a_closed_terminal_does_not_keep_it_from_its_checkpoint(tmp_path: Path) -> None:
    terminal, theirs = pty.openpty()
    process = start(UNTIL_ASKED, tmp_path / "told", stdin=theirs, stdout=theirs, stderr=theirs, start_new_session=True)
    os.close(theirs)
    said = b""
    while b"ready" not in said:
        said += os.read(terminal, 1024)
    os.close(terminal)
    process.send_signal(signal.SIGHUP)
    assert process.wait(timeout=20) == 129
    assert (tmp_path / "told").read_text() == "stopped SIGHUP\n"


def test_on_a_terminal_the_cursor_comes_back(tmp_path: Path) -> None:
    terminal, theirs = pty.openpty()
    process = start(UNTIL_ASKED, tmp_path / "told", stdin=theirs, stdout=theirs, stderr=theirs)
    os.close(theirs)
    said = b""
    while b"ready" not in said:
        said += os.read(terminal, 1024)
    process.send_signal(signal.SIGINT)
    assert process.wait(timeout=20) == 130
    while True:
        try:
            read = os.read(terminal, 1024)
        except OSError:
            break
        said += read
        if not read:
            break
    os.close(terminal)
    assert b"\x1b[?25l" in said
    assert said.rindex(b"\x1b[?25h") > said.rindex(b"\x1b[?25l")
