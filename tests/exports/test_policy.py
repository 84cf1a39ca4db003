"""What leaves a run: a model with its card, and a table of all that was said in it."""

from __future__ import annotations

import dataclasses
import itertools
import json
import shutil
from pathlib import Path
from typing import Any

import pytest
import torch
import yaml
from datasets import load_dataset
from huggingface_hub import ModelCard
from peft import get_peft_model_state_dict
from pyarrow import parquet
from transformers import AutoModelForCausalLM

from exports.hub_server import TOKEN, HubServer
from imported import loaded_by
from sparring import SelfPlayConfig, run
from sparring.cli.models import export_command, export_samples_command
from sparring.data import load
from sparring.data.verifiers import FinalNumber
from sparring.errors import InputError, RunError
from sparring.exports.policy import components, load_policy
from sparring.files import read_json, write_json
from sparring.judges import JUDGES
from sparring.models.loading import resolve
from sparring.objectives import OBJECTIVES
from sparring.opponents import OPPONENTS
from sparring.policies import Drawn
from sparring.regularizers import REGULARIZERS
from sparring.run_directory import RunDirectory
from sparring.shard_files import read_shard
from sparring.shards import held_out_scores


def chat(number: int) -> list[dict[str, str]]:
    """A system turn, a question, and the expert's answer."""
    said = ("Add.", f"{number} + 1", f"{number} + 1 = {number + 1}")
    return [{"role": role, "content": text} for role, text in zip(("system", "user", "assistant"), said, strict=True)]


@pytest.fixture(scope="module")
def config(tiny_folder: Path, tmp_path_factory: pytest.TempPathFactory) -> SelfPlayConfig:
    source = tmp_path_factory.mktemp("sums") / "sums.jsonl"
    source.write_text("".join(json.dumps({"messages": chat(number)}) + "\n" for number in range(5)), encoding="utf-8")
    settings = {
        "output": str(tmp_path_factory.mktemp("played") / "run"),
        "iterations": 2,
        "model": {"name": str(tiny_folder)},
        "data": {
            "source": str(source),
            "limit": 3,
            "held_out": 2,
            "max_response_tokens": 32,
            "verifier": "final-number",
        },
        "objective": {"name": "sppo"},
        "judge": {"name": "verifier", "rule": "final-number", "expert_plays": True},
        "generation": {"samples_per_prompt": 2, "batch_size": 4},
        "training": {"learning_rate": 1e-3},
        "lora": {"r": 2},
        "stop": {"enabled": False},
    }
    return SelfPlayConfig.model_validate(settings)


@pytest.fixture(scope="module")
def played(config: SelfPlayConfig) -> RunDirectory:
    return RunDirectory(run(config).directory)


@pytest.fixture(scope="module")
def said(played: RunDirectory, tmp_path_factory: pytest.TempPathFactory) -> list[dict[str, Any]]:
    file, cache = tmp_path_factory.mktemp("export") / "samples.parquet", tmp_path_factory.mktemp("cache")
    export_samples_command(played.path, file, as_json=True)
    return load_dataset("parquet", data_files=str(file), split="train", cache_dir=str(cache)).to_list()


def test_the_exported_model_carries_its_card(
    played: RunDirectory, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    export_command(played.path, tmp_path / "mine", "iterations/001", trust_remote_code=False, as_json=True)
    merged = json.loads(capsys.readouterr().out)["merged"]
    assert (merged["quantization"], merged["dtype"]) == (None, "float32")
    assert 0.0 < merged["moved"] <= merged["largest"] < 1e-3
    assert AutoModelForCausalLM.from_pretrained(tmp_path / "mine").num_parameters() > 0
    card = ModelCard.load(tmp_path / "mine" / "README.md")
    assert card.data.license == "unknown"
    assert "**iteration 1**" in card.text
    assert "judge:\n  name: verifier\n" in card.text
    assert "The adapter was merged into the base's weights and written in float32: over" in card.text
    with pytest.raises(InputError, match="there already"):
        export_command(played.path, tmp_path / "mine", "base", trust_remote_code=False, as_json=True)


@pytest.mark.parametrize(("asked", "written"), [(None, "float32"), ("bfloat16", "bfloat16")])
def test_an_adapter_on_weights_in_16_bits_is_written_as_it_was_measured(
    config: SelfPlayConfig, tmp_path: Path, capsys: pytest.CaptureFixture[str], asked: str | None, written: str
) -> None:
    """In 16 bits most of an adapter would be rounded away: it is small beside the weights."""
    changed = {
        "output": tmp_path / "run",
        "iterations": 1,
        "model": config.model.model_copy(update={"dtype": "bfloat16"}),
    }
    result = run(config.model_copy(update=changed))
    policy = "iterations/000"
    export_command(result.directory, tmp_path / "mine", policy, dtype=asked, trust_remote_code=False, as_json=True)
    merged = json.loads(capsys.readouterr().out)["merged"]
    assert (merged["rounded"], merged["dtype"]) == ("bfloat16", written)
    text = (tmp_path / "mine" / "README.md").read_text(encoding="utf-8")
    assert f"into the base's weights as the run held them, rounded to bfloat16, and written in {written}: over" in text
    assert (merged["moved"] < 1e-5) == (written == "float32")
    whole = AutoModelForCausalLM.from_pretrained(tmp_path / "mine", dtype="auto")
    assert whole.dtype == getattr(torch, written)
    _, played = load_policy(result.directory, policy)
    base, adapter = played.causal_lm.state_dict(), get_peft_model_state_dict(played.model)
    name = "model.layers.0.self_attn.q_proj"
    down, up = (adapter[f"base_model.model.{name}.lora_{side}.weight"].double() for side in "AB")
    scale = played.model.base_model.model.get_submodule(name).scaling["default"]
    exact = base[f"{name}.base_layer.weight"].double() + scale * up @ down
    off = (whole.state_dict()[f"{name}.weight"].double() - exact).abs().max()
    assert off <= exact.abs().max() * (2.0**-23 if written == "float32" else 2.0**-7)
    # Rounded once, after the sum, and the adapter not before it.
    rounded = exact.to(whole.dtype) == whole.state_dict()[f"{name}.weight"]
    assert rounded.float().mean() > (0.999 if written == "bfloat16" else 0.5)


@pytest.mark.parametrize(
    ("inside", "policy"),
    [
        ("", ""),
        ("base", "base"),
        ("iterations/000", "iterations/000"),
        ("iterations/000/model", "iterations/000"),
    ],
)
def test_a_run_in_the_place_of_a_model_is_told_how_it_becomes_one(
    played: RunDirectory, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, inside: str, policy: str
) -> None:
    name = str(played.path / inside)
    command = f"sparring export {played.path} FOLDER{f' --policy {policy}' if policy else ''}"
    with pytest.raises(InputError, match=f"run of sparring, and no whole model\n.*with `{command}`"):
        resolve(name)
    judge = JUDGES["reward-model"](model=name)
    with pytest.raises(InputError, match=f"^judge.model: .*run of sparring.*\n.*with `{command}`"):
        judge.check()
    monkeypatch.chdir(played.path.parent)
    with pytest.raises(InputError, match="with `sparring export run FOLDER"):
        resolve(str(Path("run", inside)))
    whole = tmp_path / "FOLDER"
    export_command(played.path, whole, policy or "best", trust_remote_code=False, as_json=True)
    assert resolve(str(whole)) == str(whole)


def test_what_a_person_put_into_a_run_is_no_part_of_it(played: RunDirectory, tmp_path: Path) -> None:
    for folder in (played.path / "mine", tmp_path / "iterations/000/model"):
        shutil.copytree(played.iteration(1).model, folder)
        with pytest.raises(InputError, match=r"this is an adapter.*\n.*merge_and_unload"):
            resolve(str(folder))
        shutil.rmtree(folder)


@pytest.mark.filterwarnings("ignore:Use 'content=<...>' to upload raw bytes:DeprecationWarning")
def test_export_pushes_what_it_wrote(
    hub: HubServer, tmp_path: Path, played: RunDirectory, capsys: pytest.CaptureFixture[str]
) -> None:
    with pytest.raises(InputError, match="--private: nothing is uploaded"):
        export_command(played.path, tmp_path / "out", "base", private=True, trust_remote_code=False, as_json=True)
    hub.cuts.append("whoami")
    with pytest.raises(RunError, match="nothing was written yet"):
        export_command(played.path, tmp_path / "out", "base", push_to="ada/mine", trust_remote_code=False, as_json=True)
    assert not (tmp_path / "out").exists()
    hub.cuts.clear()
    export_command(played.path, tmp_path / "out", "base", push_to="ada/mine", trust_remote_code=False, as_json=True)
    told = capsys.readouterr()
    assert json.loads(told.out)["commit"] == f"{hub.url}/ada/mine/commit/1234"
    assert "files to the public repository" in told.err
    assert TOKEN not in told.out + told.err
    sent = hub.repositories["ada/mine"]
    assert sent == {path.name: path.read_bytes() for path in (tmp_path / "out").iterdir()}
    assert b'from_pretrained("ada/mine")' in sent["README.md"]


def test_samples_are_written_as_what_their_name_says(played: RunDirectory, tmp_path: Path) -> None:
    with pytest.raises(InputError, match=r"written as Parquet.*\n.*name it .*said\.parquet"):
        export_samples_command(played.path, tmp_path / "said.csv", as_json=True)


def test_samples_are_written_without_a_heavy_library(played: RunDirectory, tmp_path: Path) -> None:
    loaded = loaded_by(f"""
from pathlib import Path
from sparring.exports.samples import export_samples
print(export_samples(Path({str(played.path)!r}), Path({str(tmp_path / "said.parquet")!r})))
""")
    assert loaded == [str(parquet.read_metadata(tmp_path / "said.parquet").num_rows)]


@pytest.mark.parametrize("name", ["iterations/01", "latest"])
def test_a_policy_that_is_not_there(played: RunDirectory, tmp_path: Path, name: str) -> None:
    with pytest.raises(InputError, match=f"the run has no policy '{name}'"):
        export_command(played.path, tmp_path / "mine", name, trust_remote_code=False, as_json=True)


def test_every_response_is_there_once(said: list[dict[str, Any]]) -> None:
    counts: dict[tuple[object, ...], int] = {}
    for row in said:
        key = (row["split"], row["player"], row["decoding"], row["iteration"])
        counts[key] = counts.get(key, 0) + 1
    assert counts == {
        ("train", "base", "sampled", 0): 6,
        ("train", "iterations/000", "sampled", 1): 6,
        ("train", "expert", None, None): 3,
        **{
            ("held-out", player, decoding, None): 2
            for player in ("base", "iterations/000", "iterations/001")
            for decoding in ("greedy", "sampled")
        },
        ("held-out", "expert", None, None): 2,
    }


def test_texts_and_verdicts(said: list[dict[str, Any]], config: SelfPlayConfig) -> None:
    data, right = load(config.data, config.seed), FinalNumber()
    examples = {"train": data.train, "held-out": data.held_out}
    for row in said:
        (example,) = (each for each in examples[row["split"]] if each.index == row["index"])
        assert (row["prompt"], row["expert"]) == (example.prompt, example.response)
        assert row["messages"] == chat(int(row["prompt"][0]))[:2]
        assert row["right"] == right(row["response"], row["expert"])
        assert row["player"] != "expert" or row["response"] == example.response
    # A wrong draw beside a wrong draw ties, a right one beats it.
    judged = [row["preference"] for row in said if row["iteration"] is not None]
    assert None not in judged
    assert {row["preference"] for row in said if row["iteration"] is None} == {None}


def test_log_probs_are_those_on_the_disk(said: list[dict[str, Any]], played: RunDirectory) -> None:
    names = {-1: "base", 0: "base", 1: "iterations/000", 2: "iterations/001"}

    def known(split: str, player: str, index: int, sample: int | None, scorer: int) -> float | None:
        (row,) = (
            row
            for row in said
            if (row["split"], row["player"], row["index"], row["sample"]) == (split, player, index, sample)
            and row["decoding"] != "greedy"
        )
        return row[f"log_prob/{names[scorer]}"]

    checked = 0
    for iteration, player in enumerate(("base", "iterations/000")):
        for shard in played.iteration(iteration).scores.glob("*.parquet"):
            for row in read_shard(shard):
                who, sample = ("expert" if row["sample"] is None else player), row["sample"]
                assert known("train", who, row["index"], sample, row["policy"]) == row["log_prob"]
                checked += 1
    # Of both iterations: three experts and six samples, under the policy that drew them.
    assert checked == 18
    for shard, by in held_out_scores(played.iteration(1)).items():
        if by != Drawn(2, "sampled"):
            continue
        for row in read_shard(shard):
            assert known("held-out", "iterations/001", row["index"], row["sample"], 2) == row["log_prob"]
            assert known("held-out", "iterations/001", row["index"], row["sample"], -1) is not None
            checked += 1
    assert checked == 20


def test_what_must_not_be_there_or_must_not_have_changed(played: RunDirectory, tmp_path: Path) -> None:
    (tmp_path / "old.parquet").touch()
    with pytest.raises(InputError, match="the file exists already"):
        export_samples_command(played.path, tmp_path / "old.parquet", as_json=True)
    manifest = read_json(played.manifest)
    try:
        write_json(played.manifest, manifest | {"fingerprints": {"data": "other"}})
        with pytest.raises(InputError, match="the data changed"):
            export_samples_command(played.path, tmp_path / "new.parquet", as_json=True)
    finally:
        write_json(played.manifest, manifest)
    assert not (tmp_path / "new.parquet").exists()
    with pytest.raises(InputError, match="not a run directory"):
        export_samples_command(tmp_path, tmp_path / "new.parquet", as_json=True)


@pytest.mark.parametrize(("objective", "opponent"), [*zip(OBJECTIVES, itertools.cycle(OPPONENTS), strict=False)])
def test_a_card_tells_every_component_with_its_defaults(objective: str, opponent: str) -> None:
    settings = {
        "data": {"source": "arithmetic", "limit": 1},
        "objective": {"name": objective},
        "opponent": {"name": opponent},
        "regularizers": [{"name": name, "weight": 0.5} for name in REGULARIZERS],
        "generation": {"name": "server", "endpoints": ["http://secret:8000"]},
        "judge": {"name": "llm", "model": "large", "base_url": "http://secret:9000"},
    }
    config = SelfPlayConfig.model_validate(settings)
    told = components(config, "iterations/000")
    two = SelfPlayConfig.model_validate(settings | {"phases": [{}, {"objective": {"name": "spin"}}]})
    phased = components(two, "iterations/003")
    assert phased["phases"][0] == {name: value for name, value in told.items() if name in phased["phases"][0]}
    assert phased["phases"][1]["objective"]["name"] == "spin"
    assert "objective" not in phased
    text = yaml.safe_dump(told)
    assert told["objective"] == {"name": objective, **dataclasses.asdict(OBJECTIVES[objective]())}
    assert told["opponent"] == {"name": opponent, **dataclasses.asdict(OPPONENTS[opponent]())}
    assert [item["name"] for item in told["regularizers"]] == list(REGULARIZERS)
    assert "secret" not in text


def test_a_card_tells_of_the_judge_the_teacher_and_the_limits_but_no_paths() -> None:
    private = {"fsdp_config": "secret/fsdp.json", "accelerator_config": "secret/a.json", "hub_model_id": "secret/mine"}
    settings = {
        "data": {
            "source": "arithmetic",
            "limit": 1,
            "max_response_tokens": 12,
            "chat_template": "/secret/thinking.jinja",
            "template_options": {"enable_thinking": False},
            "teacher": {"model": "/secret/large"},
        },
        "model": {"dtype": "bfloat16"},
        "objective": {"name": "sppo"},
        "judge": {"name": "reward-model", "model": "/secret/judge", "temperature": 2.0, "expert_plays": True},
        "training": {"max_steps": 3, **private},
        "warmup": {"training": {"max_steps": 2, **private}},
    }
    told = components(SelfPlayConfig.model_validate(settings), "iterations/000")
    assert told["model"] == {"dtype": "bfloat16"}
    assert told["data"] == {
        "max_response_tokens": 12,
        "template_options": {"enable_thinking": False},
        "teacher": {"temperature": 1.0, "model": "large"},
    }
    judge = dataclasses.asdict(JUDGES["reward-model"](model="judge", temperature=2.0))
    assert told["judge"] == {"name": "reward-model", **judge, "expert_plays": True, "include_self": False}
    assert (told["training"], told["warmup"]) == ({"max_steps": 3}, {"until": "end", "training": {"max_steps": 2}})
    assert "secret" not in yaml.safe_dump(told)


def test_a_card_tells_when_the_warm_up_ended() -> None:
    warmup = {"until": "plateau", "patience": 4, "every": 0.5, "training": {"learning_rate": 2e-4}}
    settings = {"data": {"source": "arithmetic", "limit": 1}, "warmup": warmup}

    def told() -> Any:
        return components(SelfPlayConfig.model_validate(settings), "iterations/000")["warmup"]

    assert told() == warmup
    settings["warmup"] = warmup | {"validation": 7}
    assert told() == warmup | {"validation": 7}
    settings["warmup"] = {}
    assert told() == {"until": "end", "training": {}}


@pytest.mark.parametrize("best", ["base", "iterations/000"])
def test_the_policy_that_is_written_is_told_in_words(
    played: RunDirectory, tmp_path: Path, capsys: pytest.CaptureFixture[str], best: str
) -> None:
    copy = tmp_path / "run"
    shutil.copytree(played.path, copy)
    write_json(copy / "result.json", read_json(copy / "result.json") | {"best": best})
    export_command(copy, tmp_path / "mine", "best", trust_remote_code=False, as_json=False)
    first, *lines = capsys.readouterr().out.splitlines()
    card = (tmp_path / "mine" / "README.md").read_text(encoding="utf-8")
    if best == "base":
        better = "no policy that was trained after it was better; --policy iterations/001 writes the last iteration"
        assert first == f"model: {tmp_path / 'mine'}, the base model: {better}"
        assert "No adapter was merged: the model is the base's weights, written in float32" in card
        assert "The adapter was merged" not in card + "".join(lines)
    else:
        assert first == f"model: {tmp_path / 'mine'}, the run's iterations/000"
        assert "The adapter was merged into the base's weights" in "".join(lines)
    export_command(copy, tmp_path / "named", "base", trust_remote_code=False, as_json=False)
    assert capsys.readouterr().out.splitlines()[0] == f"model: {tmp_path / 'named'}, the base model"
