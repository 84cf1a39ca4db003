"""The command for a GPU, on a processor: what each part leaves, and that no part holds up or loses another."""

from __future__ import annotations

import json
import sys
from pathlib import Path
from typing import Any

import psutil
import pytest

BENCHMARKS = Path(__file__).parents[1] / "benchmarks"

XML = """<testsuites><testsuite><testcase classname="a" name="x"/><testcase classname="a" name="y">
<failure message="no"/></testcase><testcase classname="b" name="z"><skipped message="needs a GPU"/></testcase>
</testsuite></testsuites>"""


@pytest.fixture
def gpu(monkeypatch: pytest.MonkeyPatch) -> Any:
    monkeypatch.syspath_prepend(BENCHMARKS)
    import gpu

    return gpu


def results(gpu: Any, monkeypatch: pytest.MonkeyPatch, folder: Path, *arguments: str) -> tuple[int, dict[str, Any]]:
    path = folder / "results" / "gpu.json"
    given = ["gpu.py", "--device", "cpu", "--tiny", "--json", str(path), *arguments]
    monkeypatch.setattr(sys, "argv", given)
    code = gpu.main()
    return code, json.loads(path.read_text(encoding="utf-8"))


def runs(pid: int) -> bool:
    """Whether a process is there, and not only its exit code for a parent that never asks."""
    try:
        return psutil.Process(pid).status() != psutil.STATUS_ZOMBIE
    except psutil.NoSuchProcess:
        return False


def test_a_part_that_fails_or_hangs_is_recorded_and_the_others_go_on(
    gpu: Any, monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    pids = tmp_path / "pids"
    hang = (
        "import os, subprocess, sys, time, pathlib; child = subprocess.Popen(['sleep', '60']);"
        f"pathlib.Path({str(pids)!r}).write_text(f'{{os.getpid()}} {{child.pid}}'); time.sleep(60)"
    )

    def part(code: str, seconds: float = 30) -> Any:
        return gpu.Part(seconds, lambda _options, _folder, result: ["-c", code, str(result)])

    write = "import sys, pathlib; pathlib.Path(sys.argv[1]).write_text('{\"partly\": 1}');"
    parts = {
        "hangs": part(write + hang, seconds=3),
        "fails": part(write + "raise SystemExit('it broke')"),
        "cannot": gpu.Part(30, lambda *_: 1 / 0),
        "passes": part(write),
    }
    monkeypatch.setattr(gpu, "PARTS", parts)
    monkeypatch.setattr(gpu, "SHORTEST", 0.0)
    code, report = results(gpu, monkeypatch, tmp_path)
    assert code == 1
    assert {name: each["outcome"] for name, each in report["parts"].items()} == {
        "hangs": "out of time",
        "fails": "failed with exit code 1",
        "cannot": "failed: ZeroDivisionError: division by zero",
        "passes": "passed",
    }
    assert all(report["parts"][name]["result"] == {"partly": 1} for name in ("hangs", "fails", "passes"))
    assert "it broke" in report["parts"]["fails"]["said"]
    assert report["seed"] == 0
    assert report["versions"]["sparring"]
    assert not any(runs(pid) for pid in map(int, pids.read_text().split()))


def test_without_time_nothing_is_started(gpu: Any, monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    code, report = results(gpu, monkeypatch, tmp_path, "--within", "0")
    outcomes = {name: each["outcome"] for name, each in report["parts"].items()}
    assert outcomes == dict.fromkeys(gpu.PARTS, "no time left") | {"vllm": outcomes["vllm"]}
    assert code == 1


def test_what_became_of_each_test_is_kept(gpu: Any, tmp_path: Path) -> None:
    (tmp_path / "tests.xml").write_text(XML, encoding="utf-8")
    found = gpu.outcomes(tmp_path / "tests.xml")
    assert found == {"a::x": "passed", "a::y": "failure: no", "b::z": "skipped: needs a GPU"}


def test_the_rate_of_a_step_is_of_the_tokens_of_its_prompts(gpu: Any, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(gpu, "peak", lambda _: 1e12)
    monkeypatch.setattr(gpu, "product_rate", lambda _: 5e11)
    side = {"summary": {"step_s": 2.0}, "runs": [{"parameters": 10**9}]}
    cases = {"wide": {"what": {"tokens": 400, "prompts": 8, "batch": 2}, "sides": {"ours": side}}}
    summary = gpu.with_mfu(cases, "cuda")["cases"]["wide"]["sides"]["ours"]["summary"]
    # 100 tokens a step.
    assert summary["tflop_per_s"] == pytest.approx(6 * 1e9 * 100 / 2 / 1e12)
    assert summary["mfu"] == pytest.approx(0.3)
    assert summary["of_measured_product"] == pytest.approx(0.6)


@pytest.mark.slow
@pytest.mark.smollm2
def test_its_own_parts_play_on_a_processor(gpu: Any, monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    code, report = results(gpu, monkeypatch, tmp_path, "--parts", "qlora", "iteration")
    assert code == 0, report
    quantised, played = (report["parts"][name]["result"] for name in ("qlora", "iteration"))
    assert quantised["losses"][0] == pytest.approx(0.6931, abs=1e-3)
    assert len(quantised["losses"]) == 4
    assert set(played["by_stage"]["iteration 0"]) == {"generate", "score", "train", "evaluate"}
    assert played["sampled_tokens"] > 0
