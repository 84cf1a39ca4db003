"""The recipe `auto`: what it chooses on which data, what it leaves alone, and that the run has it written out."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest
import yaml

from sparring.errors import InputError
from sparring.files import read_json
from sparring.planning.plan import plan
from sparring.reports.conclusion import conclude
from sparring.reports.summary import summarize
from sparring.run_directory import RunDirectory
from sparring.selfplay.auto import RULES, resolve
from sparring.selfplay.config.schema import SelfPlayConfig
from sparring.selfplay.loop import resume, run
from sparring.selfplay.prepared import prepare
from sparring.shards import read_samples, samples_of

DEMONSTRATED = [{"prompt": f"{n} + 1?", "response": f"#### {n + 1}"} for n in range(8)]
VERIFIED = [{"prompt": f"{n} + 2?", "ground_truth": n + 2} for n in range(8)]
ASKED = [{"prompt": f"{n} + 3?"} for n in range(8)]
COMPARED = [{"prompt": f"{n} + 4?", "responses": ["yes", "no"], "scores": [1, 0]} for n in range(8)]
NUMBERS = {"verifier": "final-number"}


@pytest.fixture(autouse=True)
def a_processor(request: pytest.FixtureRequest, monkeypatch: pytest.MonkeyPatch) -> None:
    """With products in bf16 or, as by default, without."""
    has = getattr(request, "param", False)
    monkeypatch.setattr("sparring.selfplay.arguments.multiplies_bf16", lambda: has)


def config(folder: Path, rows: list[dict[str, Any]], data: Any = None, **settings: Any) -> SelfPlayConfig:
    """Of the rows, each with every column; two of them are held out."""
    columns = list(dict.fromkeys(name for row in rows for name in row))
    path = folder / "data.jsonl"
    path.write_text("".join(json.dumps(dict.fromkeys(columns) | row) + "\n" for row in rows))
    section = {"source": str(path), "held_out": 2} | (data or {})
    return SelfPlayConfig.from_mapping({"recipe": "auto", "data": section, **settings})


# What the data have, what is played on it, whether there is a warm-up, and how many iterations.
CASES: dict[str, tuple[list[dict[str, Any]], dict[str, Any], str, str | None, bool, int]] = {
    "experts and a verifier": (DEMONSTRATED, NUMBERS, "raft", "verifier", True, 2),
    "ground truths alone": (VERIFIED, NUMBERS, "raft", "verifier", False, 2),
    "some experts and ground truths": (DEMONSTRATED + VERIFIED, NUMBERS, "raft", "verifier", True, 2),
    "a verifier and no answers": (ASKED, NUMBERS, "sppo", "consensus", False, 2),
    "a verifier and few answers": (DEMONSTRATED[:4] + ASKED, NUMBERS, "sppo", "consensus", True, 2),
    "some experts": (DEMONSTRATED + ASKED, {}, "sppo", "discriminator", True, 2),
    "experts": (DEMONSTRATED, {}, "sft", None, True, 0),
    "preferences": (COMPARED, {}, "dpo", None, False, 1),
    "preferences and a verifier without answers": (COMPARED, NUMBERS, "dpo", None, False, 1),
}


@pytest.mark.parametrize("name", CASES)
def test_what_is_played_on_which_data(tmp_path: Path, name: str) -> None:
    rows, data, objective, judge, warm, iterations = CASES[name]
    resolved, reasons = resolve(config(tmp_path, rows, data))
    assert resolved.objective.name == objective
    assert (None if resolved.judge is None else resolved.judge.name) == judge
    assert (resolved.warmup is not None) == warm
    assert resolved.iterations == iterations
    assert resolved.recipe is None
    assert resolved.warmup is None or resolved.warmup.until == "end"
    assert resolved.judge is None or judge == "discriminator" or resolved.judge.options == {"rule": "final-number"}
    assert len(reasons) == 3 + warm


@pytest.mark.parametrize(
    ("truths", "verifier", "objective", "told"),
    [
        ([2, "#### 3"], {}, "raft", "auto verifies by 'final-number'"),
        (["a word", "two"], {}, "sppo", "auto does not use the ground truths of 8 prompts"),
        ([2, 3], {"verifier": None}, "sppo", "auto does not use the ground truths of 8 prompts"),
        (["a word", "two"], {"verifier": "exact"}, "raft", "8 an answer for 'exact' to verify against"),
    ],
)
def test_ground_truths_without_a_rule(
    tmp_path: Path, truths: list[Any], verifier: dict[str, Any], objective: str, told: str
) -> None:
    rows = [{"prompt": f"{n}?", "ground_truth": truths[n % 2]} for n in range(10)]
    if objective == "sppo":
        rows = [row | ({"response": "#### 4"} if n < 5 else {}) for n, row in enumerate(rows)]
    resolved, reasons = resolve(config(tmp_path, rows, verifier))
    assert resolved.objective.name == objective
    assert resolved.data.verifier == ("final-number" if told.startswith("auto verifies") else verifier.get("verifier"))
    assert any(told in reason for reason in reasons)


@pytest.mark.parametrize(("experts", "until"), [(63, "end"), (64, "plateau")])
def test_few_experts_are_all_trained_on(tmp_path: Path, experts: int, until: str) -> None:
    rows = [{"prompt": f"{n} and 1?", "response": f"#### {n + 1}"} for n in range(experts + 2)]
    resolved, reasons = resolve(config(tmp_path, rows, NUMBERS))
    assert resolved.warmup is not None
    assert resolved.warmup.until == until
    assert resolved.warmup.training["num_train_epochs"] == 8
    assert ("too few to set some apart" in reasons[1]) == (until == "end")


@pytest.mark.parametrize(
    ("experts", "given", "until", "patience"),
    [
        (70, {"until": "end"}, "end", 2),
        (10, {"until": "plateau"}, "plateau", 8),
        (10, {"until": "plateau", "patience": 3}, "plateau", 3),
        (10, {"training": {"learning_rate": 1e-5}}, "end", 2),
    ],
)
def test_a_warm_up_that_was_asked_for(
    tmp_path: Path, experts: int, given: dict[str, Any], until: str, patience: int
) -> None:
    rows = [{"prompt": f"{n} and 1?", "response": f"#### {n + 1}"} for n in range(experts + 2)]
    resolved, _ = resolve(config(tmp_path, rows, NUMBERS, warmup=given))
    assert resolved.warmup is not None
    assert (resolved.warmup.until, resolved.warmup.patience) == (until, patience)


@pytest.mark.parametrize("a_processor", [True], indirect=True)
@pytest.mark.parametrize(
    ("settings", "dtype"),
    [
        ({}, "bfloat16"),
        ({"model": {"name": "mine"}}, "bfloat16"),
        ({"model": {"dtype": "float32"}}, "float32"),
        ({"training": {"bf16": True}}, "float32"),
        # All weights are trained, and in bf16 small steps of them would be rounded away.
        ({"lora": None}, "float32"),
    ],
)
def test_an_adapter_is_trained_on_weights_in_bf16_where_that_is_faster(
    tmp_path: Path, settings: dict[str, Any], dtype: str
) -> None:
    resolved, reasons = resolve(config(tmp_path, DEMONSTRATED, NUMBERS, **settings))
    assert resolved.model.dtype == dtype
    assert resolved.model.name == settings.get("model", {}).get("name", "smollm2-135m")
    assert any("in bf16" in reason for reason in reasons) == (dtype == "bfloat16")


def test_without_products_in_bf16_auto_computes_in_fp32(tmp_path: Path) -> None:
    assert resolve(config(tmp_path, DEMONSTRATED, NUMBERS))[0].model.dtype == "float32"


def test_a_judge_that_is_given_is_played_with(tmp_path: Path) -> None:
    resolved, _ = resolve(
        config(tmp_path, ASKED, judge={"name": "llm", "model": "m", "base_url": "http://127.0.0.1:1"})
    )
    assert (resolved.objective.name, resolved.judge and resolved.judge.name) == ("sppo", "llm")
    assert resolved.judge is not None
    assert resolved.judge.options["model"] == "m"


def test_with_the_judge_verifier_raft_is_played(tmp_path: Path) -> None:
    resolved, reasons = resolve(config(tmp_path, VERIFIED, judge={"name": "verifier", "rule": "exact"}))
    assert (resolved.objective.name, resolved.generation.temperature) == ("raft", 1.5)
    assert resolved.judge is not None
    assert resolved.judge.options == {"rule": "exact"}
    assert "auto plays raft: it fine-tunes on those of four samples that the judge finds right" in reasons[1]


def test_the_reason_of_a_warm_up_has_the_epochs_that_are_set(tmp_path: Path) -> None:
    _, reasons = resolve(config(tmp_path, DEMONSTRATED, NUMBERS, warmup={"training": {"num_train_epochs": 5}}))
    assert "experts for 5 epochs" in reasons[1]


def test_what_is_set_stands(tmp_path: Path) -> None:
    settings = {
        "iterations": 5,
        "lora": {"r": 8},
        "training": {"learning_rate": 1e-5},
        "generation": {"samples_per_prompt": 6, "batch_size": 16},
        "warmup": {"patience": 3, "until": "plateau"},
        "judge": None,
    }
    resolved, _ = resolve(config(tmp_path, DEMONSTRATED, NUMBERS, **settings))
    assert (resolved.iterations, resolved.lora) == (5, {"r": 8})
    assert resolved.training["learning_rate"] == 1e-5
    assert resolved.training["num_train_epochs"] == 4
    assert (resolved.generation.samples_per_prompt, resolved.generation.batch_size) == (6, 16)
    assert resolved.generation.temperature == 1.5
    assert resolved.warmup is not None
    assert (resolved.warmup.patience, resolved.warmup.training["learning_rate"]) == (3, 2e-4)
    assert resolved.judge is not None


def test_an_objective_that_is_asked_for_is_played(tmp_path: Path) -> None:
    asked = {"objective": {"name": "spif"}, "regularizers": [{"name": "sft", "weight": 0.3}]}
    resolved, reasons = resolve(config(tmp_path, DEMONSTRATED, NUMBERS, **asked))
    assert (resolved.objective.name, resolved.judge, resolved.iterations) == ("spif", None, 2)
    assert resolved.regularizers[0].name == "sft"
    assert resolved.warmup is not None
    assert "auto plays 'spif', which the configuration names" in reasons


def test_all_weights_are_trained_at_lower_rates_and_the_others_stay(tmp_path: Path) -> None:
    adapter, _ = resolve(config(tmp_path, DEMONSTRATED, NUMBERS))
    whole, _ = resolve(config(tmp_path, DEMONSTRATED, NUMBERS, lora=None))
    again, _ = resolve(config(tmp_path, DEMONSTRATED, NUMBERS))
    assert again == adapter
    assert whole.lora is None
    assert adapter.warmup is not None
    assert whole.warmup is not None
    for low, high in ((whole, adapter), (whole.warmup, adapter.warmup)):
        assert low.training["learning_rate"] == pytest.approx(high.training["learning_rate"] / 5)
    own, _ = resolve(config(tmp_path, DEMONSTRATED, NUMBERS, lora=None, training={"learning_rate": 1e-3}))
    assert own.training["learning_rate"] == 1e-3


def test_without_a_warm_up_where_none_is_wanted(tmp_path: Path) -> None:
    resolved, reasons = resolve(config(tmp_path, DEMONSTRATED, NUMBERS, warmup=None))
    assert resolved.warmup is None
    assert not any("warms up" in reason for reason in reasons)


def test_data_of_which_nothing_can_be_learned_are_refused(tmp_path: Path) -> None:
    with pytest.raises(InputError, match="nothing says which response to a prompt is better"):
        resolve(config(tmp_path, ASKED))


def test_phases_are_refused(tmp_path: Path) -> None:
    with pytest.raises(InputError, match="the recipe auto chooses what is played, and there are phases"):
        resolve(config(tmp_path, DEMONSTRATED, phases=[{}]))


def test_without_the_recipe_nothing_is_chosen(tmp_path: Path) -> None:
    plain = config(tmp_path, DEMONSTRATED, recipe=None)
    assert resolve(plain) == (plain, ())


def test_what_was_chosen_chooses_the_same_again(tmp_path: Path) -> None:
    resolved, _ = resolve(config(tmp_path, DEMONSTRATED + VERIFIED, NUMBERS))
    written = SelfPlayConfig.from_mapping(yaml.safe_load(resolved.to_yaml()))
    assert written == resolved
    assert resolve(written) == (written, ())


def test_every_rule_is_in_the_docs() -> None:
    page = (Path(__file__).parents[2] / "docs" / "auto.md").read_text(encoding="utf-8")
    rows = [line.split("|")[1].strip() for line in page.splitlines() if line.startswith("|")]
    assert [row for row in rows if row in {rule.data for rule in RULES}] == [rule.data for rule in RULES]


def test_a_run_without_iterations_needs_a_warm_up(tmp_path: Path) -> None:
    with pytest.raises(InputError, match="warmup: without iterations and without a warm-up nothing is trained"):
        config(tmp_path, DEMONSTRATED, recipe=None, iterations=0)
    with pytest.raises(InputError, match=r"phases\.0\.iterations: Input should be greater than or equal to 1"):
        config(tmp_path, DEMONSTRATED, recipe=None, phases=[{"iterations": 0}])


@pytest.fixture
def tiny(tmp_path: Path, tiny_folder: Path) -> dict[str, Any]:
    return {
        "output": str(tmp_path / "run"),
        "model": {"name": str(tiny_folder), "device": "cpu"},
        "warmup": {"until": "plateau", "training": {"num_train_epochs": 2}},
        "reuse": False,
    }


def test_experts_alone_end_where_more_training_on_them_stops_helping(tmp_path: Path, tiny: dict[str, Any]) -> None:
    asked = config(tmp_path, DEMONSTRATED, {"max_response_tokens": 12}, **tiny)
    planned = plan(asked, calibrated=False)
    assert planned.phases[0].rows() == [("game", "none: the run ends after its warm-up")]
    assert any("more supervised fine-tuning" in note for note in planned.notes)
    assert planned.memory.activations > 0
    result = run(asked)
    assert result.best == tmp_path / "run" / "warmup" / "model"
    assert not RunDirectory(tmp_path / "run").iterations.exists()
    told = conclude(summarize(tmp_path / "run"), None)
    assert told.headline.startswith("The best policy is the warm-up, before any self-play")
    assert not any("No iteration" in warning for warning in told.warnings)
    assert resume(tmp_path / "run").best == result.best


def test_the_run_has_what_was_chosen_written_out(tmp_path: Path, tiny: dict[str, Any]) -> None:
    data = {"max_response_tokens": 12, **NUMBERS}
    asked = config(tmp_path, DEMONSTRATED + VERIFIED, data, iterations=1, **tiny)
    result = run(asked)
    directory = RunDirectory(result.directory)
    written = SelfPlayConfig.of_run(directory.config)
    assert written == resolve(asked)[0]
    assert (written.recipe, written.objective.name) == (None, "raft")
    assert read_json(directory.manifest)["auto"] == list(prepare(asked).reasons)
    # The demonstrations warm up, and every prompt is played.
    assert {len(rows) for rows in read_samples(samples_of(directory.iteration(0))).values()} == {4}
    assert len(read_samples(samples_of(directory.iteration(0)))) == 14
    assert result.best is not None
    with pytest.raises(InputError, match="this run was started before"):
        run(asked)
    assert resume(result.directory).best == result.best


def test_rows_of_use_to_the_warm_up_alone_are_no_error(tmp_path: Path, tiny: dict[str, Any]) -> None:
    mixed = config(tmp_path, DEMONSTRATED + COMPARED, {"max_response_tokens": 12}, **tiny)
    prepared = prepare(mixed)
    assert prepared.config.objective.name == "dpo"
    assert len(prepared.train.examples) == 14
    assert len(prepared.phases[0].prompts(prepared.train.examples)) == 8
    with pytest.raises(InputError, match="objective 'dpo' needs responses with preferences, and there is none"):
        prepare(
            mixed.model_copy(
                update={"warmup": None, "recipe": None, "objective": prepared.config.objective} | {"responses": "data"}
            )
        )
