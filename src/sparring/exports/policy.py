"""Policies of a run: loading one, and exporting it as a whole model."""

from __future__ import annotations

import dataclasses
from collections.abc import Callable, Mapping
from itertools import accumulate
from pathlib import Path, PurePath
from typing import Any

import torch

from sparring.data import DataConfig
from sparring.exports.merge import Merge, merge
from sparring.exports.named import BEST, check_free, policy_folder, weights_of
from sparring.files import atomic_path, public_name
from sparring.judges import JUDGES
from sparring.log_ratios import SUPERVISED_FIELDS
from sparring.models.endings import sampling_settings
from sparring.models.quiet import quiet_transformers
from sparring.objectives import OBJECTIVES
from sparring.opponents import OPPONENTS
from sparring.own_code import is_own
from sparring.registry import Registry, build
from sparring.regularizers import REGULARIZERS
from sparring.run_directory import RunDirectory
from sparring.run_files import read_manifest
from sparring.selfplay.checks.consent import read_config
from sparring.selfplay.components import objective_of, scorer_of
from sparring.selfplay.config.schema import Component, JudgeConfig, PhaseConfig, SelfPlayConfig
from sparring.selfplay.config.warmup import WarmupConfig
from sparring.selfplay.manifest import run_clock
from sparring.selfplay.policy import Policy
from sparring.selfplay.prepared import run_tokenizer

# Settings that may hold a path, an account or an address; none of them decides the training.
_PRIVATE_TRAINING = (
    *("accelerator_config", "fsdp_config", "logging_dir", "project", "report_to", "run_name"),
    *("trackio_bucket_id", "trackio_space_id", "trackio_static_space_id"),
    *("hub_always_push", "hub_model_id", "hub_private_repo", "hub_revision", "hub_strategy"),
)


def load_policy(run: Path, name: str = BEST, *, trust_remote_code: bool = False) -> tuple[SelfPlayConfig, Policy]:
    """Loads the configuration of a run, and one of its policies.

    Args:
        run: The run directory.
        name: "best", "base", or a policy's folder in the run, e.g. "warmup" or "iterations/001".
        trust_remote_code: Whether code that the run's model brings along may run.

    Raises:
        InputError: The folder is not a run, it has no such policy, or it has not ended and so has no best one.
    """
    directory = RunDirectory(run)
    directory.require()
    config = read_config(directory, trust_remote_code=trust_remote_code)
    weights = weights_of(directory, policy_folder(directory, name))
    stop_ids = read_manifest(directory.manifest, "data.stop_ids")["data"]["stop_ids"]
    tokenizer = run_tokenizer(config, run_clock(directory))
    policy = Policy(config.model, tokenizer, lora=config.lora, seed=config.seed, stop_ids=stop_ids)
    policy.activate(weights)
    return config, policy


def export(
    run: Path,
    to: Path,
    name: str,
    *,
    card: Callable[[Merge | None, Mapping[str, object]], str],
    dtype: torch.dtype | None = None,
    trust_remote_code: bool = False,
) -> Merge | None:
    """Writes a policy to a new folder that `from_pretrained` loads; an adapter is merged into its base.

    Args:
        run: The run directory.
        to: The folder to write.
        name: The policy, as in `load_policy`.
        card: Makes the text of its README.md from the facts of the merge and the sampling settings that the folder
            keeps from the base model.
        dtype: The number format of an adapter's merged weights; by default the choice of `merge`.
        trust_remote_code: As in `load_policy`.

    Returns:
        The facts of the merge, if there was an adapter.

    Raises:
        InputError: As `load_policy`, or the folder exists, or is a part of the run.
    """
    check_free(run, to)
    config, policy = load_policy(run, name, trust_remote_code=trust_remote_code)
    model, merged = merge(policy, config.model, dtype)
    kept = sampling_settings(model.generation_config)
    with quiet_transformers(), atomic_path(to) as partial:
        model.save_pretrained(partial)
        policy.tokenizer.save_pretrained(partial)
        (partial / "README.md").write_text(card(merged, kept), encoding="utf-8")
    return merged


def components(config: SelfPlayConfig, policy: str) -> dict[str, Any]:
    """The settings that decided the training of a policy, by section, with the defaults of the components.

    Addresses, names of keys, paths, and the templates of a judge and a scorer are left out. The user's own code is not
    imported: its components have the settings that were given, and its judges none, since these may be private.

    Args:
        config: The configuration of the run.
        policy: The policy's folder in it, e.g. "warmup" or "iterations/001".
    """
    played = [_of_phase(phase) for phase in phases_of_policy(config, policy)]
    warmup = None if config.warmup is None or policy == "base" else _warmup(config.warmup)
    if warmup is not None and not played:
        # The warm-up takes most settings from the run's own sections.
        warmup["training"] = _supervised(config)
    sections = {
        "model": _without_empty({"dtype": config.model.dtype, "quantization": config.model.quantization}),
        "data": _data(config.data),
        **({"phases": played} if config.phases and played else played[0] if played else {}),
        "warmup": warmup,
        "control": {"training": _supervised(config)} if policy.startswith("control") else None,
        "lora": None if policy == "base" else config.lora,
    }
    return _without_empty(sections)


def phases_of_policy(config: SelfPlayConfig, policy: str) -> list[PhaseConfig]:
    """The phases that trained a policy of a run; empty for the base model, the warm-up and the control."""
    if not policy.startswith("iterations/"):
        return []
    starts = accumulate((phase.iterations for phase in config.schedule), initial=0)
    number = int(PurePath(policy).name)
    return [phase for phase, start in zip(config.schedule, starts, strict=False) if start <= number]


def is_supervised(config: SelfPlayConfig, policy: str) -> bool:
    """Whether nothing but supervised fine-tuning trained a policy; the user's own objectives count as play."""
    return all(_is_supervised(phase) for phase in phases_of_policy(config, policy))


def _is_supervised(phase: PhaseConfig) -> bool:
    return not _own_objective(phase) and objective_of(phase).requires <= SUPERVISED_FIELDS


def _own_objective(phase: PhaseConfig) -> bool:
    """Whether the objective of a phase is the user's own, so that only its code tells what it reads."""
    return any(is_own(part.name) for part in (phase.objective, *phase.regularizers))


def _data(config: DataConfig) -> dict[str, Any]:
    # Without the options nobody could tell which of the template's ways the model was trained with.
    options = dict(config.template_options) or None
    told = {"max_response_tokens": config.max_response_tokens, "template_options": options}
    return _without_empty({**told, "teacher": _teacher(config)})


def _teacher(config: DataConfig) -> dict[str, Any] | None:
    return None if config.teacher is None else _with_public_model(_without_empty(config.teacher.model_dump()))


def _training(fields: Mapping[str, Any]) -> dict[str, Any]:
    return {name: value for name, value in fields.items() if name not in _PRIVATE_TRAINING}


def _supervised(config: SelfPlayConfig) -> dict[str, Any]:
    """The fields of training of the warm-up and the control."""
    return _training((config.warmup or WarmupConfig()).fields(config.training))


def _warmup(config: WarmupConfig) -> dict[str, Any]:
    # The other settings are those of a plateau.
    fields = {"until"} if config.until == "end" else {"until", "validation", "patience", "every"}
    return _without_empty(config.model_dump(include=fields)) | {"training": _training(config.training)}


def _judge(config: JudgeConfig | None) -> dict[str, Any] | None:
    if config is None:
        return None
    used = {"expert_plays": config.expert_plays, "include_self": config.include_self}
    if is_own(config.name):
        return {"name": config.name} | used
    judge = build(JUDGES, "judge", config.name, config.options)
    kept_back = {*judge.reached_by, *judge.private}
    settings = {name: value for name, value in vars(judge).items() if name not in kept_back}
    return {"name": config.name} | _with_public_model(settings) | used


def _with_public_model(settings: Mapping[str, Any]) -> dict[str, Any]:
    """The settings with the `model`, if any, replaced by its public name, since it may be a folder of this machine."""
    model = settings.get("model")
    return {**settings, "model": public_name(model)} if isinstance(model, str) else dict(settings)


def _of_phase(config: PhaseConfig) -> dict[str, Any]:
    scorer = config.scorer if _own_objective(config) else scorer_of(config, objective_of(config))
    sections = {
        "objective": _settings(OBJECTIVES, "objective", config.objective),
        "regularizers": [_settings(REGULARIZERS, "regularizer", item) for item in config.regularizers],
        "opponent": _settings(OPPONENTS, "opponent", config.opponent),
        "judge": _judge(config.judge),
        # Its template is the user's own text.
        "scorer": None if scorer is None else scorer.model_dump(exclude={"template"}),
        "iterations": config.iterations,
        "generation": config.generation.how(),
        "responses": None if config.responses == "opponent" else config.responses,
        "training": _training(config.training),
    }
    return _without_empty(sections)


def _without_empty(sections: Mapping[str, Any]) -> dict[str, Any]:
    return {name: value for name, value in sections.items() if value not in (None, [])}


def _settings(registry: Registry[Any], kind: str, component: Component) -> dict[str, Any]:
    own = is_own(component.name)
    settings = None if own else dataclasses.asdict(build(registry, kind, component.name, component.options))
    return {"name": component.name} | (component.options if settings is None else settings)
