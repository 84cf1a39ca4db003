"""`sparring evaluate` on a run: the harness, MT-Bench and judged pairs."""

from __future__ import annotations

import json
import signal
from collections.abc import Callable
from importlib.util import find_spec
from pathlib import Path
from types import SimpleNamespace

import pytest
import yaml

from evaluation.mt_bench_files import PROMPTS, QUESTIONS, REFERENCES, write
from judges.server import serving

Cli = Callable[..., SimpleNamespace]
TASKS = Path(__file__).parents[2] / "benchmarks" / "tasks" / "arithmetic"
POLICIES = ["base", "iterations/000"]


@pytest.fixture(scope="module")
def run(cli: Cli, tiny_folder: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A run of one iteration, with an adapter."""
    folder = tmp_path_factory.mktemp("benchmarks")
    config = {
        "output": str(folder / "run"),
        "iterations": 1,
        "model": {"name": str(tiny_folder)},
        "data": {"source": "arithmetic", "limit": 4, "held_out": 0, "max_response_tokens": 8},
        "lora": {"r": 4},
        "training": {"learning_rate": 0.05, "per_device_train_batch_size": 2},
        "stop": {"enabled": False},
    }
    (folder / "config.yaml").write_text(yaml.safe_dump(config), encoding="utf-8")
    done = cli("train", folder / "config.yaml")
    assert done.returncode == 0, done.stderr
    return folder / "run"


@pytest.mark.skipif(find_spec("lm_eval") is None, reason="the package lm-eval is not installed")
def test_the_harness_on_every_policy_of_a_run(cli: Cli, run: Path) -> None:
    command = ("evaluate", "harness", run, "--tasks", "arithmetic_choose", "--include", TASKS, "--limit", 4)
    died = cli(*command, "--json", kill_at=("sparring.evaluation.harness:write_json", 2))
    assert died.returncode == -signal.SIGKILL
    (first,) = run.glob("**/benchmarks/*.json")
    before = first.stat().st_mtime_ns
    done = cli(*command, "--json")
    assert done.returncode == 0, done.stderr
    rows = json.loads(done.stdout)
    assert [row["policy"] for row in rows] == POLICIES
    kept = [path for policy in POLICIES for path in (run / policy / "benchmarks").iterdir()]
    assert [json.loads(path.read_text(encoding="utf-8")) for path in kept] == [
        {key: value for key, value in row.items() if key != "policy"} for row in rows
    ]
    assert first.stat().st_mtime_ns == before
    assert rows[0]["results"] != rows[1]["results"]
    shown = cli(*command)
    assert "iterations/000" in shown.stdout
    assert f"{rows[0]['results']['arithmetic_choose']['acc,none']:.4f} ± " in shown.stdout
    refused = cli(*command, "--output", run)
    assert refused.returncode == 2
    assert "a run keeps its own results" in refused.stderr


def test_mt_bench(cli: Cli, run: Path, tiny_folder: Path, tmp_path: Path) -> None:
    questions = write(tmp_path / "question.jsonl", QUESTIONS)
    graded = (
        "--prompts",
        write(tmp_path / "prompts.jsonl", PROMPTS),
        "--judge",
        "llm",
        "model=judge",
        "api_key_env=null",
    )
    references = ("--references", write(tmp_path / "references.jsonl", REFERENCES))
    command = ("evaluate", "mt-bench", run / "iterations" / "000", questions, "--max-tokens", 6)
    with serving(lambda prompt: "[[4]]" if "|| " in prompt and "math" not in prompt else "hm") as server:
        url = f"base_url={server.url}"
        done = cli(*command, *graded, *references, url, "--json")
        assert done.returncode == 0, done.stderr
        (row,) = json.loads(done.stdout)
        assert row["policy"] == str(run / "iterations" / "000")
        assert row["scores"]["all"]["n"] == 8
        assert list(row["scores"]) == ["writing", "math", "stem", "first turn", "second turn", "all"]
        assert row["prompt_tokens"] == 800
        assert len(Path(row["judgments"]).read_text(encoding="utf-8").splitlines()) == 8
        shown = cli(*command, *graded, *references, url).stdout
        assert "4.00 ± 0.00 [4.00, 4.00]" in shown
        assert "unparsable judgments" in shown
        assert len(server.requests) == 8
        compared = cli(*command, *graded, *references, url, "--baseline", row["answers"], "--json")
        (beside,) = json.loads(compared.stdout)
        # "[[4]]" names no winner.
        assert (beside["scores"]["all"]["n"], beside["scores"]["all"]["unparsable"]) == (0, 16)
    homeless = cli("evaluate", "mt-bench", tiny_folder, questions)
    assert homeless.returncode == 2
    assert "no folder for the model's answers" in homeless.stderr
    alone = cli(*command, *graded, url)
    assert alone.returncode == 2
    assert "question 3 (math) has no right answers" in alone.stderr


def test_judged_pairs(cli: Cli, run: Path, tiny_folder: Path, tmp_path: Path) -> None:
    rows = [{"instruction": f"{n} + 1?", "answer": f"#### {n + 1}", "prompt": "x", "response": "y"} for n in range(3)]
    instructions = write(tmp_path / "instructions.jsonl", rows)
    answered = tmp_path / "outputs.json"
    cli("evaluate", "outputs", run / "base", instructions, answered, "--max-tokens", 4, "--generator", "base")
    to = tmp_path / "annotations.json"
    options = ("--instructions", instructions, "--max-tokens", 4)
    done = cli(
        "evaluate", "judge", run / "iterations" / "000", answered, to, "rule=exact", "--judge", "verifier",
        *options, "--reference", "answer", "--json",
    )  # fmt: skip
    assert done.returncode == 0, done.stderr
    (row,) = json.loads(done.stdout)
    assert (row["model"], row["baseline"]) == (str(run / "iterations" / "000"), "base")
    assert row["ties"] == row["draws"] == 3
    assert {item["annotator"] for item in json.loads(to.read_text(encoding="utf-8"))} == {"verifier rule=exact"}
    (again,) = json.loads(cli("evaluate", "win-rate", to, "--json").stdout)
    assert again["win_rate"] == row["win_rate"]
    compared = cli(
        "evaluate", "judge", tiny_folder, answered, to, f"model={tiny_folder}", "--judge", "pairwise", *options
    )
    assert compared.returncode == 0, compared.stderr
    assert "abstentions: 0" in compared.stdout
    for judge, message in (("verifier", "compares with right answers"), ("expert", "take another judge")):
        refused = cli("evaluate", "judge", answered, answered, to, "--judge", judge, *options)
        assert refused.returncode == 2
        assert message in refused.stderr


def test_a_policy_that_is_not_there(cli: Cli, run: Path) -> None:
    done = cli("generate", run / "iterations" / "007", "-p", "one")
    assert done.returncode == 2
    assert "the run has no policy 'iterations/007'" in done.stderr
    assert cli("generate", run / "base", "-p", "one", "--max-tokens", 2).returncode == 0
