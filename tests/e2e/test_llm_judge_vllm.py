"""The judge `llm` on a real server: vLLM with the embedded model, killed while it judges, and then the run killed too.

Needs vLLM, and minutes, most of them the server's two starts: `make vllm` runs it.
"""

from __future__ import annotations

import importlib.util
import os
import signal
import socket
import subprocess
import sys
import time
import urllib.request
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from pathlib import Path

import pytest

from sparring.models.smollm2 import embedded_model
from sparring.run_directory import RunDirectory
from sparring.shard_files import read_shard

pytestmark = pytest.mark.skipif(importlib.util.find_spec("vllm") is None, reason="needs vLLM; see `make vllm`")

CONCURRENCY = 2
# The embedded model is too small to compare anything: it says A. But it keeps to a form that it is shown.
TEMPLATE = """\
Which answer to the question is better?

Question: {prompt}
Answer A: {first}
Answer B: {second}

Reply in this form:
Verdict: A
or
Verdict: B
"""


def wait_until(condition: Callable[[], object], process: subprocess.Popen[bytes], log: Path) -> None:
    """Polls while `process` lives."""
    deadline = time.monotonic() + 1800
    while not condition():
        assert process.poll() is None, f"it ended with {process.returncode}: {log.read_text()[-2000:]}"
        assert time.monotonic() < deadline, log.read_text()[-2000:]
        time.sleep(0.1)


def kill(process: subprocess.Popen[bytes]) -> None:
    """With all of its children, without a warning."""
    with suppress(ProcessLookupError):
        os.killpg(process.pid, signal.SIGKILL)
    process.wait()


@contextmanager
def running(command: list[str], log: Path, **environment: str) -> Iterator[subprocess.Popen[bytes]]:
    """A Python module with its arguments; killed at the end, if not before."""
    with log.open("ab") as out:
        process = subprocess.Popen(
            [sys.executable, "-m", *command],
            stdout=out,
            stderr=subprocess.STDOUT,
            env=os.environ | environment,
            start_new_session=True,
        )
    try:
        yield process
    finally:
        kill(process)


@contextmanager
def serving(port: int, log: Path) -> Iterator[subprocess.Popen[bytes]]:
    """vLLM with the embedded model, ready to answer."""

    def healthy() -> bool:
        with suppress(OSError), urllib.request.urlopen(f"http://127.0.0.1:{port}/health", timeout=5) as reply:
            return reply.status == 200
        return False

    options = {"host": "127.0.0.1", "port": port, "model": embedded_model(), "dtype": "float32", "max-model-len": 1024}
    command = ["vllm.entrypoints.openai.api_server", "--served-model-name", "smollm2", "--enforce-eager"]
    command += [f"--{name}={value}" for name, value in options.items()]
    with running(command, log, VLLM_CPU_KVCACHE_SPACE="1") as server:
        wait_until(healthy, server, log)
        yield server


def free_port() -> int:
    with socket.create_server(("127.0.0.1", 0)) as probe:
        return probe.getsockname()[1]


def test_on_a_real_server_neither_its_death_nor_the_runs_costs_an_answer_twice(
    tiny_config: Callable[..., Path], tmp_path: Path
) -> None:
    port, run, said, access = free_port(), tmp_path / "run", tmp_path / "said.txt", tmp_path / "access.txt"
    template = tmp_path / "template.txt"
    template.write_text(TEMPLATE, encoding="utf-8")
    config = tiny_config(
        iterations=1,
        warmup=None,
        data={"source": "arithmetic", "limit": 8, "held_out": 2, "max_response_tokens": 24},
        objective={"name": "sppo"},
        generation={"samples_per_prompt": 3, "batch_size": 12},
        judge={
            "name": "llm",
            "model": "smollm2",
            "base_url": f"http://127.0.0.1:{port}/v1",
            "api_key_env": None,
            "template": str(template),
            "max_tokens": 16,
            "patience": 3600.0,
            "concurrency": CONCURRENCY,
        },
    )

    def kept() -> int:
        return len(list((run / "answers").rglob("*.json")))

    with serving(port, access) as server, running(["sparring", "train", str(config)], said) as playing:
        wait_until(lambda: kept() >= 5, playing, said)
        kill(server)
        wait_until(lambda: "no answer from" in said.read_text(), playing, said)
        before = kept()
        with serving(port, access):
            wait_until(lambda: "answers again" in said.read_text() and kept() >= before + 5, playing, said)
            kill(playing)
            with running(["sparring", "resume", str(run)], said) as resumed:
                assert resumed.wait(timeout=1800) == 0, said.read_text()[-2000:]
    paid = access.read_text().count('"POST /v1/chat/completions HTTP/1.1" 200')
    # What was on its way when the run died, one request a thread, may be asked again.
    assert kept() <= paid <= kept() + CONCURRENCY
    stage = RunDirectory(run).iteration(0)
    rows = [row for path in stage.judgements.iterdir() for row in read_shard(path)]
    assert len(rows) == 8
    assert sum(row["completion_tokens"] for row in rows) > 0
    assert stage.model.exists()
