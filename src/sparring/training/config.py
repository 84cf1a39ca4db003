"""The configuration of a self-play run: typed, checked before anything expensive, every default stated once."""

from __future__ import annotations

import re
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any, Literal, Self

import yaml
from pydantic import BaseModel, ConfigDict, Field, ValidationError, field_validator

from sparring.data import DataConfig
from sparring.errors import InputError, did_you_mean
from sparring.generation import GenerationConfig
from sparring.models import ModelConfig
from sparring.training.workers import WorkersConfig


class Component(BaseModel):
    """The name of a registered component; every other key is one of its own settings."""

    model_config = ConfigDict(extra="allow", frozen=True)

    name: str

    @property
    def options(self) -> dict[str, Any]:
        """The settings besides the name."""
        return dict(self.model_extra or {})


class JudgeConfig(Component):
    """A name in `JUDGES` and its settings, and what is made of its comparisons.

    Attributes:
        expert_plays: Compare the expert's response too; it is then trained on as one more sample.
        include_self: Count a response against itself, as ½, among the draws of π_o, as SPPO's published code does.
    """

    expert_plays: bool = False
    include_self: bool = False


class WarmupConfig(BaseModel):
    """Supervised fine-tuning before the first iteration.

    Self-play starts from a model that can already produce the expert's format: with reward bound R the log ratio
    moves R/β nats an iteration, no more.

    Attributes:
        training: Fields of `TrainingArguments` that differ from the run's own `training`.
    """

    model_config = ConfigDict(extra="forbid", frozen=True)

    training: dict[str, Any] = Field(default_factory=dict)


class EvaluationConfig(BaseModel):
    """What is measured on the held-out set after every stage.

    Attributes:
        samples_per_prompt: Sampled responses a held-out prompt, beside one greedy response.
    """

    model_config = ConfigDict(extra="forbid", frozen=True)

    samples_per_prompt: int = Field(default=1, ge=1)


class StopConfig(BaseModel):
    """When to end a run before it collapses.

    Attributes:
        enabled: Whether to watch at all.
        metric: The held-out value to watch; higher is better. "auto" is greedy accuracy where the data have a
            verifier, else the expert's log-likelihood a token.
        max_drop: How far below the best policy so far an iterate may fall: a difference of accuracy (0.1 is ten
            points) or of nats a token. A fall within two standard errors of the difference is taken for noise.
    """

    model_config = ConfigDict(extra="forbid", frozen=True)

    enabled: bool = True
    metric: Literal["auto", "accuracy/greedy", "accuracy/sampled", "log_likelihood/token"] = "auto"
    max_drop: float = Field(default=0.1, ge=0.0, allow_inf_nan=False)


class SelfPlayConfig(BaseModel):
    """A whole self-play run.

    Attributes:
        output: The run directory.
        seed: Every use of chance derives its own seed from this one.
        iterations: T, how many times generate → judge → score → train → evaluate is played.
        model: What plays.
        data: The expert demonstrations.
        objective: A name in `OBJECTIVES` and its settings.
        regularizers: Names in `REGULARIZERS` and their settings, weights among them; added to the objective.
        opponent: A name in `OPPONENTS` and its settings.
        generation: How responses are sampled.
        judge: Who says which response is better; needed by the objectives that learn from preferences.
        lora: Fields of peft's `LoraConfig`; None trains all weights.
        warmup: Supervised fine-tuning first; None starts from the model as it is.
        training: Fields of transformers' `TrainingArguments`, for every iteration.
        evaluation: What is measured after every stage.
        stop: When to end before a collapse.
        workers: Who samples and scores.
        reuse: Keep what is sampled from the model that the run starts from, and its scores, in the user's cache, and
            take what an earlier run kept there; it changes nothing in the result.
    """

    model_config = ConfigDict(extra="forbid", frozen=True)

    output: Path = Path("runs/selfplay")
    seed: int = Field(default=0, ge=0)
    iterations: int = Field(default=2, ge=1)
    model: ModelConfig = Field(default_factory=ModelConfig)
    data: DataConfig
    objective: Component = Field(default_factory=lambda: Component(name="spif"))
    regularizers: tuple[Component, ...] = ()
    opponent: Component = Field(default_factory=lambda: Component(name="previous"))
    generation: GenerationConfig = Field(default_factory=GenerationConfig)
    judge: JudgeConfig | None = None
    lora: dict[str, Any] | None = None
    warmup: WarmupConfig | None = None
    training: dict[str, Any] = Field(default_factory=dict)
    evaluation: EvaluationConfig = Field(default_factory=EvaluationConfig)
    stop: StopConfig = Field(default_factory=StopConfig)
    workers: WorkersConfig = Field(default_factory=WorkersConfig)
    reuse: bool = True

    @field_validator("lora")
    @classmethod
    def _base_is_the_initial_adapter(cls, lora: dict[str, Any] | None) -> dict[str, Any] | None:
        if lora is not None and not _changes_nothing(lora.get("init_lora_weights", True)):
            raise ValueError(
                "init_lora_weights must be true or 'gaussian': the base model is scored as the initial adapter, "
                "which must therefore change nothing"
            )
        return lora

    @classmethod
    def from_yaml(cls, path: str | Path, overrides: Sequence[str] = ()) -> Self:
        """Reads a YAML file and applies `key.path=value` overrides, whose values are YAML too.

        Raises:
            InputError: The file is missing or no YAML mapping, a key is unknown, or a value is wrong.
        """
        path = Path(path)
        return cls.from_mapping(apply_overrides(_read_yaml(path), overrides), where=str(path))

    @classmethod
    def from_mapping(cls, values: Mapping[str, Any], *, where: str = "configuration") -> Self:
        """Validates a mapping.

        Raises:
            InputError: Every problem that was found, each with its key and what to write instead.
        """
        try:
            return cls.model_validate(values)
        except ValidationError as error:
            problems = [_explain(cls, dict(item)) for item in error.errors()]
            raise InputError("\n  ".join(problems), where=where) from error

    def to_yaml(self) -> str:
        """The resolved configuration, every default written out."""
        text: str = yaml.dump(self.model_dump(mode="json"), Dumper=_Dumper, sort_keys=False, allow_unicode=True)
        return text


def apply_overrides(values: dict[str, Any], overrides: Sequence[str]) -> dict[str, Any]:
    """Sets `a.b.c=value` in nested mappings, creating what is missing; `value` is read as YAML."""
    for override in overrides:
        key, separator, text = override.partition("=")
        if not separator or not key:
            raise InputError(f"'{override}' is not an override", fix="write key.path=value")
        *parents, last = key.split(".")
        target = values
        for parent in parents:
            if not isinstance(target.get(parent), dict):
                target[parent] = {}
            target = target[parent]
        target[last] = _parse(text, where=override)
    return values


def _changes_nothing(init_lora_weights: Any) -> bool:
    return init_lora_weights is True or init_lora_weights == "gaussian"


class _Loader(yaml.SafeLoader):
    """YAML as people write it: 1e-4 is a number although it has no dot. Quoted, it stays text."""


class _Dumper(yaml.SafeDumper):
    """Quotes what `_Loader` would take for a number."""


for _yaml in (_Loader, _Dumper):
    _yaml.add_implicit_resolver(
        "tag:yaml.org,2002:float", re.compile(r"[-+]?(\d+(\.\d*)?|\.\d+)[eE][-+]?\d+$"), list("-+.0123456789")
    )


def _parse(text: str, where: str) -> Any:
    try:
        value = yaml.load(text, _Loader)  # noqa: S506 - a SafeLoader
    except (yaml.YAMLError, ValueError) as error:
        raise InputError(f"not a YAML value: {text}", where=where, fix="quote it") from error
    return value


def _read_yaml(path: Path) -> dict[str, Any]:
    try:
        values = yaml.load(path.read_text(encoding="utf-8"), _Loader)  # noqa: S506 - a SafeLoader
    except FileNotFoundError as error:
        raise InputError(
            "no such configuration", where=str(path), fix="see `sparring recipes` for ready ones"
        ) from error
    except (yaml.YAMLError, ValueError, OSError) as error:
        raise InputError(f"cannot be read as YAML: {error}", where=str(path)) from error
    if not isinstance(values, dict):
        raise InputError("a configuration is a mapping of keys to values", where=str(path))
    return values


def _explain(model: type[BaseModel], error: dict[str, Any]) -> str:
    """One validation error as 'key: problem; fix'."""
    path = [str(part) for part in error["loc"]]
    key = ".".join(path)
    if error["type"] == "extra_forbidden":
        return f"{key}: unknown key; {did_you_mean(path[-1], _keys_at(model, path[:-1]))}"
    if error["type"] == "missing":
        return f"{key}: missing; {key} is required"
    message = error["msg"].removeprefix("Value error, ")
    return f"{key}: {message}" + (f", got {error['input']!r}" if error["type"] != "value_error" else "")


def _keys_at(model: type[BaseModel], path: list[str]) -> list[str]:
    for part in path:
        annotation = model.model_fields[part].annotation
        candidates = [annotation, *getattr(annotation, "__args__", ())]
        model = next(item for item in candidates if isinstance(item, type) and issubclass(item, BaseModel))
    return list(model.model_fields)
