"""Configurations, settings, chat templates and games for the campaign `fuzz`."""

# fmt: off

from __future__ import annotations

from functools import cache
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import yaml
from hypothesis import strategies as st

from fuzz_pieces import ANY_TEXT, PLACES, VALUES, encoded, put
from ground import ROOT
from tiny import tiny_tokenizer

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


@st.composite
def yaml_files(draw: Any) -> bytes:
    """Recipes with a few lines spoilt."""
    lines = draw(st.sampled_from(RECIPES)).splitlines()
    for _ in range(draw(st.integers(1, 3))):
        at = draw(st.integers(0, len(lines) - 1))
        key = lines[at].partition(":")[0]
        piece = draw(st.sampled_from(YAML_PIECES) | ANY_TEXT)
        lines[at] = draw(st.sampled_from([f"{key}: {piece}", piece, f"{lines[at]} {piece}", f"  {lines[at]}"]))
    return encoded("\n".join(lines))


def check_config(config: Any) -> None:
    """What follows before anything heavy is loaded."""
    from sparring.models.lora import lora_config
    from sparring.selfplay.checks.training import check_training
    from sparring.selfplay.phases import phases_of

    phases_of(config)
    check_training(config)
    if config.lora is not None:
        lora_config(config.lora)
    config.to_yaml()


def read_yaml_config(value: bytes, folder: Path) -> None:
    """As `train` and `plan` do with a file."""
    from sparring import SelfPlayConfig

    path = folder / "config.yaml"
    path.write_bytes(value)
    check_config(SelfPlayConfig.from_yaml(path))


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
        "model": {"name": "m", "quantization": {"bits": 4}},
        "warmup": {"training": {"num_train_epochs": 1}},
        "phases": [
            {"iterations": 1, "objective": {"name": "spif"}},
            {"iterations": 2, "training": {"adam_beta1": 0.9}},
        ],
    }
]


@st.composite
def mappings(draw: Any) -> Any:
    """Settings as a mapping, one of them odd."""
    value = draw(st.sampled_from(BASES))
    for _ in range(draw(st.integers(1, 2))):
        value = put(value, draw(PLACES), draw(VALUES))
    if draw(st.booleans()) and isinstance(value, dict):
        from transformers import TrainingArguments

        name = draw(st.sampled_from(sorted(TrainingArguments.__dataclass_fields__)))
        value = {**value, "training": {name: draw(VALUES)}}
    return value


def read_mapping(value: Any, _: Path) -> None:
    """As `SelfPlayConfig.from_mapping` is called from Python."""
    from sparring import SelfPlayConfig

    check_config(SelfPlayConfig.from_mapping(value))


OVERRIDES = st.lists(
    st.one_of(
        st.builds(
            lambda keys, value: f"{'.'.join(keys)}={value}",
            st.lists(
                st.sampled_from(
                    ["objective", "name", "beta", "phases", "0", "1", "99999999999",
                     "training", "lora", "generation", "data", "source", "judge"]
                )
                | ANY_TEXT,
                max_size=4,
            ),
            st.sampled_from(YAML_PIECES) | ANY_TEXT,
        ),
        ANY_TEXT,
        st.just("a." * 3000 + "b=1"),
    ),
    min_size=1,
    max_size=3,
)


def read_overrides(value: list[str], _: Path) -> None:
    """As `train quickstart KEY=VALUE …` does."""
    from sparring import SelfPlayConfig
    from sparring.recipes import find
    from sparring.selfplay.phases import phases_of

    phases_of(SelfPlayConfig.from_yaml(find("quickstart"), value))


def read_judge_settings(value: tuple[str, list[str]], _: Path) -> None:
    """As `evaluate judge --judge NAME KEY=VALUE …` does."""
    from sparring.cli.judging import judge

    judge(*value).check()


JINJA = [
    *(
        "{{ message['content'] }}", "{{ message.role }}", "{{ x }}", "{{ '\\ud800' }}", "{{ '\\x00' }}",
        "{% endfor %}", "{% if a %}",
    ),
    *(
        "{% for message in messages %}", "{% for i in range(99999) %}", "{% for i in range(10**9) %}",
        "{{ 'a' * 100000000 }}",
    ),
    *(
        "{{ raise_exception('no') }}", "{{ ''.__class__.__mro__ }}", "{{ messages[0]['content'] / 0 }}",
        "{{ 10**5000 }}",
    ),
    *(
        "{% generation %}", "{% endgeneration %}", "{{ strftime_now('%s' * 999) }}", "{% include 'x' %}",
        "{% set a = a ~ a %}",
    ),
    *(
        "{% macro m() %}{{ m() }}{% endmacro %}{{ m() }}", "{{ messages | tojson }}", "{# ", "{{", "{% raw %}",
        "{{ self }}", "{{ loop }}",
    ),
    *(
        "{% break %}", "{{ messages.append(1) }}", "{{ '%s' | format(1, 2) }}", "{{ undefined.a }}", "<|im_end|>",
        "<|im_start|>",
    ),
    *(
        "{{ messages | map('upper') | list }}", "{{ ('a,' * 999999).split(',') | length }}", "\ud800", "\0",
        "{{ [[1] * 99] * 999 }}",
    ),
]
TEMPLATES = st.one_of(
    st.lists(st.sampled_from(JINJA) | ANY_TEXT, max_size=8).map("".join).map(encoded),
    st.lists(st.sampled_from(JINJA), max_size=4).map(
        lambda parts: encoded(
            f"{{% for message in messages %}}{''.join(parts)}{{{{ message['content'] }}}}<|im_end|>{{% endfor %}}"
        )
    ),
)


@cache
def tokenizer() -> Any:
    """A tokenizer of bytes."""
    return tiny_tokenizer()


def read_template(value: bytes, folder: Path) -> None:
    """As a run does with a chat template."""
    from sparring.data import DataConfig, template
    from sparring.data.encoding import encode
    from sparring.examples import Example

    template._SECONDS = 0.5  # noqa: SLF001 - a campaign has not the time of a person
    path = folder / "template.jinja"
    path.write_bytes(value)
    config = DataConfig(source="x.jsonl", chat_template=str(path), max_response_tokens=8)
    chosen = config.template(tokenizer())
    example = Example(index=0, prompt="q", response="a", messages=({"role": "user", "content": "q"},), where="row 1")
    chosen.standalone()
    chosen.unset_variables()
    encode([example], tokenizer(), config, context_length=512)


GAMES = st.tuples(
    st.sampled_from(
        ["spif", "spin", "spif:beta=1", "sppo", "x", "spif:beta=1e999", "a:b", ":", "spif:beta=", "spin:link=[[", "dpo"]
    )
    | ANY_TEXT,
    st.sampled_from(["0.6,0.3,0.1", "1,0,0", "nan,1,1", "1e999,1", "", ",", "0.5,0.5", "-1,2,0", "1" * 5000, "½"])
    | ANY_TEXT,
    st.sampled_from(["previous", "base", "fictitious-play:history=3", "fictitious-play:history=-1", "x"]) | ANY_TEXT,
)


def read_game(value: tuple[str, str, str], _: Path) -> None:
    """As `game imitation` does."""
    from sparring.cli import game, output

    output.out = SimpleNamespace(print=lambda *_: None)  # type: ignore[assignment]
    objective, expert, opponent = value
    game.imitation([objective], expert=expert, opponent=opponent, iterations=2, json=True)
