"""A run that is distilled: what its scorer says is that of the model itself, stored once, and read in training."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from transformers import AutoModelForCausalLM

from a_run import a_config
from sparring.errors import InputError, RunError
from sparring.planning.plan import plan
from sparring.planning.tokens import tokens_by_part
from sparring.policies import BASE, TEACHER
from sparring.run_directory import RunDirectory
from sparring.selfplay.config.schema import SelfPlayConfig
from sparring.selfplay.config.scorer import ScorerConfig
from sparring.selfplay.loop import run
from sparring.selfplay.phases import phases_of
from sparring.selfplay.prepared import prepare
from sparring.selfplay.set_up import reopen, set_up
from sparring.selfplay.stages.next_tokens import with_next_tokens
from sparring.selfplay.stages.score import score
from sparring.shard_files import write_shard
from sparring.shards import next_tokens_path, read_next_tokens, read_samples, samples_of, scores_of
from sparring.stage_directory import StageDirectory
from tiny import save_tiny, tiny_tokenizer

DATA = {"source": "arithmetic", "limit": 3, "held_out": 0, "max_response_tokens": 5}
DISTILLED: dict[str, Any] = {
    "data": DATA,
    "objective": {"name": "distill"},
    "generation": {"samples_per_prompt": 2, "batch_size": 4},
    "training": {"learning_rate": 1e-3, "max_steps": 1},
    "stop": {"enabled": False},
    "iterations": 2,
}
WORDS = "{demonstration} is said of {prompt}"
SCORERS: dict[str, dict[str, Any]] = {
    "previous": {"scorer": {"candidates": 7, "template": WORDS}},
    "base": {"scorer": {"candidates": 7, "policy": "base"}, "lora": {"r": 2}},
    "teacher": {"scorer": {"candidates": 7, "policy": "teacher"}},
}


@pytest.mark.parametrize("name", SCORERS)
def test_what_is_stored_is_what_the_scorer_expects_after_the_prompt_that_it_is_shown(
    tiny_folder: Path, tmp_path: Path, name: str
) -> None:
    settings, scorer, temperature = DISTILLED | SCORERS[name], tiny_folder, 1.0
    if name == "teacher":
        scorer, temperature = save_tiny(tmp_path / "teacher", seed=7), 0.7
        teacher = {"model": str(scorer), "system": "Hm.", "temperature": temperature}
        settings |= {"data": DATA | {"teacher": teacher}}
    config = a_config(tiny_folder, tmp_path / "run", **settings)
    run(config)
    stage = RunDirectory(tmp_path / "run").iteration(1)
    if name == "previous":
        scorer = RunDirectory(tmp_path / "run").iteration(0).model
    model = AutoModelForCausalLM.from_pretrained(scorer).eval()
    examples = {example.index: example for example in prepare(config).train.examples}
    (shard, *others) = samples_of(stage)
    assert scores_of(stage, shard) == []
    samples = read_samples([shard, *others])
    policy = {"previous": 1, "base": BASE, "teacher": TEACHER}[name]
    rows = [row for path in (shard, *others) for row in read_next_tokens(next_tokens_path(stage, path, policy))]
    assert [(row["index"], row["sample"]) for row in rows] == [(i, k) for i in samples for k in (0, 1)]
    for row in rows:
        example, answer = examples[row["index"]], samples[row["index"]][row["sample"]]["response_ids"]
        turns = [{"role": "user", "content": example.prompt}]
        if name == "teacher":
            turns = [{"role": "system", "content": "Hm."}, *turns]
        elif name == "previous":
            turns[0]["content"] = f"{example.response} is said of {example.prompt}"
        else:
            said = f"This is an example for a response to the question:\n{example.response}"
            turns[0]["content"] = f"{example.prompt}\n\n{said}\n\nNow answer with a response of your own."
        prompt = tiny_tokenizer().apply_chat_template(turns, add_generation_prompt=True, return_dict=False)
        with torch.no_grad():
            logits = model(input_ids=torch.tensor([[*prompt, *answer]])).logits[0, len(prompt) - 1 : -1] / temperature
        exact = logits.double().log_softmax(-1).topk(7, dim=-1)
        assert row["ids"].reshape(-1, 7).tolist() == exact.indices.tolist()
        found = torch.from_numpy(row["log_probs"].reshape(-1, 8)).double()
        assert torch.allclose(found[:, :-1], exact.values, atol=1e-4)
        assert torch.allclose(found.exp().sum(-1), torch.ones(len(answer), dtype=torch.float64), atol=1e-5)
    events = RunDirectory(tmp_path / "run").events()
    others_mass = [event["scorer/others"] for event in events if "scorer/others" in event]
    mean = np.concatenate([row["log_probs"].reshape(-1, 8)[:, -1] for row in rows])
    assert others_mass[1] == pytest.approx(float(np.exp(mean).mean()), rel=1e-5)
    steps = [event for event in events if "divergence/token" in event]
    assert len(steps) == 2
    assert all(event["divergence/token"] > 0 for event in steps)


def test_stored_next_tokens_are_read_and_never_computed_again(tiny_folder: Path, tmp_path: Path) -> None:
    run(a_config(tiny_folder, tmp_path / "run", **DISTILLED))
    again = set_up(*reopen(tmp_path / "run", trust_remote_code=False))
    stage = again.directory.iteration(0)
    shards = list(samples_of(stage))

    def times() -> dict[Path, int]:
        return {path: path.stat().st_mtime_ns for path in stage.scores.iterdir()}

    def triples() -> Any:
        return with_next_tokens(again, 0, shards, score(again, 0, shards))

    before, first = times(), triples()
    assert times() == before
    assert [len(triple.likely_tokens) for triple in first] == [2, 2, 2]
    # Another's shard: of other responses, of fewer tokens, or of tokens that the model does not have.
    path = next_tokens_path(stage, shards[0], 0)
    rows = read_next_tokens(path)
    for changes in (
        {"digest": "0" * 16},
        {"ids": rows[0]["ids"][:-1]},
        {"ids": rows[0]["ids"] + 259},
        {"log_probs": rows[0]["log_probs"] + np.float32("nan")},
    ):
        write_shard(path, [{**rows[0], **changes}, *rows[1:]])
        assert [each.likely_tokens[0].ids.tolist() for each in triples()] == [
            each.likely_tokens[0].ids.tolist() for each in first
        ]
        assert read_next_tokens(path)[0]["digest"] == rows[0]["digest"]


def test_a_scorer_whose_logits_overflow_ends_in_words(
    tiny_folder: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    from sparring.selfplay.policy import Policy

    likely = Policy.likely_tokens

    def broken(*args: Any, **kwargs: Any) -> Any:
        found = likely(*args, **kwargs)
        found[0][1].log_probs[0, 0] = float("nan")
        return found

    monkeypatch.setattr(Policy, "likely_tokens", broken)
    with pytest.raises(RunError, match=r"the scorer's log-probs of response 1 to the prompt of row .* are not finite"):
        run(a_config(tiny_folder, tmp_path / "run", **DISTILLED))


WRONG: dict[str, tuple[dict[str, Any], str, str]] = {
    "no objective reads it": ({"scorer": {}, "objective": {"name": "spif"}}, "scorer", "'spif' reads no scorer's"),
    "no teacher": ({"scorer": {"policy": "teacher"}}, "scorer.policy", "the run has no teacher"),
    "words without a demonstration": ({"scorer": {"template": "{prompt}!"}}, "", r"must have \{demonstration\} in it"),
    "words without a prompt": ({"scorer": {"template": "{demonstration}"}}, "", r"must have \{prompt\} in it"),
    "words for the teacher": (
        {"scorer": {"policy": "teacher", "template": WORDS}},
        "",
        "the teacher is asked as data.teacher says",
    ),
    "no candidates": ({"scorer": {"candidates": 0}}, "", "scorer.candidates"),
    "the data's responses": ({"responses": "data"}, "responses", "learns from draws of the opponent"),
}


@pytest.mark.parametrize("case", WRONG)
def test_a_scorer_that_makes_no_sense_is_refused(case: str) -> None:
    settings, where, problem = WRONG[case]
    with pytest.raises(InputError, match=problem) as caught:
        phases_of(SelfPlayConfig.from_mapping(DISTILLED | settings))
    assert caught.value.where == where or not where


def test_what_the_model_cannot_read_or_tell_apart_is_refused_before_it_is_loaded(
    tiny_folder: Path, tmp_path: Path
) -> None:
    long = {"template": "{prompt}" + "{demonstration} " * 40}
    with pytest.raises(InputError, match=r"3 of 3 prompts with their demonstration are over the 507 tokens") as caught:
        prepare(a_config(tiny_folder, tmp_path, **DISTILLED | {"scorer": long}))
    assert caught.value.where == "scorer"
    with pytest.raises(InputError, match="the model has 259 tokens, and at least one must be among all others"):
        prepare(a_config(tiny_folder, tmp_path, **DISTILLED | {"scorer": {"candidates": 259}}))
    prepare(a_config(tiny_folder, tmp_path, **DISTILLED | {"scorer": {"candidates": 258}}))
    # A teacher's demonstrations are not written yet: each may be as long as the limit.
    data = DATA | {"max_response_tokens": 100, "teacher": {"temperature": 1.5}}
    with pytest.raises(InputError, match=r"prompts with their demonstration are over the 412 tokens"):
        prepare(a_config(tiny_folder, tmp_path, **DISTILLED | {"data": data, "scorer": {"template": WORDS * 3}}))


def test_prompts_without_an_expert_are_not_distilled(tiny_folder: Path, tmp_path: Path) -> None:
    rows = [{"prompt": f"Say {n}.", "response": f"{n}" if n % 2 else None} for n in range(6)]
    file = tmp_path / "rows.jsonl"
    file.write_text("".join(json.dumps(row) + "\n" for row in rows))
    data = {"source": str(file), "held_out": 0, "max_response_tokens": 5}
    phases = {"phases": [{"objective": {"name": "distill"}}, {"objective": {"name": "sft"}}]}
    settings = {name: value for name, value in DISTILLED.items() if name != "objective"}
    with pytest.raises(InputError, match="needs an expert response, and there is none"):
        prepare(a_config(tiny_folder, tmp_path / "run", **settings | {"data": data} | phases))
    other = {"objective": {"name": "dpo"}, "judge": {"name": "consensus"}}
    prepared = prepare(
        a_config(tiny_folder, tmp_path / "run", **settings | {"data": data, "phases": [phases["phases"][0], other]})
    )
    assert [len(prepared.prompts(phase, 0)) for phase in prepared.phases] == [3, 6]


def test_a_plan_counts_what_the_scorer_reads_and_what_is_stored(tiny_folder: Path, tmp_path: Path) -> None:
    config = a_config(tiny_folder, tmp_path / "run", **DISTILLED | {"scorer": {"candidates": 16}})
    prepared = prepare(config)
    (phase,) = prepared.phases
    asked = prepared.scorer_prompts(phase, prepared.train.examples)
    read = sum(len(asked[item.index]) + 2 * len(item.expert_ids) for item in prepared.train.examples)
    assert all(len(asked[item.index]) > len(item.prompt_ids) for item in prepared.train.examples)
    assert tokens_by_part(prepared, 1)["play"].score == 2 * read
    foretold = plan(config, calibrated=False).disk.end.samples
    run(config)
    stored = sum(path.stat().st_size for path in (tmp_path / "run").glob("iterations/*/s*/*.parquet"))
    # Small files are mostly footers.
    assert foretold < stored < 3 * foretold
    teacher = {"data": DATA | {"teacher": {"system": "Hm."}}}
    plan(a_config(tiny_folder, tmp_path / "other", **DISTILLED | teacher), calibrated=False)


def test_the_numbers_of_scorers() -> None:
    numbers = {name: ScorerConfig(policy=name).number(3) for name in SCORERS}
    assert numbers == {"previous": 3, "base": BASE, "teacher": TEACHER}
    stage = StageDirectory(Path("x"))
    names = [next_tokens_path(stage, Path("policy-3-sampled-00001.parquet"), each).name for each in numbers.values()]
    assert names == [f"policy-3-sampled-00001-next-tokens-{who}.parquet" for who in ("policy-3", "base", "teacher")]
