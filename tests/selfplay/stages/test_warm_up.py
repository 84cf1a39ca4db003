"""A warm-up until a plateau: where it ends, what it takes, and what it trains on."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest

from a_run import a_config, a_run
from reports.finished_run import write_run
from sparring.errors import InputError
from sparring.policies import BASE
from sparring.reports.conclusion import conclude
from sparring.reports.curves import learning_curves
from sparring.reports.summary import summarize
from sparring.run_directory import RunDirectory
from sparring.selfplay.config.warmup import WarmupConfig
from sparring.selfplay.notes import notes
from sparring.selfplay.prepared import prepare
from sparring.selfplay.run import Run
from sparring.selfplay.stages import warm_up as stage
from sparring.selfplay.stages.warm_up import warm_up
from sparring.trainer.plateau import Look, best_of, looks_of

DATA = {"source": "arithmetic", "limit": 15, "held_out": 1, "max_response_tokens": 24}
# So high that the experts' likelihood goes up and down.
WARMUP = {"until": "plateau", "patience": 2, "training": {"learning_rate": 3e-2, "num_train_epochs": 12}}
LORAS: list[dict[str, Any] | None] = [None, {"r": 4}]


def likelihood(run: Run, policy: int) -> float:
    """(1/T) log π(y|x) of the validation experts, by another way than the callback's."""
    config = run.config.warmup
    assert config is not None
    run.activate(policy)
    _, validation = config.split(run.train)
    scored = [run.policy.log_probs([item.prompt_ids], [[item.expert_ids]])[0][0] for item in validation]
    return sum(float(tokens.sum()) / len(tokens) for tokens in scored) / len(scored)


def looks(run: Run) -> list[Look]:
    return looks_of([event for event in run.directory.events() if event.get("stage") == "warmup"])


@pytest.fixture(scope="module", params=LORAS, ids=["full", "lora"])
def warmed(request: pytest.FixtureRequest, tiny_folder: Path, tmp_path_factory: pytest.TempPathFactory) -> Run:
    run = a_run(tiny_folder, tmp_path_factory.mktemp("run"), data=DATA, warmup=WARMUP, lora=request.param)
    config = run.config.warmup
    assert config is not None
    warm_up(run, config)
    return run


def test_it_looks_before_the_first_step_and_after_every_epoch(warmed: Run) -> None:
    steps = [look.step for look in looks(warmed)]
    assert steps == [3 * epoch for epoch in range(len(steps))]
    assert [look.epoch for look in looks(warmed)] == list(range(len(steps)))
    assert looks(warmed)[0].likelihood == pytest.approx(likelihood(warmed, BASE), abs=1e-5)


def test_it_takes_the_likeliest_epoch_and_ends_two_after_it(warmed: Run) -> None:
    found = looks(warmed)
    best = best_of(found)
    assert best is not None
    assert best.likelihood == max(look.likelihood for look in found[1:])
    assert found[-1].step == min(best.step + 2 * 3, 12 * 3)
    # Otherwise nothing was gone back to.
    assert best.step < found[-1].step
    assert likelihood(warmed, 0) == pytest.approx(best.likelihood, abs=1e-5)


def test_it_is_trained_once_and_leaves_no_checkpoint(warmed: Run, monkeypatch: pytest.MonkeyPatch) -> None:
    assert not warmed.directory.warmup.training.exists()
    monkeypatch.setattr(stage, "train", lambda *_, **__: pytest.fail("it trained again"))
    assert warmed.config.warmup is not None
    warm_up(warmed, warmed.config.warmup)


def test_a_limit_at_which_the_experts_still_grow_likelier_is_told(
    tiny_folder: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    slow = {"until": "plateau", "every": 0.5, "training": {"learning_rate": 1e-3, "num_train_epochs": 2}}
    run = a_run(tiny_folder, tmp_path / "run", data=DATA | {"limit": 20}, warmup=slow)
    assert run.config.warmup is not None
    warm_up(run, run.config.warmup)
    assert [look.step for look in looks(run)] == [0, 2, 4, 6, 8]
    told = " ".join(capsys.readouterr().err.split())
    assert "they still grew likelier at the limit of epochs, so more may help" in told
    assert "lower the learning rate" not in told


def test_a_limit_after_the_likeliest_epoch_says_nothing_of_more(
    tiny_folder: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    patient = WARMUP | {"patience": 12}
    run = a_run(tiny_folder, tmp_path / "run", data=DATA, warmup=patient)
    assert run.config.warmup is not None
    warm_up(run, run.config.warmup)
    found = looks(run)
    best = best_of(found)
    assert best is not None
    assert best.step < found[-1].step == 12 * 3
    assert "more may help" not in " ".join(capsys.readouterr().err.split())


def test_a_rate_at_which_nothing_is_learned_is_told(
    tiny_folder: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    wild = {"until": "plateau", "training": {"learning_rate": 3.0}}
    run = a_run(tiny_folder, tmp_path / "run", data=DATA, warmup=wild)
    assert run.config.warmup is not None
    warm_up(run, run.config.warmup)
    assert "before the first step it was" in " ".join(capsys.readouterr().err.split())


def test_no_prompt_is_on_both_sides_and_every_expert_is_on_one(tiny_folder: Path, tmp_path: Path) -> None:
    train = prepare(a_config(tiny_folder, tmp_path, data=DATA | {"experts": 11})).train.examples
    repeated = [*train, replace(train[10], response="another", index=99)]
    taught, validation = WarmupConfig(until="plateau").split(repeated)
    assert [item.index for item in taught] == [item.index for item in train[:9]]
    assert [item.index for item in validation] == [train[9].index, train[10].index, 99]
    assert WarmupConfig().split(train) == (train[:11], [])
    assert len(WarmupConfig(until="plateau", validation=5).split(train)[1]) == 5
    many = [replace(train[0], prompt_ids=[n]) for n in range(400)]
    assert len(WarmupConfig(until="plateau").split(many)[1]) == 32


def test_the_rate_is_constant_and_the_runs_own_steps_are_no_limit() -> None:
    own = {"max_steps": 3, "lr_scheduler_type": "linear", "learning_rate": 0.1}
    fields = WarmupConfig(until="plateau", training={"num_train_epochs": 7}).fields(own)
    assert fields == {"max_steps": -1, "lr_scheduler_type": "constant", "learning_rate": 0.1, "num_train_epochs": 7}
    assert WarmupConfig(training={"num_train_epochs": 7}).fields(own) == own | {"num_train_epochs": 7}


@pytest.mark.parametrize("setting", [{"validation": 3}, {"patience": 1}, {"every": 0.5}])
def test_what_is_for_a_plateau_is_refused_without_one(setting: dict[str, Any]) -> None:
    with pytest.raises(ValueError, match=f"{next(iter(setting))} is for until: plateau"):
        WarmupConfig.model_validate(setting)


def test_a_validation_that_leaves_nothing_to_train_on_is_refused(tiny_folder: Path, tmp_path: Path) -> None:
    config = a_config(tiny_folder, tmp_path, data=DATA | {"experts": 1}, warmup={"until": "plateau"})
    with pytest.raises(InputError, match=r"warmup\.validation: all 1 training rows with an expert response are set"):
        prepare(config)


def test_what_it_will_do_is_told_before(tiny_folder: Path, tmp_path: Path) -> None:
    told = notes(prepare(a_config(tiny_folder, tmp_path, data=DATA, warmup={"until": "plateau"})))
    text = "the warm-up trains on 12 prompts for 20 epochs at most, and takes the policy that finds the experts of 3 "
    assert f"{text}others likeliest" in told


def test_the_report_shows_the_looks(tmp_path: Path) -> None:
    directory: RunDirectory = write_run(tmp_path / "run")
    for step, value in enumerate([-3.0, -0.5, -0.25, -0.75]):
        directory.log({"stage": "warmup", "step": 4 * step, "epoch": step, "eval_log_likelihood/token": value})
    summary = summarize(directory.path)
    (chart,) = [each for each in learning_curves(summary.events) if each.title == "Validation experts in the warm-up"]
    assert chart.series[0]["x"] == [0, 4, 8, 12]
    assert chart.series[0]["y"] == [-3.0, -0.5, -0.25, -0.75]
    sentences = conclude(summary, None).sentences
    assert "The warm-up was taken after 2 of 3 epochs, where the experts of its validation prompts were likeliest" in (
        " ".join(sentences)
    )
