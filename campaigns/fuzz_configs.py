"""Configurations and settings for the campaign `fuzz`."""

# fmt: off

from __future__ import annotations

import dataclasses
import tempfile
from functools import cache
from pathlib import Path
from typing import Any

import yaml
from hypothesis import strategies as st

from fuzz_pieces import ANY_TEXT, VALUES, as_json, damaged, encoded, few_odd, like, mostly, spoilt
from ground import ROOT, save_tiny

YAML_PIECES = [
    *(
        "!!int ''", "!!float ''", "!!timestamp x", "!!binary 5", "!!set {a}", "!!bool maybe", "!!null x",
        "!!python/name:os.system",
    ),
    *(
        "!!omap [a]", "!!pairs [a]", "? [a]\n: b", "&a [*a]", "[" * 3000, "{a: " * 500, "9" * 5000, "'\\0'",
        '"\\ud800"', '"\\0"',
    ),
    *(
        "<<: [{a: 1}]", "2024-01-01", "1e4", "0x_", "0b", "190:20:30", "- a", "\t", "\x85", "---", "...", "%YAML 9.9",
        "*x", "!x y",
    ),
    *(
        "null", "[null]", "{}", "[]", "true", "-1", ".nan", ".inf", "x", "''", "a: b: c", "|\n x", ">", "@", "`",
        "!!str",
    ),
    "a: &a [x, x]\nb: &b [*a, *a, *a, *a, *a, *a, *a, *a, *a]\nc: &c [*b, *b, *b, *b, *b, *b, *b, *b, *b]\n"
    "d: &d [*c, *c, *c, *c, *c, *c, *c, *c, *c]\ne: &e [*d, *d, *d, *d, *d, *d, *d, *d, *d]\n"
    "f: [*e, *e, *e, *e, *e, *e]",
    "a: &a {x: 1, y: 2}\nb: &b {<<: [*a, *a, *a, *a, *a, *a]}\nc: &c {<<: [*b, *b, *b, *b, *b, *b, *b]}\n"
    "d: &d {<<: [*c, *c, *c, *c, *c, *c, *c]}\ne: {<<: [*d, *d, *d, *d, *d, *d, *d, *d, *d, *d]}",
]
RECIPES = [path.read_text(encoding="utf-8") for path in sorted((ROOT / "src/sparring/recipes").glob("*.yaml"))]
RECIPES = [text for text in RECIPES if "\ndata:" in text]


@st.composite
def yaml_files(draw: Any) -> bytes:
    """Recipes of which mostly one line is spoilt."""
    lines = [line for line in draw(st.sampled_from(RECIPES)).splitlines() if not line.startswith("#")]
    for at in draw(st.lists(st.integers(0, len(lines) - 1), min_size=1, max_size=2, unique=True)):
        key, mark, value = lines[at].partition(": ")
        other = st.sampled_from(lines)
        usual = [
            *("", f"{lines[at]} # {value}", f"{key}:   {value}", f'{key}: "{value}"', f"{lines[at]}\n", draw(other)),
            *([f"{key}: {as_json(draw(like(yaml.safe_load(value))))}"] * 4 if mark else []),
        ]
        piece = draw(st.sampled_from(YAML_PIECES) | ANY_TEXT)
        odd = [f"{key}: {piece}", piece, f"{lines[at]} {piece}", f"  {lines[at]}", f"{lines[at]}\n{lines[at]}"]
        lines[at] = draw(mostly(st.sampled_from(usual), st.sampled_from(odd)))
    content: bytes = draw(damaged(encoded("\n".join(lines))))
    return content


def check_config(config: Any, folder: Path) -> None:
    """What follows before anything heavy is loaded; what is accepted is read again as it is kept in a run."""
    from sparring import SelfPlayConfig
    from sparring.errors import SparringError
    from sparring.selfplay.checks.addresses import check_addresses
    from sparring.selfplay.checks.training import check_training
    from sparring.selfplay.components import held_out_judge
    from sparring.selfplay.phases import phases_of

    check_addresses(config)
    phases = phases_of(config)
    check_training(config)
    held_out_judge(config.evaluation.judge, [phase.judge for phase in phases])
    path = folder / "kept.yaml"
    path.write_text(config.to_yaml(), encoding="utf-8")
    try:
        again = SelfPlayConfig.of_run(path)
    except SparringError as error:
        raise AssertionError("what was accepted cannot be read again") from error
    assert again.to_yaml() == config.to_yaml()


def read_yaml_config(value: bytes, folder: Path) -> None:
    """As `train` and `plan` do with a file."""
    from sparring import SelfPlayConfig

    path = folder / "config.yaml"
    path.write_bytes(value)
    check_config(SelfPlayConfig.from_yaml(path), folder)


BASES = [yaml.safe_load(text) for text in RECIPES]
BASES += [
    {
        "data": {
            "source": "x.jsonl",
            "columns": {"prompt": "q"},
            "roles": {"a": "user"},
            "template_options": {"a": [1]},
        },
        "objective": {"name": "dpo"},
        "judge": {"name": "llm", "model": "m", "base_url": "http://127.0.0.1:1/v1", "api_key_env": None},
        "generation": {"name": "server", "endpoints": ["http://127.0.0.1:1"], "samples_per_prompt": 2},
        "regularizers": [{"name": "reverse-kl", "weight": 0.1}],
        "lora": {"r": 4, "lora_alpha": 8, "target_modules": ["q_proj"], "lora_dropout": 0.1, "rank_pattern": {"a": 3}},
        "training": {
            "fsdp": "full_shard",
            "optim_args": "a=b",
            "lr_scheduler_kwargs": {},
            "max_grad_norm": 1.0,
            "bf16": False,
        },
        "workers": {},
        "stop": {"enabled": True, "alarms": []},
        "evaluation": {"judge": "none", "samples_per_prompt": 1},
        "model": {"name": "m", "quantization": None},
        "warmup": {"training": {"num_train_epochs": 1}},
        "phases": [
            {"iterations": 1, "objective": {"name": "spif"}, "judge": None},
            {"iterations": 2, "training": {"adam_beta1": 0.9}},
        ],
    }
]


@st.composite
def mappings(draw: Any) -> Any:
    """Settings as a mapping, of which mostly one is odd."""
    value = draw(st.sampled_from(BASES))
    for _ in range(draw(st.sampled_from([1, 1, 2]))):
        value = draw(spoilt(value))
    if draw(st.integers(1, 4)) == 4 and isinstance(value, dict):
        from transformers import TrainingArguments

        field = draw(st.sampled_from(dataclasses.fields(TrainingArguments)))
        value = {**value, "training": {field.name: draw(mostly(like(field.default), VALUES))}}
    return value


def read_mapping(value: Any, folder: Path) -> None:
    """As `SelfPlayConfig.from_mapping` is called from Python."""
    from sparring import SelfPlayConfig

    check_config(SelfPlayConfig.from_mapping(value), folder)


@st.composite
def settings_of(draw: Any, known: dict[str, Any]) -> list[str]:
    """One KEY=VALUE or a few, whose keys are known, with a value of the kind that each has there; mostly one is odd."""
    written = []
    for _ in range(draw(st.sampled_from([1, 1, 2, 3]))):
        key = draw(st.sampled_from(sorted(known)))
        odd_key = st.sampled_from([key[:-1], key.upper(), f"{key}.name", f"training.{key}", "a." * 3000]) | ANY_TEXT
        value = mostly(st.just(known[key]), like(known[key])).map(as_setting)
        odd_value = like(known[key]).map(as_setting) | st.sampled_from(YAML_PIECES) | ANY_TEXT
        both = st.tuples(st.just(key), value), few_odd((st.just(key), odd_key), (value, odd_value))
        written.append("=".join(draw(mostly(*both))))
    return draw(mostly(st.just(written), st.just([*written, draw(ANY_TEXT)]))) if len(written) == 3 else written


def as_setting(value: Any) -> str:
    """A value as it is written after a key: text as it is, anything else as JSON, which is YAML too."""
    return value if isinstance(value, str) else as_json(value)


def flat(value: Any, path: tuple[str, ...] = ()) -> dict[str, Any]:
    """The settings of a configuration, each by its dotted key."""
    if not isinstance(value, dict | list) or not value:
        return {".".join(path): value}
    items = value.items() if isinstance(value, dict) else enumerate(value)
    return {key: leaf for name, inner in items for key, leaf in flat(inner, (*path, str(name))).items()}


@cache
def known_settings(recipe: str) -> dict[str, Any]:
    """All settings of a recipe."""
    from sparring import SelfPlayConfig
    from sparring.recipes import find

    return flat(SelfPlayConfig.from_yaml(find(recipe)).model_dump(mode="json"))


OVERRIDES = st.sampled_from(["quickstart", "rspo", "spin-then-sppo", "distill", "lora"]).flatmap(
    lambda recipe: st.tuples(st.just(recipe), settings_of(known_settings(recipe)))
)


def read_overrides(value: tuple[str, list[str]], folder: Path) -> None:
    """As `train RECIPE KEY=VALUE …` does."""
    from sparring import SelfPlayConfig
    from sparring.recipes import find

    recipe, overrides = value
    check_config(SelfPlayConfig.from_yaml(find(recipe), overrides), folder)


def options(component: type) -> tuple[dict[str, Any], list[str]]:
    """The options of a component that have a default, with it, and those that have none."""
    fields = dataclasses.fields(component)
    known = {each.name: None if callable(each.default_factory) else each.default for each in fields}
    needed = [name for name, default in known.items() if default is dataclasses.MISSING]
    return {name: default for name, default in known.items() if name not in needed}, needed


@cache
def a_model() -> str:
    """The folder of a model, which the campaign leaves behind for the system to remove."""
    return str(save_tiny(Path(tempfile.mkdtemp())))


@st.composite
def judge_settings(draw: Any) -> tuple[str, list[str]]:
    """A judge and its settings: what it needs, and one or a few more."""
    from sparring.judges import JUDGES

    odd = st.sampled_from(["x", "\ud800", "llm ", "VERIFIER", "a:b", "os:path"])
    name = draw(mostly(st.sampled_from(sorted(JUDGES)), odd))
    known, needed = options(JUDGES[name] if name in JUDGES else JUDGES["llm"])
    return name, [*(f"{key}={a_model()}" for key in needed), *draw(settings_of(known or {"rule": "exact"}))]


def read_judge_settings(value: tuple[str, list[str]], _: Path) -> None:
    """As `evaluate judge --judge NAME KEY=VALUE …` does."""
    from sparring.cli.judging import judge

    judge(*value).check()
