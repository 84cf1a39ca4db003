"""The configuration: what is read, what is refused, and what is said then."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest
import yaml

from sparring.errors import InputError
from sparring.metrics.stability.config import Limits
from sparring.selfplay.config.schema import SelfPlayConfig
from sparring.selfplay.config.yaml import apply_overrides

DATA = {"source": "arithmetic", "limit": 8}


def from_mapping(**sections: Any) -> SelfPlayConfig:
    return SelfPlayConfig.from_mapping({"data": DATA} | sections)


@pytest.fixture
def path(tmp_path: Path) -> Path:
    path = tmp_path / "config.yaml"
    path.write_text(yaml.safe_dump({"data": DATA}), encoding="utf-8")
    return path


@pytest.mark.parametrize(
    ("sections", "message"),
    [
        ({"iteration": 3}, "iteration: unknown key; did you mean 'iterations'?"),
        ({"data": DATA | {"limt": 8}}, "data.limt: unknown key; did you mean 'limit'?"),
        ({"model": {"nme": "x"}}, "model.nme: unknown key; did you mean 'name'?"),
        ({"generation": {"temprature": 1}}, "generation.temprature: unknown key; did you mean 'temperature'?"),
        ({"generation": {"name": "vllm", "dtpe": 1}}, "generation.dtpe: unknown key; did you mean 'dtype'?"),
        ({"generation": {"name": "vlm"}}, "generation.name: unknown name 'vlm'; did you mean 'vllm'?"),
        ({"generation": {"name": "server"}}, "generation.endpoints: missing; generation.endpoints is required"),
        ({"generation": [1]}, "generation: must be a mapping of keys to values, got [1]"),
        (
            {"generation": {"kv_cache_gib": 2}},
            "generation.kv_cache_gib: unknown key; "
            "known: batch_size, name, samples_per_prompt, temperature, top_k, top_p",
        ),
        (
            {"phases": [{"generation": {"name": "vllm", "dtpe": 1}}]},
            "phases.0.generation.dtpe: unknown key; did you mean 'dtype'?",
        ),
        ({"warmup": {"trainin": {}}}, "warmup.trainin: unknown key; did you mean 'training'?"),
        (
            {"evaluation": {"samples_per_promt": 2}},
            "evaluation.samples_per_promt: unknown key; did you mean 'samples_per_prompt'?",
        ),
        ({"stop": {"max_dop": 1}}, "stop.max_dop: unknown key; did you mean 'max_drop'?"),
        ({"stop": {"zzz": 1}}, "stop.zzz: unknown key; known: alarms, enabled, max_drop, metric"),
        ({"objective": {"beta": 1}}, "objective.name: missing; objective.name is required"),
        ({"iterations": -1}, "iterations: Input should be greater than or equal to 0, got -1; write 0 or more"),
        ({"seed": -1}, "seed: Input should be greater than or equal to 0, got -1; write 0 or more"),
        ({"training": [1]}, "training: must be a mapping of keys to values, got [1]"),
        ({"stop": {"max_drop": float("nan")}}, "stop.max_drop: Input should be a finite number, got nan"),
    ],
)
def test_what_is_wrong_is_named_with_its_key(sections: dict[str, Any], message: str) -> None:
    with pytest.raises(InputError) as caught:
        from_mapping(**sections)
    assert caught.value.problem == message
    assert caught.value.where == "configuration"


def test_every_problem_is_told_at_once() -> None:
    with pytest.raises(InputError) as caught:
        SelfPlayConfig.from_mapping({"data": {}, "sed": 1, "generation": {"top_p": 2}}, where="my.yaml")
    lines = caught.value.problem.splitlines()
    assert len(lines) == 3
    assert {line.split(":")[0].strip() for line in lines} == {"data", "sed", "generation.top_p"}
    assert str(caught.value).startswith("my.yaml: ")


@pytest.mark.parametrize(
    ("content", "message"),
    [
        ("- a\n", "a configuration is a mapping of keys to values"),
        ("", "a configuration is a mapping of keys to values"),
        ("a: [\n", "cannot be read as YAML: "),
        (b"\xff\xfe\x00", "is not valid UTF-8 at byte 1"),
        ("iterations: 2\n", "data: missing; data is required"),
        ("seed: 1\niterations: 2\nseed: 3\n", "cannot be read as YAML: the key 'seed' is there twice; remove one of"),
        ("data:\n  limit: 1\n  'limit': 2\n", "cannot be read as YAML: the key 'limit' is there twice; remove one of"),
    ],
)
def test_a_file_that_is_no_configuration(tmp_path: Path, content: str | bytes, message: str) -> None:
    path = tmp_path / "config.yaml"
    path.write_bytes(content if isinstance(content, bytes) else content.encode())
    with pytest.raises(InputError) as caught:
        SelfPlayConfig.from_yaml(path)
    assert caught.value.problem.startswith(message)
    assert caught.value.where == str(path)


def test_a_file_that_is_not_there(tmp_path: Path) -> None:
    with pytest.raises(InputError, match="no such configuration") as caught:
        SelfPlayConfig.from_yaml(tmp_path / "none.yaml")
    assert caught.value.fix == "see `sparring recipes` for ready ones"


def test_overrides_reach_every_depth_and_are_yaml(path: Path) -> None:
    config = SelfPlayConfig.from_yaml(
        path,
        [
            "seed=7",
            "data.source=a.jsonl",
            "data.columns.prompt=question",
            "objective={name: spin, beta: 0.5}",
            "objective.link=hinge",
            "lora.r=8",
            "lora.target_modules=[q_proj, v_proj]",
            "warmup={}",
            "training.learning_rate=1e-4",
            "training.run_name=a=b",
            "model.revision=null",
            "stop.enabled=false",
        ],
    )
    assert config.seed == 7
    assert config.data.columns == {"prompt": "question"}
    assert config.objective.options == {"beta": 0.5, "link": "hinge"}
    assert config.lora == {"r": 8, "target_modules": ["q_proj", "v_proj"]}
    assert config.warmup is not None
    assert config.training == {"learning_rate": 1e-4, "run_name": "a=b"}
    assert config.model.revision is None
    assert config.stop.enabled is False


def test_a_later_override_wins() -> None:
    assert apply_overrides({"a": {"b": 1, "c": 2}}, ["a.b=3", "a.b=4", "d=5"]) == {"a": {"b": 4, "c": 2}, "d": 5}


@pytest.mark.parametrize("override", ["seed", "=1", ""])
def test_what_is_no_override(path: Path, override: str) -> None:
    with pytest.raises(InputError) as caught:
        SelfPlayConfig.from_yaml(path, [override])
    assert caught.value.problem == f"'{override}' is not an override"
    assert caught.value.fix == "write key.path=value"


def test_an_override_that_is_no_yaml(path: Path) -> None:
    with pytest.raises(InputError, match="not a YAML value") as caught:
        SelfPlayConfig.from_yaml(path, ["data.columns={"])
    assert caught.value.where == "data.columns={"


@pytest.mark.parametrize(
    ("text", "number"),
    [("1e-4", 1e-4), ("1E5", 1e5), ("-2e3", -2000.0), (".5e1", 5.0), ("1.5e-3", 1.5e-3), ("3", 3), ("0.5", 0.5)],
)
def test_numbers_are_numbers_in_files_and_overrides(tmp_path: Path, text: str, number: float) -> None:
    path = tmp_path / "config.yaml"
    training = f"training: {{learning_rate: {text}, list: [{text}, {{deep: {text}}}]}}\n"
    path.write_text("data: {source: arithmetic, limit: 8}\n" + training, encoding="utf-8")
    read = SelfPlayConfig.from_yaml(path).training
    assert read == {"learning_rate": number, "list": [number, {"deep": number}]}
    assert type(read["learning_rate"]) is type(number)
    assert SelfPlayConfig.from_yaml(path, [f"training.learning_rate={text}"]).training["learning_rate"] == number


@pytest.mark.parametrize("text", ["steps", "e4", "1e", "epoch", "-e", "1.5.e3"])
def test_words_stay_words(path: Path, text: str) -> None:
    assert SelfPlayConfig.from_yaml(path, [f"training.word={text}"]).training["word"] == text


def test_the_written_configuration_is_the_same_one(tmp_path: Path) -> None:
    config = from_mapping(
        seed=3, lora={"r": 4}, warmup={"training": {"learning_rate": 1e-5}}, objective={"name": "spin", "beta": 0.3}
    )
    path = tmp_path / "config.yaml"
    path.write_text(config.to_yaml(), encoding="utf-8")
    assert SelfPlayConfig.from_yaml(path) == config
    written = yaml.safe_load(config.to_yaml())
    assert written["generation"]["temperature"] == 1.0
    assert written["stop"] == {"enabled": True, "metric": "auto", "max_drop": 0.1, "alarms": []}


@pytest.mark.parametrize("value", [False, "pissa", "olora", "eva"])
def test_an_initial_adapter_that_changes_the_base_is_refused(value: Any) -> None:
    with pytest.raises(InputError, match="init_lora_weights must be true or 'gaussian'"):
        from_mapping(lora={"init_lora_weights": value})


@pytest.mark.parametrize("value", [True, "gaussian"])
def test_an_initial_adapter_that_changes_nothing_is_taken(value: Any) -> None:
    assert from_mapping(lora={"init_lora_weights": value}).lora == {"init_lora_weights": value}


def test_a_set_of_modules_is_kept_in_order() -> None:
    names = {f"{name}_proj" for name in "qkvo"}
    assert from_mapping(lora={"target_modules": names}).lora == {"target_modules": sorted(names)}


def test_a_configuration_cannot_be_changed() -> None:
    with pytest.raises(ValueError, match="frozen"):
        from_mapping().seed = 1  # type: ignore[misc]


@pytest.mark.parametrize("text", ["5e3d0aa1", "2e5-demos.jsonl"])
def test_what_only_begins_like_a_number_is_text(tmp_path: Path, text: str) -> None:
    path = tmp_path / "config.yaml"
    path.write_text(f"data: {{source: {text}}}\n", encoding="utf-8")
    assert SelfPlayConfig.from_yaml(path).data.source == text


def test_text_that_looks_like_a_number_survives_being_written(tmp_path: Path) -> None:
    config = SelfPlayConfig.from_mapping({"data": {"source": "1e5"}, "training": {"run_name": "7e2"}})
    path = tmp_path / "config.yaml"
    path.write_text(config.to_yaml(), encoding="utf-8")
    assert SelfPlayConfig.from_yaml(path) == config
    assert SelfPlayConfig.from_yaml(path).training == {"run_name": "7e2"}


def test_a_key_that_a_mapping_merges_may_be_set_again(tmp_path: Path) -> None:
    path = tmp_path / "config.yaml"
    path.write_text(
        "data: {source: x.jsonl}\ntraining: &own {num_train_epochs: 1, learning_rate: 1e-4}\n"
        "phases:\n- {training: {<<: *own, num_train_epochs: 2}}\n- {training: {<<: *own, num_train_epochs: 3}}\n"
    )
    phases = SelfPlayConfig.from_yaml(path).phases
    assert [phase.training for phase in phases] == [
        {"num_train_epochs": epochs, "learning_rate": 1e-4} for epochs in (2, 3)
    ]


def test_an_override_with_a_key_twice_is_refused(path: Path) -> None:
    with pytest.raises(InputError, match="not a YAML value"):
        SelfPlayConfig.from_yaml(path, ["objective={name: spif, name: spin}"])


def test_of_two_limits_one_may_be_set_alone(path: Path) -> None:
    stability = SelfPlayConfig.from_yaml(path, ["stability.entropy.warn=0.25", "stability.length={alarm: 9}"]).stability
    assert (stability.entropy, stability.length) == (Limits(warn=0.25, alarm=0.8), Limits(warn=1.5, alarm=9.0))
    with pytest.raises(InputError, match=r"stability.entropy: alarm \(0.8\) must not be below warn \(0.9\)"):
        SelfPlayConfig.from_yaml(path, ["stability.entropy.warn=0.9"])
