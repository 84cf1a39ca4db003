"""What is measured of a policy, against the model's own numbers."""

from __future__ import annotations

import json
import math
from pathlib import Path
from typing import Any

import pytest
import torch
from transformers import AutoModelForCausalLM

from a_run import a_config, a_run
from sparring.api import run as reported
from sparring.errors import InputError
from sparring.files import read_json, write_json
from sparring.policies import BASE, Drawn, How
from sparring.reports.summary import summarize
from sparring.run_directory import RunDirectory
from sparring.selfplay.loop import run
from sparring.selfplay.prepared import prepare
from sparring.selfplay.run import Run
from sparring.selfplay.set_up import reopen, set_up
from sparring.selfplay.stages.evaluate import evaluate
from sparring.selfplay.stages.held_out import expert_log_probs, held_out_samples, held_out_scores
from sparring.shard_files import read_shard
from sparring.shards import answers_path
from sparring.shards import held_out_samples as shards_of
from sparring.shards import held_out_scores as score_shards_of
from tiny import tiny_model

DATA = {"source": "arithmetic", "limit": 2, "held_out": 3, "max_response_tokens": 5}


@pytest.fixture(scope="module")
def playing(tiny_folder: Path, tmp_path_factory: pytest.TempPathFactory) -> Run:
    return a_run(
        tiny_folder,
        tmp_path_factory.mktemp("evaluate") / "run",
        data=DATA,
        evaluation={"samples_per_prompt": 2},
        generation={"batch_size": 4},
    )


@pytest.fixture(scope="module")
def played(tiny_folder: Path, tmp_path_factory: pytest.TempPathFactory) -> Run:
    """A run of one iteration."""
    config = a_config(
        tiny_folder,
        tmp_path_factory.mktemp("played") / "run",
        data=DATA,
        evaluation={"samples_per_prompt": 2},
        generation={"batch_size": 4},
        iterations=1,
        training={"learning_rate": 1e-2},
    )
    run(config)
    return set_up(*reopen(config.output))


def log_prob(model: Any, prompt: list[int], response: list[int]) -> float:
    """From the whole table of logits, and nothing of the library."""
    with torch.no_grad():
        logits = model(input_ids=torch.tensor([prompt + response])).logits[0, len(prompt) - 1 : -1]
    return float(logits.double().log_softmax(-1).gather(-1, torch.tensor(response)[:, None]).sum())


def test_the_base_model_is_measured_as_it_is(playing: Run) -> None:
    measured, model = evaluate(playing, BASE), tiny_model()
    tokens = [len(item.expert_ids) for item in playing.held_out]
    theirs = [log_prob(model, item.prompt_ids, item.expert_ids) for item in playing.held_out]
    assert expert_log_probs(playing, BASE) == pytest.approx(theirs, abs=1e-4)
    per_token = [value / n for value, n in zip(theirs, tokens, strict=True)]
    assert measured["log_likelihood/token"].mean == pytest.approx(math.fsum(per_token) / 3, abs=1e-4)
    assert measured["kl_to_base"].mean == pytest.approx(0.0, abs=1e-6)
    # A response of one token has no pairs of words.
    assert {estimate.n for name, estimate in measured.items() if not name.startswith("distinct")} == {3}


def test_what_an_objective_does_not_read_of_held_out_prompts_is_not_scored(tiny_folder: Path, tmp_path: Path) -> None:
    """RAFT reads no opponent, and nobody judges held-out prompts; SPIN reads both sides of its game on them."""
    scored = {}
    for name, settings in {"raft": {"judge": {"name": "verifier"}}, "spin": {}}.items():
        config = a_config(
            tiny_folder,
            tmp_path / name,
            data=DATA,
            iterations=1,
            objective={"name": name},
            generation={"samples_per_prompt": 2},
            **settings,
        )
        run(config)
        stage = RunDirectory(config.output).stage(1)
        scored[name] = {by for by in score_shards_of(stage).values() if by != "expert"}
    own = {Drawn(1, "greedy"), Drawn(1, "sampled")}
    assert scored == {"raft": own, "spin": own | {Drawn(0, "sampled")}}


def test_preferences_of_the_data_are_measured_on_held_out_rows(tiny_folder: Path, tmp_path: Path) -> None:
    """Against the models' own logits; and as nothing else can, they choose the best policy."""
    source = tmp_path / "preferences.jsonl"
    rows = [{"prompt": f"{n}?", "chosen": f"yes {n}", "rejected": f"no, {n}"} for n in range(9)]
    source.write_text("".join(json.dumps(row) + "\n" for row in rows), encoding="utf-8")
    config = a_config(
        tiny_folder,
        tmp_path / "run",
        data={"source": str(source), "limit": 6, "held_out": 3, "max_response_tokens": 12},
        iterations=1,
        objective={"name": "dpo"},
        responses="data",
        training={"learning_rate": 1e-2},
        evaluation={"samples_per_prompt": 1},
    )
    directory = RunDirectory(run(config).directory)
    base, trained = (read_json(stage.evaluation) for stage in (directory.base, directory.iteration(0)))
    assert (base["preference/accuracy"]["mean"], base["preference/margin"]["mean"]) == (0.5, 0.0)
    models = [tiny_model(), AutoModelForCausalLM.from_pretrained(directory.iteration(0).model).eval()]
    held_out = prepare(config).held_out
    assert held_out is not None
    margins = []
    for item in held_out.examples:
        before, after = ([log_prob(model, item.prompt_ids, ids) for ids in item.compared_ids] for model in models)
        margins.append((after[0] - before[0]) - (after[1] - before[1]))
    assert trained["preference/margin"]["mean"] == pytest.approx(math.fsum(margins) / 3, abs=1e-3)
    assert trained["preference/accuracy"]["mean"] == pytest.approx(sum(margin > 0 for margin in margins) / 3)
    assert trained["preference/margin"]["mean"] > 0.1
    result = read_json(directory.result)
    assert (result["metric"], result["best"]) == ("preference/accuracy", "iterations/000")
    answers = summarize(directory.path).answers()
    assert answers is not None
    by_prompt = answers.values(1, "data", "preference")
    assert by_prompt == {item.index: [1.0, 0.0] for item in held_out.examples}


def test_data_that_compare_some_held_out_prompts_are_scored_in_the_rows_of_those(
    tiny_folder: Path, tmp_path: Path
) -> None:
    """Shard n is of the n-th batch of prompts whoever wrote; where nobody did, there is none."""
    source = tmp_path / "mixed.jsonl"
    compared = {"responses": ["yes", "no"], "scores": [0.9, 0.2]}
    rows = [{"prompt": f"{n}?", "response": f"yes {n}"} | (compared if n % 2 else {}) for n in range(8)]
    source.write_text("".join(json.dumps(row) + "\n" for row in rows), encoding="utf-8")
    data = {"source": str(source), "held_out": 6, "max_response_tokens": 12}
    mixed = a_run(tiny_folder, tmp_path / "run", data=data, generation={"batch_size": 1})
    some = [n for n, item in enumerate(mixed.held_out) if item.compared_ids]
    assert 0 < len(some) < 6
    assert evaluate(mixed, BASE)["preference/accuracy"].n == len(some)
    shards = [path.name for path, by in score_shards_of(mixed.directory.base).items() if by == "data"]
    assert sorted(shards) == [f"scores-data-{n:05}.parquet" for n in some]
    model = tiny_model()
    for (index, k), value in held_out_scores(mixed, BASE, "data")["data"].items():
        (item,) = (each for each in mixed.held_out if each.index == index)
        assert k is not None
        assert value == pytest.approx(log_prob(model, item.prompt_ids, item.compared_ids[k]), abs=1e-4)


def test_greedy_answers_are_the_models_most_likely_tokens(playing: Run) -> None:
    evaluate(playing, BASE)
    model = tiny_model()
    for item in playing.held_out:
        ids = list(item.prompt_ids)
        for _ in range(DATA["max_response_tokens"]):
            with torch.no_grad():
                ids.append(int(model(input_ids=torch.tensor([ids])).logits[0, -1].argmax()))
            if ids[-1] in playing.stop_ids:
                break
        (answer,) = held_out_samples(playing, Drawn(BASE, "greedy"))[item.index]
        assert answer["response_ids"] == ids[len(item.prompt_ids) :]


@pytest.mark.parametrize("lost", ["greedy", "sampled"])
def test_what_a_kill_left_of_the_answers_does_not_decide_their_bits(playing: Run, lost: How) -> None:
    evaluate(playing, BASE)
    shards = shards_of(playing.directory.base)
    whole = {path: path.read_bytes() for path in shards}
    for path in (path for path, how in shards.items() if how == lost):
        path.unlink()
    held_out_samples(playing, Drawn(BASE, "greedy" if lost == "sampled" else "sampled"))
    assert {path: path.read_bytes() for path in shards} == whole


def test_every_response_is_scored_under_the_policy_that_drew_it(playing: Run) -> None:
    evaluate(playing, BASE)
    model, drawn = tiny_model(), Drawn(BASE, "sampled")
    samples, scores = held_out_samples(playing, drawn), held_out_scores(playing, BASE, drawn)[drawn]
    assert len(scores) == 6
    for (index, sample), value in scores.items():
        row = samples[index][sample]
        assert value == pytest.approx(log_prob(model, row["prompt_ids"], row["response_ids"]), abs=1e-4)


def test_what_a_reader_looks_at_is_kept_with_the_experts_answers(playing: Run) -> None:
    evaluate(playing, BASE)
    rows = read_shard(answers_path(playing.directory.base))
    kinds = [(row["kind"], row["sample"]) for row in rows]
    assert kinds == [("expert", None)] * 3 + [("greedy", 0)] * 3 + [("sampled", 0), ("sampled", 1)] * 3


def test_what_was_measured_is_read_and_not_computed_again(playing: Run) -> None:
    stage = playing.directory.base
    evaluate(playing, BASE)
    kept = read_json(stage.evaluation)
    write_json(stage.evaluation, {"length/greedy": {"mean": 7.0, "standard_error": 0.0, "n": 3}})
    try:
        assert evaluate(playing, BASE)["length/greedy"].mean == 7.0
    finally:
        write_json(stage.evaluation, kept)


def test_without_a_warm_up_policy_0_is_the_base_model_and_shares_its_samples(playing: Run) -> None:
    measured = evaluate(playing, BASE)
    assert evaluate(playing, 0) == measured
    assert set(shards_of(playing.directory.base).values()) == {"greedy", "sampled"}
    assert "expert" in score_shards_of(playing.directory.base).values()


def rows_by_file(stage: Any) -> dict[str, list[dict[str, Any]]]:
    return {path.name: read_shard(path) for path in score_shards_of(stage)}


def test_all_that_a_policy_scores_of_a_prompt_is_one_row(played: Run, monkeypatch: pytest.MonkeyPatch) -> None:
    """Expert, greedy answer, samples, and those of the last opponent; and what a kill left does not decide the bits."""
    stage, base = played.directory.iteration(0), played.directory.base
    before, measured = rows_by_file(stage), read_json(stage.evaluation)
    assert {name.removesuffix("-00000.parquet") for name in before} == {
        *("scores-expert", "scores-policy-1-greedy", "scores-policy-1-sampled", "scores-policy-0-sampled")
    }
    _, *others = sorted(score_shards_of(stage))
    for path in (stage.evaluation, *others, *base.held_out.glob("scores-policy-1-greedy-*")):
        path.unlink()
    asked: list[list[int]] = []
    log_probs = played.policy.log_probs

    def noted(prompts: Any, responses: Any, **options: Any) -> Any:
        asked.append([len(answers) for answers in responses])
        return log_probs(prompts, responses, **options)

    with monkeypatch.context() as patch:
        patch.setattr(played.policy, "log_probs", noted)
        evaluate(played, 1)
    assert asked == [[1 + 1 + 2 + 2] * 3, [1 + 2] * 3]
    assert rows_by_file(stage) == before
    assert read_json(stage.evaluation) == measured
    # Alone, each response has the same log-prob.
    played.activate(1)
    for path, by in score_shards_of(stage).items():
        for row in read_shard(path):
            (item,) = (each for each in played.held_out if each.index == row["index"])
            answer = item.expert_ids
            if by != "expert":
                answer = held_out_samples(played, by)[row["index"]][row["sample"]]["response_ids"]
            ((alone,),) = log_probs([item.prompt_ids], [[answer]])
            assert row["log_prob"] == pytest.approx(float(alone.sum()), abs=1e-5)


def test_a_policy_that_answers_no_held_out_prompt_is_measured_by_what_the_data_bring(
    tiny_folder: Path, tmp_path: Path
) -> None:
    """Nothing is sampled in the whole run, and what is measured is what a run with answers measures too."""
    pairs = tmp_path / "pairs.jsonl"
    rows = [{"prompt": f"{n} + 1?", "chosen": f"{n + 1}", "rejected": f"{n}, I think"} for n in range(8)]
    pairs.write_text("".join(json.dumps(row) + "\n" for row in rows))
    measured = {}
    for answers in (True, False):
        config = a_config(
            tiny_folder,
            tmp_path / f"{answers}",
            data={"source": str(pairs), "held_out": 4, "max_response_tokens": 16},
            objective={"name": "dpo"},
            responses="data",
            evaluation={"answers": answers},
            stop={"metric": "preference/accuracy"},
            iterations=1,
        )
        reported(config)
        measured[answers] = read_json(RunDirectory(config.output).iteration(0).evaluation)
    assert {*measured[False]} == {"preference/accuracy", "preference/margin"}
    for name, estimate in measured[False].items():
        assert estimate["mean"] == pytest.approx(measured[True][name]["mean"], abs=1e-4)
    directory = RunDirectory(tmp_path / "False")
    assert not any(shards_of(stage) for stage in directory.stages())
    assert {row["kind"] for row in read_shard(answers_path(directory.iteration(0)))} == {"data"}
    assert (directory.path / "report.html").exists()


def test_an_imitation_without_answers_is_measured_by_the_experts_likelihood(tiny_folder: Path, tmp_path: Path) -> None:
    config = a_config(tiny_folder, tmp_path / "run", data=DATA, evaluation={"answers": False}, iterations=1)
    reported(config)
    directory = RunDirectory(config.output)
    found = read_json(directory.iteration(0).evaluation)
    assert {*found} == {"length/expert", "log_likelihood/sequence", "log_likelihood/token"}
    assert (directory.path / "report.html").exists()
    assert not shards_of(directory.iteration(0))


@pytest.mark.parametrize("reader", [{"judge": "training"}, {"embedder": "a-model"}, {"explicit_reward": True}])
def test_what_reads_answers_needs_them(tiny_folder: Path, tmp_path: Path, reader: dict[str, Any]) -> None:
    with pytest.raises(InputError, match="reads answers to held-out prompts"):
        a_config(tiny_folder, tmp_path, evaluation={"answers": False} | reader)


@pytest.mark.parametrize("metric", ["accuracy/greedy", "win_rate/base"])
def test_a_metric_of_answers_cannot_end_a_run_without_them(tiny_folder: Path, tmp_path: Path, metric: str) -> None:
    config = a_config(tiny_folder, tmp_path, data=DATA, evaluation={"answers": False}, stop={"metric": metric})
    with pytest.raises(InputError, match="is measured on answers to held-out prompts"):
        prepare(config)
