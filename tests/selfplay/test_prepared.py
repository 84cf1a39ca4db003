"""What is checked and set up before a run is played."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest
import torch

from launch import together
from sparring.errors import InputError
from sparring.files import read_json, write_json
from sparring.run_directory import RunDirectory
from sparring.selfplay.checks.folder import make_folder
from sparring.selfplay.checks.workers import check_workers
from sparring.selfplay.config.schema import SelfPlayConfig
from sparring.selfplay.notes import data_summary, notes
from sparring.selfplay.prepared import prepare
from sparring.selfplay.set_up import claim, reopen, set_up
from sparring.work import processes


def config(model: Path, output: Path, **changes: Any) -> SelfPlayConfig:
    base = {
        "output": str(output),
        "model": {"name": str(model), "device": "cpu"},
        "data": {"source": "arithmetic", "limit": 4, "held_out": 0, "max_response_tokens": 8},
    }
    return SelfPlayConfig.model_validate(base | changes)


def test_another_number_of_processes_makes_other_batches(tiny_folder: Path, tmp_path: Path) -> None:
    prepared = prepare(config(tiny_folder, tmp_path / "run"))
    directory = make_folder(prepared.config)
    claim(prepared, directory)
    assert reopen(directory.path)[1] == directory
    manifest = read_json(directory.manifest)
    assert manifest["fingerprints"]["processes"] == "1"
    write_json(directory.manifest, manifest | {"fingerprints": manifest["fingerprints"] | {"processes": "2"}})
    again = "continue it in 2 processes over all nodes: `sparring launch "
    with pytest.raises(InputError, match=f"(?s)the number of processes changed.*{again}"):
        reopen(directory.path)


def set_up_with_a_judge(rank: int, model: str, output: str) -> None:
    judged = config(
        Path(model),
        Path(output),
        objective={"name": "sppo"},
        judge={"name": "verifier", "rule": "final-number"},
        generation={"samples_per_prompt": 2},
    )
    run = set_up(prepare(judged), RunDirectory(judged.output))
    assert processes.count() == 2
    assert bool(run.judges.of_phases) == (rank == 0)


def judged(model: Path, judge: dict[str, Any], **changes: Any) -> SelfPlayConfig:
    game = {"objective": {"name": "sppo"}, "judge": {"name": "verifier"} | judge}
    data = {"source": "arithmetic", "limit": 4, "held_out": 0, "max_response_tokens": 60} | changes
    return config(model, Path("run"), **game, data=data, generation={"samples_per_prompt": 2})


def test_a_rule_that_finds_no_answer_in_any_expert_response_is_refused(tiny_folder: Path) -> None:
    wrong = {"rule": "regex", "pattern": r"Answer: (\d+)"}
    with pytest.raises(InputError, match="'regex' finds no answer in any reference answer, such as") as caught:
        prepare(judged(tiny_folder, wrong))
    assert caught.value.where == "judge.rule"
    prepare(judged(tiny_folder, wrong | {"pattern": r"#### (\d+)"}))


def test_a_rule_that_cannot_be_imported_is_refused_before_anything_is_played(
    tiny_folder: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    (tmp_path / "torn.py").write_text("def rule(:")
    monkeypatch.syspath_prepend(str(tmp_path))
    for rule in ("torn:rule", "./torn.py:rule", "absent.module:rule"):
        with pytest.raises(InputError, match=r"cannot be imported .*Error") as caught:
            prepare(judged(tiny_folder, {"rule": rule}))
        assert caught.value.where == "judge.rule"


@pytest.mark.parametrize("name", ["reward-model", "pairwise"])
def test_a_judges_model_that_is_not_there_is_the_judges(tiny_folder: Path, name: str) -> None:
    with pytest.raises(InputError, match="no model folder at '/no/such/place'") as caught:
        prepare(judged(tiny_folder, {"name": name, "model": "/no/such/place"}))
    assert caught.value.where == "judge.model"


def test_the_judge_of_held_out_responses_is_looked_for_too(tiny_folder: Path) -> None:
    data = {"source": "arithmetic", "limit": 4, "held_out": 2, "max_response_tokens": 60}
    for judge, where in (
        ({"name": "reward-model", "model": "/no/such/place"}, "evaluation.judge.model"),
        ({"name": "verifier", "rule": "absent.module:rule"}, "evaluation.judge.rule"),
    ):
        with pytest.raises(InputError) as caught:
            prepare(config(tiny_folder, Path("run"), data=data, evaluation={"judge": judge}))
        assert caught.value.where == where


def test_to_watch_win_rates_somebody_must_compare(tiny_folder: Path) -> None:
    data = {"source": "arithmetic", "limit": 4, "held_out": 2, "max_response_tokens": 60}
    watched = {"stop": {"metric": "win_rate/base"}, "data": data}
    with pytest.raises(InputError, match="nobody compares held-out responses") as caught:
        prepare(config(tiny_folder, Path("run"), **watched))
    assert caught.value.where == "stop.metric"
    prepare(config(tiny_folder, Path("run"), **watched, evaluation={"judge": {"name": "verifier"}}))


def test_what_is_wrong_in_several_sections_is_told_at_once(tiny_folder: Path) -> None:
    wrong = {"objective": {"name": "dpo", "bta": 0.1}, "training": {"learnin_rate": 1e-5, "epochs": 2}}
    with pytest.raises(InputError) as caught:
        prepare(config(tiny_folder, Path("run"), **wrong))
    first, *others = str(caught.value).splitlines()
    assert first.startswith("objective.bta: objective 'dpo' has no option 'bta'; did you mean 'beta'?")
    assert [line.split(":")[0].strip() for line in others] == ["training.learnin_rate", "training.epochs"]


def test_an_expert_that_plays_is_trained_on_as_the_judge_sees_it(tiny_folder: Path) -> None:
    plays = {"expert_plays": True}
    with pytest.raises(InputError, match=r"4 of its responses are cut at data\.max_response_tokens") as caught:
        prepare(judged(tiny_folder, plays, max_response_tokens=8))
    assert caught.value.where == "judge.expert_plays"
    prepare(judged(tiny_folder, plays))
    # The judge `expert` reads nothing.
    prepare(judged(tiny_folder, plays | {"name": "expert"}, max_response_tokens=8))


@pytest.mark.parametrize(
    ("changes", "teach"),
    [({}, False), ({"expert_plays": True, "name": "expert"}, True), ({"warmup": {}}, True), ({"control": True}, True)],
)
def test_cut_responses_are_told_of_where_something_learns_from_them(
    tiny_folder: Path, changes: dict[str, Any], teach: bool
) -> None:
    game = {each: changes.get(each) for each in ("warmup", "control") if each in changes}
    judge = {name: value for name, value in changes.items() if name not in game}
    prepared = prepare(judged(tiny_folder, judge, max_response_tokens=8).model_copy(update=_checked(game)))
    assert prepared.train.truncated_responses == 4
    assert any("responses are cut at" in note for note in notes(prepared)) == teach
    told = data_summary(prepared)
    assert told["train"]["truncated_responses"] == (4 if teach else 0)
    assert [each["name"] for each in told["findings"]["training"]] == ["cut responses"] * teach


def _checked(game: dict[str, Any]) -> dict[str, Any]:
    """Sections of a configuration, as it holds them."""
    whole = SelfPlayConfig.model_validate({"data": {"source": "arithmetic", "limit": 4}} | game)
    return {name: getattr(whole, name) for name in game}


def test_the_main_process_alone_holds_the_judge(tiny_folder: Path, tmp_path: Path) -> None:
    together(set_up_with_a_judge, str(tiny_folder), str(tmp_path / "run"))


def test_actors_without_a_gpu_do_not_play_for_training_on_one(tiny_folder: Path, tmp_path: Path) -> None:
    cuda, cpu = torch.device("cuda"), torch.device("cpu")
    hidden = config(tiny_folder, tmp_path, workers={"name": "ray"})
    with pytest.raises(InputError, match="actors without a GPU") as caught:
        check_workers(hidden, cuda)
    assert caught.value.where == "workers.gpus"
    check_workers(hidden, cpu)
    check_workers(config(tiny_folder, tmp_path, workers={"name": "ray", "gpus": 0.5}), cuda)
    check_workers(config(tiny_folder, tmp_path), cuda)
    with pytest.raises(InputError, match="takes its weights from one process"):
        check_workers(config(tiny_folder, tmp_path, workers={"name": "ray"}, generation={"name": "vllm"}), cpu)
