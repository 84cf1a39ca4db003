"""How the report scales: a synthetic run of many samples and logged points, its page, and search in a real browser.

    python benchmarks/report_scale.py --json benchmarks/results/report_scale.json

The run directory is made up from a seed: answers of made-up words whose frequencies follow Zipf's law, log ratios that
are mostly near zero with heavy tails. The browser is the system's chromium, driven by playwright; without either the
page is built and weighed alone.
"""

from __future__ import annotations

import argparse
import json
import os
import platform
import resource
import shutil
import statistics
import tempfile
import time
from pathlib import Path
from typing import Any

import numpy as np
import yaml

from measuring import hardware, versions
from sparring.files import write_json, write_text
from sparring.reports.run import run_page, write_report
from sparring.reports.samples import packed
from sparring.reports.summary import summarize
from sparring.run_directory import RunDirectory
from sparring.shard_files import write_shard
from sparring.shards import answers_path, log_ratios_path
from sparring.stage_directory import StageDirectory

ITERATIONS = 3
POLICIES = ITERATIONS + 2  # the base model and the warm-up
SAMPLED = 4
QUERIES = ("a", "ka", "tolu", "no such text")
_SYLLABLES = [c + v for c in "bdfgklmnprstvz" for v in "aeiou"]


def vocabulary(generator: np.random.Generator, size: int = 5000) -> list[str]:
    """Words of one to four syllables, the short ones first, as frequent words are short."""
    words = {"".join(generator.choice(_SYLLABLES, generator.integers(1, 5))) for _ in range(2 * size)}
    return sorted(words, key=lambda word: (len(word), word))[:size]


def answers(
    generator: np.random.Generator, words: list[str], policy: int, prompts: int, tokens: int
) -> list[dict[str, Any]]:
    """The answers of a policy: the expert's, a greedy and some sampled ones to every prompt."""
    rows = []
    for index in range(prompts):
        fixed = np.random.default_rng(index)
        prompt, expert = text(fixed, words, tokens), text(fixed, words, tokens)
        for kind, sample in [("expert", -1), ("greedy", 0), *(("sampled", k) for k in range(SAMPLED))]:
            pieces = expert if kind == "expert" else text(generator, words, tokens)
            rows.append(
                {
                    "kind": kind,
                    "index": index,
                    "sample": sample,
                    "prompt": "".join(prompt),
                    "text": "".join(pieces),
                    "ends": np.cumsum([len(piece) for piece in pieces], dtype=np.int32),
                    "log_ratios": log_ratios(generator, len(pieces), policy),
                    "log_prob": float(-generator.gamma(2.0, 10.0)),
                    "finish_reason": "stop" if generator.random() < 0.95 else "length",
                    "right": None if kind == "expert" else bool(generator.random() < 0.2 + 0.1 * policy),
                }
            )
    return rows


def text(generator: np.random.Generator, words: list[str], tokens: int) -> list[str]:
    """Tokens: words with the space before them, by Zipf's law."""
    count = max(4, int(generator.normal(tokens, tokens / 4)))
    places = np.minimum(generator.zipf(1.3, count) - 1, len(words) - 1)
    return [f" {words[place]}" for place in places] + ["<|im_end|>"]


def log_ratios(generator: np.random.Generator, count: int, policy: int) -> np.ndarray:
    """Zero for the base model itself; else two thirds of the tokens hardly changed."""
    if policy == 0:
        return np.zeros(count, dtype=np.float32)
    hardly = generator.random(count) < 2 / 3
    return np.where(hardly, generator.normal(0, 0.02, count), generator.laplace(0, 0.8, count)).astype(np.float32)


def make_run(path: Path, *, samples: int, steps: int, tokens: int, seed: int) -> RunDirectory:
    """A run directory with so many greedy and sampled answers and logged steps."""
    generator = np.random.default_rng(seed)
    words = vocabulary(generator)
    prompts = samples // (POLICIES * (1 + SAMPLED))
    directory = RunDirectory(path)
    config = {
        "output": str(path),
        "seed": seed,
        "iterations": ITERATIONS,
        "model": {"name": "none"},
        "data": {"source": "synthetic"},
        "objective": {"name": "spif", "beta": 1.0, "reward_bound": 2.0},
        "opponent": {"name": "previous"},
    }
    write_text(directory.config, yaml.safe_dump(config))
    data = {"skipped": [], "train": {"examples": prompts}, "held_out": {"examples": prompts}}
    write_json(directory.manifest, {"objective": {"settings": {"beta": 1.0, "reward_bound": 2.0}}, "data": data})
    stages = [directory.base, directory.warmup, *map(directory.iteration, range(ITERATIONS))]
    for policy, stage in enumerate(stages):
        write_stage(stage, generator, answers(generator, words, policy, prompts, tokens), prompts, policy)
    for step in range(steps):
        values = {
            name: float(generator.normal(1 / (1 + step), 0.1)) for name in ("loss", "rewards/expert", "rewards/margins")
        }
        directory.log(
            {
                "stage": "train",
                "iteration": step * ITERATIONS // steps,
                "step": step % (steps // ITERATIONS) + 1,
                **values,
            }
        )
    reason = "this run is made up"
    write_json(
        directory.result,
        {
            "best": "iterations/002",
            "metric": "accuracy/greedy",
            "stopped_early": False,
            "reason": reason,
            "peak_memory_gib": 0.0,
        },
    )
    return directory


def write_stage(
    stage: StageDirectory, generator: np.random.Generator, rows: list[dict[str, Any]], prompts: int, policy: int
) -> None:
    """What a policy's stage holds of held-out answers, rewards and estimates."""
    write_shard(answers_path(stage), rows)
    right = np.mean([row["right"] for row in rows if row["kind"] == "greedy"])
    write_json(stage.evaluation, {"accuracy/greedy": {"mean": float(right), "standard_error": 0.01, "n": prompts}})
    if policy > 1:
        rewards = generator.normal(size=(prompts, 2))
        ratios = [{"index": n, "expert": float(a), "generated": [float(b)]} for n, (a, b) in enumerate(rewards)]
        write_shard(log_ratios_path(stage), ratios)


def build(directory: RunDirectory) -> dict[str, float]:
    """Seconds that the page takes, by the clock and of the processor, and the sizes of its parts."""
    start, busy = time.perf_counter(), time.process_time()
    report = write_report(summarize(directory.path))
    seconds, busy = time.perf_counter() - start, time.process_time() - busy
    summary = summarize(directory.path)
    pack = packed(summary.answers())
    return {
        "build_seconds": round(seconds, 2),
        "build_cpu_seconds": round(busy, 2),
        "page_mb": round(report.stat().st_size / 1e6, 2),
        "columns_mb": round(len(pack["columns"]) / 1e6, 2),
        "tokens_mb": round(len(pack["tokens"]) / 1e6, 2),
        "sections": len(run_page(summary).sections),
        "peak_memory_mb": round(resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1e3),
    }


def browse(report: Path) -> dict[str, Any] | None:
    """What it takes until the samples can be read, each search, a filter, and a page down; None without a browser."""
    chromium = shutil.which("chromium") or shutil.which("google-chrome")
    try:
        from playwright.sync_api import sync_playwright
    except ImportError:
        return None
    if chromium is None:
        return None
    with sync_playwright() as driver:
        browser = driver.chromium.launch(executable_path=chromium, args=["--no-sandbox"])
        page = browser.new_page(viewport={"width": 1280, "height": 900})
        busy = Busy(page)
        page.goto(report.as_uri())
        page.wait_for_selector("#prompts [role=option]", timeout=120_000)
        ready = busy.since()
        enter = """([id, value]) => {
            const field = document.getElementById(id);
            field.value = value;
            field.dispatchEvent(new Event("input", { bubbles: true }));
            document.getElementById("sample").getBoundingClientRect();
        }"""
        search = {query: [busy.of(enter, ["query", query]) for _ in range(5)] for query in QUERIES}
        busy.of(enter, ["query", ""])
        filtered = [busy.of(enter, ["filter-right", value]) for value in ("right", "wrong", "")]
        down = """() => {
            const key = new KeyboardEvent("keydown", { key: "PageDown", bubbles: true });
            document.getElementById("prompts").dispatchEvent(key);
            document.getElementById("sample").getBoundingClientRect();
        }"""
        moves = [busy.of(down) for _ in range(20)]
        memory = page.evaluate("performance.memory ? performance.memory.usedJSHeapSize / 1e6 : null")
        name = f"chromium {browser.version}"
        browser.close()
    return {
        "browser": name,
        "samples_ready": ready,
        "search": {query: middle(each) for query, each in search.items()},
        "filter": middle(filtered),
        "page_down": middle(moves),
        "heap_mb": memory and round(memory),
    }


class Busy:
    """Milliseconds that a page takes, by the clock, and of the processor in its main thread."""

    def __init__(self, page: Any) -> None:
        self._page, self._session = page, page.context.new_cdp_session(page)
        self._session.send("Performance.enable", {"timeDomain": "threadTicks"})
        self._start = self._now()

    def _now(self) -> tuple[float, float]:
        metrics = {item["name"]: item["value"] for item in self._session.send("Performance.getMetrics")["metrics"]}
        return time.perf_counter(), metrics["TaskDuration"]

    def since(self) -> dict[str, float]:
        """Since it was made, or since the last call of `of`."""
        (clock, cpu), (clock_before, cpu_before) = self._now(), self._start
        return {"ms": round(1e3 * (clock - clock_before), 1), "cpu_ms": round(1e3 * (cpu - cpu_before), 1)}

    def of(self, script: str, *arguments: Any) -> dict[str, float]:
        """For a script in the page."""
        self._start = self._now()
        self._page.evaluate(script, *arguments)
        return self.since()


def middle(measured: list[dict[str, float]]) -> dict[str, float]:
    """The median of each."""
    return {name: round(statistics.median(each[name] for each in measured), 1) for name in ("ms", "cpu_ms")}


def main() -> None:
    """Makes the run, builds its page, browses it, and prints what that took."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument(
        "--samples", type=int, default=100_000, help="greedy and sampled answers, of all policies together"
    )
    parser.add_argument("--steps", type=int, default=1_000, help="logged training steps")
    parser.add_argument("--tokens", type=int, default=48, help="mean tokens of an answer")
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--keep", type=Path, help="where to leave the run directory")
    parser.add_argument("--json", type=Path)
    arguments = parser.parse_args()
    with tempfile.TemporaryDirectory() as folder:
        directory = make_run(
            arguments.keep or Path(folder) / "run",
            samples=arguments.samples, steps=arguments.steps, tokens=arguments.tokens, seed=arguments.seed,
        )  # fmt: skip
        built = build(directory)
        result = {
            "hardware": hardware(),
            # What else the machine was doing: times by the clock grow with it, those of the processor do not.
            "load_average": round(os.getloadavg()[0], 1),
            "python": platform.python_version(),
            "versions": versions("plotly", "pyarrow", "playwright"),
            "samples": arguments.samples,
            "steps": arguments.steps,
            "mean_tokens": arguments.tokens,
            **built,
            "browser": browse(directory.report),
        }
    print(json.dumps(result, indent=2))
    if arguments.json:
        write_json(arguments.json, result)


if __name__ == "__main__":
    main()
