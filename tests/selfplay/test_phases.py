"""A schedule of phases: what each inherits, what is refused, and what a plan makes of all of them."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest
import yaml

from a_run import a_run
from sparring.errors import InputError
from sparring.planning.plan import plan
from sparring.policies import Drawn
from sparring.run_directory import RunDirectory
from sparring.selfplay.config.schema import PhaseConfig, SelfPlayConfig
from sparring.selfplay.phases import phases_of
from sparring.selfplay.prepared import prepare
from sparring.selfplay.stages.score import _first_shards
from sparring.shards import samples_path

GIVEN = {"objective": {"name": "dpo"}, "responses": "data"}
DATA = {"source": "arithmetic", "limit": 6, "held_out": 2, "max_response_tokens": 24}
JUDGED = {
    "objective": {"name": "sppo"},
    "judge": {"name": "verifier", "rule": "final-number"},
    "generation": {"samples_per_prompt": 2},
}


def run(*phases: Any, **sections: Any) -> SelfPlayConfig:
    return SelfPlayConfig.from_mapping({"data": DATA, "phases": list(phases)} | sections)


def test_a_phase_is_filled_up_from_the_run() -> None:
    config = run(
        {"objective": {"name": "spin"}},
        JUDGED | {"iterations": 3, "training": {"learning_rate": 1e-4}},
        iterations=1,
        objective={"name": "spif", "beta": 2.0},
        opponent={"name": "fictitious-play"},
        generation={"batch_size": 8, "top_p": 0.9},
        training={"learning_rate": 1e-5, "num_train_epochs": 2},
    )
    first, second = config.phases
    assert first.objective.name == "spin"
    assert first.objective.options == {}, "an objective is taken whole"
    assert (first.iterations, second.iterations, config.total_iterations) == (1, 3, 4)
    assert first.judge is None
    assert first.opponent == second.opponent == config.opponent
    assert second.generation == config.generation.model_copy(update={"samples_per_prompt": 2})
    assert first.training == config.training
    assert second.training == {"learning_rate": 1e-4, "num_train_epochs": 2}


def test_a_phase_may_give_up_what_the_run_has() -> None:
    config = run(JUDGED, {"objective": {"name": "spif"}, "judge": None, "regularizers": []}, **JUDGED)
    assert [phase.judge is None for phase in config.phases] == [False, True]
    assert len(phases_of(config)) == 2


def test_phases_survive_being_written_and_may_be_objects(tmp_path: Path) -> None:
    config = run({"objective": {"name": "spin"}}, JUDGED, generation={"batch_size": 8})
    path = tmp_path / "config.yaml"
    path.write_text(config.to_yaml(), encoding="utf-8")
    assert SelfPlayConfig.from_yaml(path) == config
    objects = [PhaseConfig.model_validate(each) for each in ({"objective": {"name": "spin"}}, JUDGED)]
    assert run(*objects, generation={"batch_size": 8}) == config
    changed = SelfPlayConfig.from_yaml(path, ["phases.1.iterations=5", "phases.0.objective.beta=2"])
    assert [phase.iterations for phase in changed.phases] == [2, 5]
    assert changed.phases[0].objective.options == {"beta": 2}


def test_iterations_number_on() -> None:
    first, second = phases_of(run({"objective": {"name": "spin"}}, JUDGED | {"iterations": 3}))
    assert (first.iterations, second.iterations) == (range(2), range(2, 5))
    assert second.scorers(2) == (2,)


def test_opponents_look_back_over_former_phases_and_t_spin_does_not(tiny_folder: Path, tmp_path: Path) -> None:
    averaging, anchored = {"opponent": {"name": "fictitious-play"}}, {"objective": {"name": "t-spin"}}
    phases = phases_of(run({"iterations": 1}, averaging | {"iterations": 1}, anchored))
    assert phases[1].scorers(1) == (0, 1)
    assert phases[1].opponent.spec(1).generators == (0, 1)
    directory = RunDirectory(tmp_path)
    shards = [samples_path(directory.iteration(number), Drawn(number, "sampled"), 0) for number in range(3)]
    for shard in shards:
        shard.parent.mkdir(parents=True)
        shard.touch()
    assert _first_shards(a_run(tiny_folder, tmp_path), phases[2]) == [shards[2]]


def test_a_phase_needs_what_objective_judge_and_regularizers_read() -> None:
    penalty = {"regularizers": [{"name": "sft", "weight": 0.1}]}
    other = JUDGED | {"judge": {"name": "pairwise", "model": "m"}}
    plays = {"judge": other["judge"] | {"expert_plays": True}}
    needs = [phase.needs for phase in phases_of(run({}, JUDGED, other, other | plays, other | penalty, GIVEN))]
    assert needs == [{"response"}, {"reference_answer"}, set(), {"response"}, {"response"}, {"comparison"}]


@pytest.mark.parametrize(
    ("phases", "message"),
    [
        ([{"objectiv": {}}], "phases.0.objectiv: unknown key; did you mean 'objective'?"),
        ([{}, {"lora": {"r": 2}}], "phases.1.lora: unknown key; did you mean 'lora' at the top?"),
        ([{}, {"generation": {"temprature": 1}}], "phases.1.generation.temprature: unknown key; did you mean"),
        ([{"iterations": 0}], "phases.0.iterations: Input should be greater than or equal to 1, got 0"),
        ([3], "phases.0: must be a mapping of keys to values, got 3"),
        ({"a": 1}, "phases: Input should be a valid tuple, got {'a': 1}"),
        ("spin", "phases: Input should be a valid tuple, got 'spin'"),
    ],
)
def test_a_wrong_key_is_named_with_its_phase(phases: Any, message: str) -> None:
    with pytest.raises(InputError) as caught:
        SelfPlayConfig.from_mapping({"data": DATA, "phases": phases})
    assert caught.value.problem.startswith(message)


def test_what_is_wrong_with_the_run_is_not_told_again_for_each_phase() -> None:
    with pytest.raises(InputError) as caught:
        run({}, {}, iterations=-1, generation={"top_p": 2})
    assert len(caught.value.problem.splitlines()) == 2


@pytest.mark.parametrize(
    ("second", "where", "problem"),
    [
        ({"objective": {"name": "spiff"}}, "objective.name", "unknown objective 'spiff'"),
        ({"objective": {"name": "spin", "beta": 0}}, "objective 'spin'", "beta must be a finite number"),
        ({"opponent": {"name": "previos"}}, "opponent.name", "unknown opponent 'previos'"),
        ({"objective": {"name": "sppo"}}, "objective.name", "needs preferences, which only a judge can give"),
        ({"judge": {"name": "verifier"}}, "judge", "reads no preferences"),
        ({"generation": {"name": "vllm"}}, "generation.name", "the run has one generator"),
        ({"generation": {"name": "server", "endpoints": ["http://a"]}}, "generation.name", "the run has one generator"),
        ({"training": {"learning_rat": 1}}, "training.learning_rat", "TrainingArguments has no field"),
        ({"training": {"bf16": True}}, "training", "the run has one mixed precision"),
        (
            GIVEN | {"regularizers": [{"name": "reverse-kl", "weight": 0.1}]},
            "responses",
            "averages over draws of the opponent, and the data's response is none",
        ),
    ],
)
def test_every_phase_is_checked_before_anything_else(
    tmp_path: Path, second: dict[str, Any], where: str, problem: str
) -> None:
    config = run({}, second, output=str(tmp_path / "run"), model={"name": "./no/such/model", "device": "cpu"})
    with pytest.raises(InputError, match=problem) as caught:
        prepare(config)
    assert caught.value.where == f"phases.1, {where}"


def test_phases_share_the_settings_of_the_generator_and_may_not_change_them() -> None:
    own = {"name": "vllm", "dtype": "float32", "temperature": 0.5}
    first, second = run({"generation": {"samples_per_prompt": 2}}, {}, generation=own).schedule
    assert first.generation.who() == second.generation.who()
    assert (first.generation.temperature, first.generation.samples_per_prompt) == (0.5, 2)
    with pytest.raises(InputError, match="the run has one generator") as caught:
        phases_of(run({"generation": {"dtype": "bfloat16"}}, generation=own))
    assert caught.value.where == "phases.0, generation.dtype"
    # Another generator takes none of its settings, so this is what is told.
    with pytest.raises(InputError, match="the run has one generator") as caught:
        phases_of(run({"generation": {"name": "transformers"}}, generation=own))
    assert caught.value.where == "phases.0, generation.name"


def test_an_override_reaches_only_a_phase_that_is_there(tmp_path: Path) -> None:
    path = tmp_path / "config.yaml"
    path.write_text(yaml.safe_dump({"data": DATA, "phases": [{}]}), encoding="utf-8")
    for override in ("phases.1.iterations=2", "phases.x.iterations=2", "phases.-1={}"):
        with pytest.raises(InputError, match=r"there is no entry .* among the 1") as caught:
            SelfPlayConfig.from_yaml(path, [override])
        assert caught.value.where == override


def test_a_plan_adds_the_phases_up(tiny_folder: Path) -> None:
    settings = {"data": DATA, "model": {"name": str(tiny_folder)}}
    spin = {"objective": {"name": "spin", "beta": 0.1}, "iterations": 2}
    sppo = JUDGED | {"iterations": 1, "training": {"num_train_epochs": 2}}

    def planned(**sections: Any) -> Any:
        return plan(SelfPlayConfig.from_mapping(settings | sections), calibrated=False)

    both, first, second = planned(phases=[spin, sppo]), planned(**spin), planned(**sppo)
    assert [(phase.objective, phase.iterations) for phase in both.phases] == [("spin", 2), ("sppo", 1)]
    assert both.phases[0].stability.verdict.startswith("overshoots")
    assert (both.phases[1].stability, both.phases[1].comparisons) == ("it imitates no expert", 6)
    assert both.tokens.train == first.tokens.train + second.tokens.train
    # Three policies and two are evaluated; of three iterations in a row, four.
    assert both.tokens.generate < first.tokens.generate + second.tokens.generate
    assert both.memory.total == max(first.memory.total, second.memory.total)
    shown = [str(cell) for cell in both.table().columns[0].cells]
    # A rule takes no time, so that its comparisons have no row.
    assert shown[:5] == ["phase 0", "stability", "phase 1", "stability", "examples"]
