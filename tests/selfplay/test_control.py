"""The control: as much more supervised fine-tuning as the play took, measured beside it."""

from __future__ import annotations

import json
import shutil
from pathlib import Path
from typing import Any

import pytest

from a_run import a_config
from e2e.bits import contents
from sparring.errors import InputError, RunError
from sparring.exports.policy import load_policy
from sparring.metrics import Estimate
from sparring.planning.plan import plan
from sparring.policies import BASE, CONTROL, Drawn, before, words
from sparring.reports.conclusion import conclude
from sparring.reports.cost import seconds_by_stage
from sparring.reports.summary import summarize
from sparring.run_directory import RunDirectory
from sparring.selfplay.config.schema import SelfPlayConfig
from sparring.selfplay.early_stop import Standing, beside
from sparring.selfplay.loop import resume, run
from sparring.selfplay.prepared import prepare
from sparring.selfplay.result import Result
from sparring.shards import held_out_scores, held_out_scores_path, read_samples, samples_of

SETTINGS: dict[str, Any] = {
    "data": {"source": "arithmetic", "limit": 8, "experts": 3, "held_out": 3, "max_response_tokens": 12},
    "warmup": {"training": {"num_train_epochs": 1}},
    "training": {"learning_rate": 1e-2, "num_train_epochs": 2, "per_device_train_batch_size": 1},
    "objective": {"name": "sppo"},
    "judge": {"name": "verifier"},
    "generation": {"samples_per_prompt": 2},
    "stop": {"enabled": False},
    "control": True,
}


@pytest.fixture(scope="module")
def played(tiny_folder: Path, tmp_path_factory: pytest.TempPathFactory) -> Result:
    return run(a_config(tiny_folder, tmp_path_factory.mktemp("control") / "run", **SETTINGS))


def test_its_policies_have_numbers_folders_and_names_of_their_own(tmp_path: Path) -> None:
    numbers = (CONTROL - 2, CONTROL - 1, CONTROL, BASE, 0, 1, 2)
    assert [before(policy) for policy in numbers] == [CONTROL - 1, CONTROL, 0, BASE, BASE, 0, 1]
    assert words(CONTROL - 1) == "control 1"
    directory = RunDirectory(tmp_path)
    assert directory.name(CONTROL - 1) == "control/001"
    assert directory.weights(CONTROL) == tmp_path / "control" / "000" / "model"
    directory.base.held_out.mkdir(parents=True)
    for drawn in (Drawn(CONTROL - 1, "greedy"), Drawn(12, "sampled")):
        held_out_scores_path(directory.base, drawn, 0).touch()
    assert {*held_out_scores(directory.base).values()} == {Drawn(CONTROL - 1, "greedy"), Drawn(12, "sampled")}


def test_it_trains_for_as_much_computation_as_the_play_and_is_measured_as_often(played: Result) -> None:
    directory = RunDirectory(played.directory)
    spent = 0.0
    for iteration in range(2):
        samples = read_samples(samples_of(directory.iteration(iteration)))
        assert len(samples) == 8
        rows = samples.values()
        tokens = sum(len(of[0]["prompt_ids"]) + sum(len(row["response_ids"]) for row in of) for of in rows)
        # Trained on for two epochs; sampled by one policy and scored by one, each for a third of what training takes.
        spent += 2 * tokens + 2 * tokens / 3
    examples = prepare(SelfPlayConfig.of_run(directory.config)).train.examples
    lengths = [len(item.prompt_ids) + len(item.expert_ids) for item in examples if item.response is not None]
    assert len(lengths) == 3
    epochs = spent / sum(lengths)
    steps = {
        number: max(event["step"] for event in directory.events() if event.get("stage") == f"control {number}")
        for number in range(2)
    }
    # Three steps an epoch; what is left of a step counts as one.
    assert steps[0] == pytest.approx(3 * epochs**0.5, abs=1)
    assert sum(steps.values()) == pytest.approx(3 * epochs, abs=2)
    assert [stage.path.name for stage in directory.controlled()] == ["000", "001"]
    assert all(stage.evaluation.exists() for stage in directory.controlled())


def test_the_report_has_its_rows_and_says_who_was_better(played: Result) -> None:
    summary = summarize(played.directory)
    names = [row.name for row in summary.rows]
    assert names == ["base", "warm-up", "iteration 0", "iteration 1", "more SFT 0", "more SFT 1"]
    assert summary.start is not None
    assert summary.start.name == "warm-up"
    assert {"control", "evaluate"} <= seconds_by_stage(summary.events)["more SFT 1"].keys()
    sentences = " ".join(conclude(summary, summary.answers()).sentences)
    assert "For as much computation, more supervised fine-tuning reached" in sentences
    assert "paired over 3 prompts): the two cannot be told apart." in sentences


def test_its_policies_can_be_loaded(played: Result) -> None:
    _, policy = load_policy(played.directory, "control/001")
    assert policy.folder == played.directory / "control" / "001" / "model"


def test_what_is_lost_of_it_is_made_again_with_the_same_bits(played: Result, tmp_path: Path) -> None:
    killed = tmp_path / "killed"
    shutil.copytree(played.directory, killed)
    shutil.rmtree(killed / "control" / "001")
    shutil.rmtree(killed / "control" / "000" / "model")
    for path in (killed / "control" / "000" / "evaluation.json", killed / "result.json"):
        path.unlink()
    resume(killed)
    assert contents(killed) == contents(played.directory)


def test_a_log_that_lacks_the_cost_is_told(played: Result, tmp_path: Path) -> None:
    cut = tmp_path / "cut"
    shutil.copytree(played.directory, cut)
    lines = RunDirectory(cut).metrics.read_text().splitlines(keepends=True)
    RunDirectory(cut).metrics.write_text("".join(line for line in lines if json.loads(line).get("stage") != "tokens"))
    with pytest.raises(RunError, match=r"metrics\.jsonl lacks what an iteration took"):
        resume(cut)


def estimates(accuracy: float) -> dict[str, Estimate]:
    return {"accuracy/greedy": Estimate(mean=accuracy, standard_error=0.1, n=8)}


@pytest.mark.parametrize(
    ("control", "best"), [((0.4, 0.5), 2), ((0.7, 0.6), CONTROL), ((float("nan"), 0.6), CONTROL - 1)]
)
def test_the_best_policy_may_be_one_of_it(control: tuple[float, float], best: int) -> None:
    standing = Standing(metric="accuracy/greedy", best=2, stop=False, reason="it ended")
    measured = {CONTROL - number: estimates(value) for number, value in enumerate(control)}
    found = beside(standing, estimates(0.5), measured)
    assert found.best == best
    assert ("more supervised fine-tuning" in found.reason) == (best != 2)
    assert beside(Standing(metric=None, best=2, stop=False, reason=""), {}, measured).best == 2


def test_of_its_equals_the_one_that_finds_experts_likeliest_is_taken() -> None:
    standing = Standing(metric="accuracy/greedy", best=2, stop=False, reason="it ended")
    likelihoods = {
        CONTROL - number: Estimate(mean=mean, standard_error=0.1, n=4) for number, mean in ((0, -2), (1, -1))
    }
    measured = {policy: estimates(0.6) | {"log_likelihood/token": each} for policy, each in likelihoods.items()}
    assert beside(standing, estimates(0.5), measured).best == CONTROL - 1


def test_a_control_without_experts_is_refused(tiny_folder: Path, tmp_path: Path) -> None:
    data = SETTINGS["data"] | {"experts": 0}
    with pytest.raises(
        InputError, match="control: no training row has an expert response, which the control trains on"
    ):
        prepare(a_config(tiny_folder, tmp_path, **SETTINGS | {"data": data, "warmup": None}))


def test_the_plan_counts_it(tiny_folder: Path, tmp_path: Path) -> None:
    # Of a judge whose verdicts take time.
    judged = SETTINGS | {"evaluation": {"judge": {"name": "llm", "model": "some"}}}
    with_it, without = (
        plan(a_config(tiny_folder, tmp_path, **judged | {"control": control}), calibrated=False)
        for control in (True, False)
    )
    assert with_it.tokens.train > 2 * without.tokens.train - 1000
    # Two more policies are measured, beside four.
    assert with_it.disk.end.held_out == without.disk.end.held_out * 6 // 4
    assert with_it.disk.end.models == without.disk.end.models * 5 // 3
    assert with_it.comparisons == without.comparisons + 4 * 3
    assert any(note.startswith("the control: supervised fine-tuning goes on") for note in with_it.notes)
