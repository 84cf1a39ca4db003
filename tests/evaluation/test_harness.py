"""Tasks of lm-evaluation-harness: the figures are the harness's own."""

from __future__ import annotations

import json
import shutil
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import pytest
import torch
from peft import LoraConfig, get_peft_model

from sparring.data import PromptTemplate
from sparring.errors import InputError
from sparring.evaluation import SUITES, Benchmark, HarnessSettings, LoadedModel, load_benchmarks
from sparring.models import ModelConfig, load_model, load_tokenizer

lm_eval = pytest.importorskip("lm_eval", reason="the package lm-eval is not installed")
# What the harness imports, and how it calls transformers, is not ours to mend.
pytestmark = pytest.mark.filterwarnings("ignore")

TASKS = Path(__file__).parents[2] / "benchmarks" / "tasks" / "arithmetic"
NAMES = ["arithmetic_solve", "arithmetic_choose"]


def load(folder: Path) -> LoadedModel:
    config = ModelConfig(name=str(folder))
    tokenizer = load_tokenizer(config)
    return LoadedModel(model=load_model(config), tokenizer=tokenizer, template=PromptTemplate.choose(tokenizer, "auto"))


def own_figures(model_args: Mapping[str, Any], **settings: Any) -> dict[str, Any]:
    """What the harness finds when it loads the model itself."""
    from lm_eval.tasks import TaskManager

    found = lm_eval.simple_evaluate(
        model="hf",
        model_args={"dtype": "float32", **model_args},
        tasks=list(NAMES),
        device="cpu",
        task_manager=TaskManager(include_path=str(TASKS), include_defaults=False),
        **settings,
    )
    return {name: figures(found["results"][name]) for name in NAMES}


def figures(result: Mapping[str, Any]) -> dict[str, Any]:
    return {key: value for key, value in result.items() if "," in key}


@pytest.fixture(autouse=True)
def _no_account_of_the_machine(monkeypatch: pytest.MonkeyPatch) -> None:
    """The harness starts half a dozen programs to describe the machine that a result is from."""
    monkeypatch.setattr("lm_eval.evaluator.add_env_info", lambda results: None)


def ours(loaded: LoadedModel, settings: HarnessSettings) -> dict[str, Any]:
    benchmarks = load_benchmarks(NAMES, settings, include=[TASKS])
    return {item.name: figures(item.run(loaded)["results"][item.name]) for item in benchmarks}


@pytest.mark.parametrize("chat", [False, True])
def test_the_figures_are_the_harness_s_own(tiny_folder: Path, chat: bool) -> None:
    settings = HarnessSettings(limit=3, batch_size=2, chat_template=chat)
    found = ours(load(tiny_folder), settings)
    theirs = own_figures(
        {"pretrained": str(tiny_folder)}, limit=3, batch_size=2, apply_chat_template=chat, fewshot_as_multiturn=chat
    )
    assert found == theirs
    # A smooth function of the log-probs.
    assert 0 < found["arithmetic_choose"]["brier_score,none"] < 2
    assert set(found["arithmetic_solve"]) >= {"exact_match,strict", "exact_match_stderr,last-number"}


def test_an_adapter_plays_as_peft_loads_it(tiny_folder: Path, tmp_path: Path) -> None:
    loaded = load(tiny_folder)
    torch.manual_seed(0)
    lora = LoraConfig(r=4, target_modules="all-linear", init_lora_weights=False, task_type="CAUSAL_LM")
    adapted = get_peft_model(loaded.model, lora).eval()
    adapted.save_pretrained(tmp_path / "adapter")
    adapter = LoadedModel(model=adapted.get_base_model(), tokenizer=loaded.tokenizer, template=loaded.template)
    settings = HarnessSettings(limit=3, batch_size=2, shots=1)
    found = ours(adapter, settings)
    pieces = {"pretrained": str(tiny_folder), "peft": str(tmp_path / "adapter")}
    assert found == own_figures(pieces, limit=3, batch_size=2, num_fewshot=1)
    assert found != ours(load(tiny_folder), settings)


class Counting:
    """Counts how often a model is asked for."""

    def __init__(self, folder: Path) -> None:
        self.folder, self.loads = folder, 0

    def __call__(self) -> LoadedModel:
        self.loads += 1
        return load(self.folder)


def choose(tasks: Path, **settings: Any) -> Benchmark:
    (benchmark,) = load_benchmarks(["arithmetic_choose"], HarnessSettings(limit=2, **settings), include=[tasks])
    return benchmark


def test_nothing_is_measured_twice(tiny_folder: Path, tmp_path: Path) -> None:
    tasks, kept, model = tmp_path / "tasks", tmp_path / "kept", Counting(tiny_folder)
    shutil.copytree(TASKS, tasks)
    record = choose(tasks).measure(model, kept)
    assert choose(tasks).measure(model, kept) == record
    assert model.loads == 1
    (path,) = kept.iterdir()
    assert path.name.startswith("arithmetic_choose-")
    assert json.loads(path.read_text(encoding="utf-8")) == record
    identity = record["identity"]
    assert (identity["limit"], identity["seed"], identity["lm_eval"]) == (2, [0, 1234, 1234, 1234], lm_eval.__version__)
    assert record["n-shot"] == {"arithmetic_choose": 2}
    assert record["n-samples"]["arithmetic_choose"] == {"original": 64, "effective": 2}

    choose(tasks, shots=0).measure(model, kept)
    choose(tasks, seed=7).measure(model, kept)
    assert model.loads == 3
    # Other documents, or another way to ask, are another benchmark.
    problems = tasks / "problems.py"
    problems.write_text(problems.read_text(encoding="utf-8").replace("(0, 1, 2, 10)", "(0, 1, 2, 9)"), encoding="utf-8")
    choose(tasks).measure(model, kept)
    yaml = tasks / "arithmetic_choose.yaml"
    yaml.write_text(yaml.read_text(encoding="utf-8").replace("Answer:", "A:"), encoding="utf-8")
    choose(tasks).measure(model, kept)
    assert model.loads == 5
    assert len(list(kept.iterdir())) == 5


def test_patterns_and_unknown_names() -> None:
    found = load_benchmarks(["arithmetic_*"], HarnessSettings(), include=[TASKS])
    assert [item.name for item in found] == ["arithmetic_choose", "arithmetic_solve"]


def test_what_cannot_be_run_is_said_first(tmp_path: Path) -> None:
    with pytest.raises(InputError, match="has its own numbers of shots"):
        load_benchmarks(["open-llm-leaderboard"], HarnessSettings(shots=3))
    with pytest.raises(InputError, match="the folder holds no tasks"):
        load_benchmarks(["x"], HarnessSettings(), include=[tmp_path])
    shutil.copytree(TASKS, tmp_path / "tasks")
    yaml = tmp_path / "tasks" / "arithmetic_choose.yaml"
    yaml.write_text(yaml.read_text(encoding="utf-8") + "unsafe_code: true\n", encoding="utf-8")
    with pytest.raises(InputError, match="runs code that the model writes"):
        load_benchmarks(["arithmetic_choose"], HarnessSettings(), include=[tmp_path / "tasks"])
    yaml.write_text(yaml.read_text(encoding="utf-8").replace("problems.splits", "problems.nothing"), encoding="utf-8")
    with pytest.raises(InputError, match="'arithmetic_choose' cannot be loaded"):
        load_benchmarks(["arithmetic_choose"], HarnessSettings(), include=[tmp_path / "tasks"])


def test_the_leaderboard_is_that_of_spin() -> None:
    assert SUITES["open-llm-leaderboard"] == {
        "arc_challenge": 25,
        "truthfulqa_mc2": 0,
        "winogrande": 5,
        "gsm8k": 5,
        "hellaswag": 10,
        "mmlu": 5,
    }
    declared = {
        line.split(":", 1)[1].strip()
        for folder in ("arc", "truthfulqa", "winogrande", "gsm8k", "hellaswag", "mmlu/default")
        for path in (Path(lm_eval.__file__).parent / "tasks" / folder).glob("*.yaml")
        for line in path.read_text(encoding="utf-8").splitlines()
        if line.startswith(("task:", "group:"))
    }
    assert set(SUITES["open-llm-leaderboard"]) <= declared
