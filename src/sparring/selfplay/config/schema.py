"""The configuration of a self-play run: typed, checked before anything expensive, every default stated once."""

from __future__ import annotations

from collections.abc import Mapping, Sequence, Set
from dataclasses import is_dataclass
from pathlib import Path
from typing import Any, Literal, Self

import yaml
from pydantic import BaseModel, ConfigDict, Field, ValidationError, ValidationInfo, field_validator, model_validator

from sparring.data import DataConfig
from sparring.errors import InputError
from sparring.generation import AnyGenerationConfig, GenerationConfig, generation_config
from sparring.inputs import check_settings
from sparring.metrics.stability import StabilityConfig
from sparring.models import ModelConfig
from sparring.own_code import importable_from, is_own
from sparring.selfplay.config.explain import as_settings, explain, origin
from sparring.selfplay.config.keep import KeepConfig
from sparring.selfplay.config.scorer import ScorerConfig
from sparring.selfplay.config.stop import StopConfig
from sparring.selfplay.config.warmup import WarmupConfig
from sparring.selfplay.config.yaml import Dumper, apply_overrides, read_yaml
from sparring.work.config import WorkersConfig


class Component(BaseModel):
    """The name of a component; every other key is one of its settings.

    Attributes:
        name: A registered name, or `package.module:Class` for a component of the user's own.
    """

    model_config = ConfigDict(extra="allow", frozen=True)

    name: str

    @model_validator(mode="before")
    @classmethod
    def _no_object(cls, given: Any) -> Any:
        if is_dataclass(given) and not isinstance(given, type):
            raise ValueError(f"is an object, and a configuration names it; write {as_settings(given)}")
        return given

    @property
    def options(self) -> dict[str, Any]:
        """The settings besides the name."""
        return dict(self.model_extra or {})


class JudgeConfig(Component):
    """A name in `JUDGES` and its settings, and the use of its comparisons.

    Attributes:
        expert_plays: Whether the expert's response is compared too; it is then trained on as one more sample.
        include_self: Whether P(y ≻ π_o) also averages over y itself, as ½; SPPO's published code does.
    """

    expert_plays: bool = False
    include_self: bool = False


class EvaluationConfig(BaseModel):
    """The section `evaluation`: the measurements of every policy on the held-out set.

    Attributes:
        answers: Whether every policy answers the held-out prompts. Without answers nothing is sampled there, and only
            the likelihood of the experts' responses is measured and, where the data have preferences, their accuracy
            and margin.
        samples_per_prompt: The number of responses that are sampled to each held-out prompt, besides the greedy one.
        judge: The judge that compares every policy's sampled responses with those of the base model and of the previous
            policy: a name in `JUDGES` and its settings; "training", the first judge of a phase; or "none". By default,
            the judge of training unless it may cost money.
        embedder: A local folder or Hugging Face id of a model whose mean hidden states are sentence embeddings, for the
            distances of samples in meaning; None for no such distances. It stays in memory beside the policy.
        explicit_reward: Whether a reward player learns in every iteration the reward explicitly that an imitation
            objective learns implicitly, so that the two can be compared (`rewards/agreement`). It changes no training.
    """

    model_config = ConfigDict(extra="forbid", frozen=True)

    answers: bool = True
    samples_per_prompt: int = Field(default=1, ge=1)
    judge: Component | Literal["training", "none"] | None = None
    embedder: str | None = None
    explicit_reward: bool = False

    @field_validator("judge", "embedder", "explicit_reward")
    @classmethod
    def _reads_answers(cls, value: Any, info: ValidationInfo) -> Any:
        if value and value != "none" and info.data.get("answers") is False:
            raise ValueError("it reads answers to held-out prompts, and evaluation.answers is false")
        return value


class PhaseConfig(BaseModel):
    """The settings of a phase, which are the same for consecutive iterations.

    Attributes:
        iterations: T, the number of iterations, each generate → score → judge → train → evaluate.
        objective: A name in `OBJECTIVES`, or a class of the user's own as `package.module:Class`, and its settings; the
            same holds for every component below.
        regularizers: Names in `REGULARIZERS` and their settings, weights among them; added to the objective.
        opponent: A name in `OPPONENTS` and its settings.
        generation: The generator and the settings of sampling.
        responses: The source of the responses: the "opponent" generates them in every iteration, or the "data" bring
            them with preferences.
        judge: The judge that compares responses; needed by the objectives that learn from preferences.
        scorer: The scorer of single tokens, for the objectives that read it; None takes the defaults.
        training: Fields of transformers' `TrainingArguments`, for every iteration.
    """

    model_config = ConfigDict(extra="forbid", frozen=True)

    iterations: int = Field(default=2, ge=1)
    objective: Component = Field(default_factory=lambda: Component(name="spif"))
    regularizers: tuple[Component, ...] = ()
    opponent: Component = Field(default_factory=lambda: Component(name="previous"))
    generation: AnyGenerationConfig = Field(default_factory=generation_config)
    responses: Literal["opponent", "data"] = "opponent"
    judge: JudgeConfig | None = None
    scorer: ScorerConfig | None = None
    training: dict[str, Any] = Field(default_factory=dict)


class SelfPlayConfig(PhaseConfig):
    """A whole self-play run: one phase, with the fields of `PhaseConfig`, or several that share what they leave out.

    Attributes:
        iterations: As in `PhaseConfig`; 0 ends a run after its warm-up.
        recipe: "auto" looks at the data and chooses the settings that are not given (`sparring.selfplay.auto`); the
            run's own configuration has these written out, and no recipe.
        output: The run directory.
        seed: The seed from which every use of random numbers derives its own.
        model: The base model.
        data: The prompts, with experts' responses, compared responses, both or neither.
        lora: Fields of peft's `LoraConfig`; None trains all weights.
        warmup: Supervised fine-tuning first; None starts from the model as it is.
        control: Whether to train a control: more supervised fine-tuning from where play starts, for as much computation
            as the play took, to compare the play with.
        evaluation: The measurements of every policy, on responses that the run's own `generation` samples.
        stop: The conditions that end the run before it collapses.
        stability: The limits of the stability monitor.
        keep: The parts of earlier iterations that are kept; it changes nothing in the result.
        workers: The workers that sample and score.
        reuse: Whether samples and log-probs of the model that the run starts from are shared with other runs through
            the user's cache; it changes nothing in the result.
        phases: The phases, in order; iterations are numbered through all of them. A field that a phase leaves out is
            the run's own; `generation` and `training` are completed key by key. Without phases, the run's own fields
            are the only phase.
    """

    # A run may end after its warm-up, a phase has something to play.
    iterations: int = Field(default=2, ge=0)
    recipe: Literal["auto"] | None = None
    output: Path = Path("runs/selfplay")
    seed: int = Field(default=0, ge=0)
    model: ModelConfig = Field(default_factory=ModelConfig)
    data: DataConfig
    lora: dict[str, Any] | None = None
    warmup: WarmupConfig | None = Field(default=None, validate_default=True)
    control: bool = False
    evaluation: EvaluationConfig = Field(default_factory=EvaluationConfig)
    stop: StopConfig = Field(default_factory=StopConfig)
    stability: StabilityConfig = Field(default_factory=StabilityConfig)
    keep: KeepConfig = Field(default_factory=KeepConfig)
    workers: WorkersConfig = Field(default_factory=WorkersConfig)
    reuse: bool = True
    # The last field, because it is completed by those that were read before.
    phases: tuple[PhaseConfig, ...] = ()

    @property
    def schedule(self) -> tuple[PhaseConfig, ...]:
        """The phases in order; without any, the run's own fields as the only one."""
        return self.phases or (self,)

    @property
    def total_iterations(self) -> int:
        """The number of iterations of all phases."""
        return sum(phase.iterations for phase in self.schedule)

    @property
    def controls(self) -> int:
        """The number of policies of the control: as many as the play has, but at least two."""
        return max(self.total_iterations, 2) if self.control and self.total_iterations else 0

    @property
    def measured(self) -> int:
        """The number of policies that are measured: the trained ones and the base model."""
        return 1 + (self.warmup is not None) + self.total_iterations + self.controls

    @property
    def own_code(self) -> tuple[str, ...]:
        """The import paths of the user's own components, each once."""
        named = [self.evaluation.judge.name] if isinstance(self.evaluation.judge, Component) else []
        for phase in self.schedule:
            named += [each.name for each in (phase.objective, *phase.regularizers, phase.opponent)]
            named += [phase.generation.name, *([] if phase.judge is None else [phase.judge.name])]
        return tuple(dict.fromkeys(filter(is_own, named)))

    @property
    def own_rules(self) -> tuple[str, ...]:
        """The import paths of the user's own rules that judges apply."""
        judges = [self.evaluation.judge, *(phase.judge for phase in self.schedule)]
        rules = [each.options.get("rule") for each in judges if isinstance(each, Component)]
        return tuple(dict.fromkeys(rule for rule in rules if isinstance(rule, str) and is_own(rule)))

    @field_validator("phases", mode="before")
    @classmethod
    def _fill_up(cls, phases: Any, info: ValidationInfo) -> Any:
        own = {name: info.data[name] for name in PhaseConfig.model_fields if name in info.data}
        many = isinstance(phases, Sequence) and not isinstance(phases, str)
        return [_filled(phase, own) for phase in phases] if many else phases

    @field_validator("warmup")
    @classmethod
    def _trains(cls, warmup: WarmupConfig | None, info: ValidationInfo) -> WarmupConfig | None:
        if warmup is None and info.data.get("iterations") == 0 and info.data.get("recipe") is None:
            raise ValueError("without iterations and without a warm-up nothing is trained; set one of the two")
        return warmup

    @field_validator("lora")
    @classmethod
    def _base_is_the_initial_adapter(cls, lora: dict[str, Any] | None) -> dict[str, Any] | None:
        if lora is not None and not _changes_nothing(lora.get("init_lora_weights", True)):
            raise ValueError(
                "init_lora_weights must be true or 'gaussian': the base model is scored as the initial adapter, "
                "which must therefore change nothing"
            )
        return lora

    @field_validator("lora")
    @classmethod
    def _sets_in_order(cls, lora: dict[str, Any] | None) -> dict[str, Any] | None:
        # The order of a set, and with it the run's fingerprint, would differ between processes.
        return lora and {name: sorted(each, key=str) if isinstance(each, Set) else each for name, each in lora.items()}

    @classmethod
    def from_yaml(cls, path: str | Path, overrides: Sequence[str] = ()) -> Self:
        """Reads a YAML file and applies `key.path=value` overrides, whose values are YAML too.

        Its folder is appended to Python's import path, so that the user's own components and rules may lie beside it;
        if it names some, the working directory is appended too.

        Raises:
            InputError: The file is missing or no YAML mapping, a key is unknown, or a value is wrong.
        """
        path = Path(path)
        values = apply_overrides(read_yaml(path), overrides)
        config = cls._checked(values, where=str(path), overrides=overrides)
        importable_from(path.parent)
        if config.own_code or config.own_rules:
            importable_from(Path.cwd())
        return config

    @classmethod
    def of_run(cls, path: Path) -> Self:
        """Reads the configuration in a run directory, which may be another person's: nothing is imported from there.

        Raises:
            InputError: As `from_yaml`.
        """
        return cls.from_mapping(read_yaml(path), where=str(path))

    @classmethod
    def from_mapping(cls, values: Mapping[str, Any], *, where: str = "configuration") -> Self:
        """Validates a mapping.

        Raises:
            InputError: Every problem that was found, each with its key and what to write instead.
        """
        return cls._checked(values, where=where)

    @classmethod
    def _checked(cls, values: Mapping[str, Any], *, where: str, overrides: Sequence[str] = ()) -> Self:
        """`from_mapping` for values of which some are overrides; the place of an error in one is the command line."""
        check_settings(values, where=where)
        try:
            return cls.model_validate(values)
        except ValidationError as error:
            problems = [(origin(cls, item, overrides) or where, explain(cls, item)) for item in error.errors()]
            first = problems[0][0]
            told = [problem if place == first else f"{place}: {problem}" for place, problem in problems]
            raise InputError("\n  ".join(told), where=first) from error

    def to_yaml(self) -> str:
        """The resolved configuration, every default written out."""
        text: str = yaml.dump(self.model_dump(mode="json"), Dumper=Dumper, sort_keys=False, allow_unicode=True)
        return text


def _changes_nothing(init_lora_weights: Any) -> bool:
    return init_lora_weights is True or init_lora_weights == "gaussian"


def _filled(phase: Any, own: Mapping[str, Any]) -> Any:
    """A phase completed by the run's own fields; a value that is no mapping is left for validation to refuse."""
    given = _given(phase)
    if not isinstance(given, Mapping):
        return given
    filled = {**own, **given}
    generation, training = _given(given.get("generation")), given.get("training")
    if isinstance(generation, Mapping) and isinstance(own.get("generation"), GenerationConfig):
        filled["generation"] = own["generation"].filled(generation)
    if isinstance(training, Mapping) and "training" in own:
        filled["training"] = {**own["training"], **training}
    return filled


def _given(value: Any) -> Any:
    """The fields that a model was given; any other value as it is."""
    return value.model_dump(exclude_unset=True) if isinstance(value, BaseModel) else value
