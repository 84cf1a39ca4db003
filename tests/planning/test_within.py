"""Settings with which a run fits into a time."""

from __future__ import annotations

import json
import time
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

import pytest

from sparring.errors import InputError
from sparring.planning import within
from sparring.planning.plan import plan
from sparring.planning.rates import Calibration, Rates, calibrate
from sparring.planning.within import FittedPlan, fit, time_of
from sparring.selfplay.config.schema import SelfPlayConfig
from sparring.selfplay.config.yaml import apply_overrides
from sparring.selfplay.prepared import prepare

# A token takes a millisecond to train on, and much less to do anything else with.
TRAINED = Calibration(rates=Rates(generate=1e9, score=1e9, train=1e3), share=1.0)
GENERATED = Calibration(rates=Rates(generate=1e3, score=1e9, train=1e9), share=1.0)


@pytest.fixture
def fitted(tiny_folder: Path, monkeypatch: pytest.MonkeyPatch) -> Callable[..., FittedPlan]:
    def found(limit: float, speed: Calibration, **more: Any) -> FittedPlan:
        def read(settings: Sequence[str]) -> SelfPlayConfig:
            data = {"source": "arithmetic", "limit": 100, "experts": 20, "held_out": 40, "max_response_tokens": 200}
            config = {"data": data, "model": {"name": str(tiny_folder)}, "objective": {"name": "raft"}}
            judged = config | {"judge": {"name": "verifier"}, "generation": {"samples_per_prompt": 4}, "warmup": {}}
            return SelfPlayConfig.from_mapping(apply_overrides(judged | more, settings))

        monkeypatch.setattr(within, "calibrate", lambda _: speed)
        return fit(read, limit)

    return found


def test_a_run_that_fits_stays_as_it_is(fitted: Callable[..., FittedPlan]) -> None:
    found = fitted(1e6, TRAINED)
    assert (found.settings, found.fits) == ((), True)
    assert found.told(["sparring", "train", "mine.yaml"]) == ["it fits into 277.8 h as it is"]


def test_the_part_that_takes_most_is_shrunk_until_the_plan_fits(fitted: Callable[..., FittedPlan]) -> None:
    whole = fitted(1e6, GENERATED)
    limit = sum(whole.plan.seconds.values()) / 8
    found = fitted(limit, GENERATED)
    assert found.fits
    assert sum(found.plan.seconds.values()) <= limit
    settings = dict(each.split("=") for each in found.settings)
    # The limit of responses comes first, since nothing is lost with it; the warm-up, which generates nothing, stays.
    assert next(iter(settings)) == "data.max_response_tokens"
    assert int(settings["data.max_response_tokens"]) < 200
    assert settings["iterations"] == "1"
    assert "warmup.training.num_train_epochs" not in settings
    line = found.told(["sparring", "train", "my runs.yaml"])[-1]
    assert line == f"  sparring train 'my runs.yaml' {' '.join(found.settings)}"


def test_a_warm_up_that_takes_most_has_fewer_epochs_and_a_control_goes(fitted: Callable[..., FittedPlan]) -> None:
    warmup = {"training": {"num_train_epochs": 200}}
    found = fitted(20, TRAINED, warmup=warmup, control=True, objective={"name": "sppo"})
    settings = dict(each.split("=") for each in found.settings)
    assert found.fits
    assert int(settings["warmup.training.num_train_epochs"]) < 200
    assert settings["control"] == "false"


def test_answers_that_nothing_judges_go_before_held_out_prompts(
    fitted: Callable[..., FittedPlan], tmp_path: Path
) -> None:
    source = tmp_path / "rows.jsonl"
    source.write_text("".join(json.dumps({"prompt": f"{n}?", "response": f"{n}"}) + "\n" for n in range(48)))
    data = {"source": str(source), "held_out": 40, "max_response_tokens": 16}
    plain = {"data": data, "objective": {"name": "sft"}, "judge": None, "iterations": 1}
    found = fitted(sum(fitted(1e6, GENERATED, **plain).plan.seconds.values()) / 2, GENERATED, **plain)
    assert found.fits
    assert found.settings == ("evaluation.answers=false",)


def test_what_does_not_fit_at_its_smallest_is_said(fitted: Callable[..., FittedPlan]) -> None:
    found = fitted(0.5, GENERATED)
    assert not found.fits
    settings = dict(each.split("=") for each in found.settings)
    assert (settings["data.held_out"], settings["data.prompts_per_iteration"]) == ("16", "32")
    assert found.to_json() == {"seconds": 0.5, "settings": [*found.settings], "fits": False}
    said = found.told(["sparring", "train", "mine.yaml"])[0]
    assert said.startswith("it does not fit into 0 s: at its smallest it takes about ")
    assert ", most of it the play (" in said


def test_a_plan_over_an_hour_says_what_takes_most_and_what_shrinks_it(tiny_folder: Path) -> None:
    data = {"source": "arithmetic", "limit": 40, "held_out": 0, "max_response_tokens": 24}
    config = SelfPlayConfig.model_validate({"data": data, "model": {"name": str(tiny_folder)}, "iterations": 3})

    def shown(speed: float, share: float) -> dict[str, str]:
        rates = Rates(generate=speed, score=speed, train=speed)
        planned = plan(config, calibration=Calibration(rates=rates, share=share))
        return dict(zip(*(column.cells for column in planned.table().columns), strict=True))

    slow = shown(0.01, 1.0)["most of the time"]
    assert slow.startswith("play, ")
    assert "; change iterations or data.prompts_per_iteration to shorten it; --within 15m finds settings" in slow
    assert "most of the time" not in shown(1e3, 1.0)
    assert "this machine is busy" not in shown(1e3, 0.95)
    assert shown(1e3, 0.25)["this machine is busy"].startswith(
        "other programs had the processor 75% of the time; alone"
    )


def test_the_calibration_knows_how_long_it_had_a_processor(tiny_folder: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    data = {"source": "arithmetic", "limit": 4, "held_out": 0, "max_response_tokens": 24}
    prepared = prepare(SelfPlayConfig.model_validate({"data": data, "model": {"name": str(tiny_folder)}}))
    monkeypatch.setattr("sparring.planning.rates._CALIBRATE_S", 0.1)

    def sleepy(*_: Any) -> int:
        time.sleep(0.2)  # as a thread that waits for its turn
        return 1

    for name in ("generate_once", "score_once", "train_once"):
        monkeypatch.setattr(f"sparring.planning.rates.{name}", sleepy)
    share = calibrate(prepared).share
    assert share is not None
    assert share < 0.2


@pytest.mark.parametrize(("text", "seconds"), [("90s", 90), ("15m", 900), ("15 min", 900), ("1.5h", 5400)])
def test_times_as_people_write_them(text: str, seconds: float) -> None:
    assert time_of(text) == seconds


@pytest.mark.parametrize("text", ["15", "m", "0m", "-3m", "soon"])
def test_what_is_no_time_is_refused(text: str) -> None:
    with pytest.raises(InputError, match="write 90s, 15m or"):
        time_of(text)
