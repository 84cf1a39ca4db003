"""Checks everything that can be checked before a model is loaded, then sets up the game."""

from __future__ import annotations

import dataclasses
import os
import shutil
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from sparring.data import VERIFIERS, Dataset, Encoded, encode, load
from sparring.errors import InputError
from sparring.files import read_json, write_json, write_text
from sparring.logprobs import check_log_probs
from sparring.models import context_length, load_config, load_tokenizer
from sparring.objectives import OBJECTIVES
from sparring.opponents import OPPONENTS
from sparring.progress import console
from sparring.registry import build
from sparring.regularizers import REGULARIZERS, Regularized
from sparring.run_directory import RunDirectory
from sparring.training.arguments import autocast_dtype, training_arguments
from sparring.training.config import SelfPlayConfig
from sparring.training.game import Game
from sparring.training.manifest import config_fingerprint, manifest
from sparring.training.policy import Policy, lora_config
from sparring.types import Objective, Opponent

_SHOWN = 10


@dataclass(frozen=True, kw_only=True)
class Prepared:
    """A configuration that was checked, with its components built and its data as token ids."""

    config: SelfPlayConfig
    objective: Objective
    opponent: Opponent
    tokenizer: Any
    model_config: Any
    data: Dataset
    train: Encoded
    held_out: Encoded | None
    verifier: Callable[[str, str], bool] | None


def prepare(config: SelfPlayConfig) -> Prepared:
    """Checks a configuration from the cheapest part to the dearest; no weights are loaded.

    Raises:
        InputError: Something is wrong with it, its data, its model or its tokenizer.
    """
    objective = _objective(config)
    opponent = build(OPPONENTS, "opponent", config.opponent.name, config.opponent.options)
    _check_training(config)
    data = load(config.data, config.seed)
    model_config, tokenizer = load_config(config.model), load_tokenizer(config.model)
    context = context_length(model_config)
    verifier = VERIFIERS[config.data.verifier]() if config.data.verifier is not None else None
    if config.stop.enabled and config.stop.metric.startswith("accuracy") and verifier is None:
        raise InputError(
            f"'{config.stop.metric}' needs a verifier", where="stop.metric", fix="set data.verifier, or another metric"
        )
    return Prepared(
        config=config,
        objective=objective,
        opponent=opponent,
        tokenizer=tokenizer,
        model_config=model_config,
        data=data,
        train=encode(data.train, tokenizer, config.data, context_length=context),
        held_out=encode(data.held_out, tokenizer, config.data, context_length=context) if data.held_out else None,
        verifier=verifier,
    )


def announce(prepared: Prepared) -> None:
    """Says what was left out or cut, so that nobody has to read the manifest to learn of it."""
    skipped = prepared.data.report.skipped
    if skipped:
        console.print(f"{len(skipped)} rows were left out:", highlight=False)
        for where, reason in skipped[:_SHOWN]:
            console.print(f"  {where}: {reason}", highlight=False, markup=False)
        if len(skipped) > _SHOWN:
            console.print(f"  … and {len(skipped) - _SHOWN} more, listed in manifest.json", highlight=False)
    for part, encoded in (("training", prepared.train), ("held-out", prepared.held_out)):
        counts = {name.replace("_", " "): n for name, n in _counts(encoded).items() if name != "examples" and n}
        if counts:
            text = ", ".join(f"{n} {name}" for name, n in counts.items())
            console.print(f"{part} examples: {text}", highlight=False)


def _objective(config: SelfPlayConfig) -> Objective:
    objective: Objective = build(OBJECTIVES, "objective", config.objective.name, config.objective.options)
    if config.regularizers:
        penalties = [build(REGULARIZERS, "regularizer", item.name, item.options) for item in config.regularizers]
        try:
            objective = Regularized(objective, penalties)
        except ValueError as error:
            raise InputError(str(error), where="regularizers") from error
    if "preference" in objective.requires:
        raise InputError(
            f"objective '{config.objective.name}' needs preferences, which only a judge can give",
            where="objective.name",
            fix="take an imitation objective: "
            + ", ".join(name for name in OBJECTIVES if name != config.objective.name),
        )
    return objective


def _check_training(config: SelfPlayConfig) -> None:
    fields = [config.training]
    if config.warmup is not None:
        fields.append(config.training | config.warmup.training)
    for each in fields:
        training_arguments(each, output=config.output, seed=config.seed, device=config.model.device)
    if config.lora is not None:
        lora_config(config.lora)


def claim(prepared: Prepared) -> RunDirectory:
    """Makes the run directory and writes the configuration and the manifest into it.

    Raises:
        InputError: It already holds a run, or it cannot be written.
    """
    directory = RunDirectory(prepared.config.output)
    if directory.config.exists() and directory.manifest.exists():
        _explain_taken(prepared.config, directory)
    record = manifest(prepared.config, data_fingerprint=prepared.data.report.fingerprint, data=data_summary(prepared))
    try:
        directory.path.mkdir(parents=True, exist_ok=True)
        write_json(directory.manifest, record)
        write_text(directory.config, prepared.config.to_yaml())
    except OSError as error:
        raise InputError(
            f"the run directory cannot be written ({error.strerror})",
            where=str(directory.path),
            fix="choose another with output=PATH",
        ) from error
    return directory


def reopen(path: Path) -> tuple[Prepared, RunDirectory]:
    """The configuration and folder of a run that was interrupted.

    Raises:
        InputError: It is no run, or its configuration or data are not those it was started with.
    """
    directory = RunDirectory(path)
    directory.require()
    config = SelfPlayConfig.from_yaml(directory.config).model_copy(update={"output": path})
    started = read_json(directory.manifest)
    if config_fingerprint(config) != started["config_fingerprint"]:
        raise InputError(
            "the configuration was changed after the run started, so what is on disk belongs to another one",
            where=str(directory.config),
            fix="undo the change, or start a new run with `sparring train` and another output",
        )
    prepared = prepare(config)
    if prepared.data.report.fingerprint != started["data_fingerprint"]:
        raise InputError(
            "the data changed after the run started, so its samples belong to other prompts",
            where=str(config.data.source),
            fix="restore the data, or start a new run with another output",
        )
    return prepared, directory


def set_up(prepared: Prepared, directory: RunDirectory) -> Game:
    """Loads the model, and proves that its log-probs are scored right."""
    config = prepared.config
    policy = Policy(
        config.model,
        prepared.tokenizer,
        lora=config.lora,
        seed=config.seed,
        autocast=autocast_dtype(config.training),
    )
    _check_disk(config, policy, directory)
    check_log_probs(policy.model)
    return Game(
        config=config,
        directory=directory,
        policy=policy,
        objective=prepared.objective,
        opponent=prepared.opponent,
        train=prepared.train.examples,
        held_out=prepared.held_out.examples if prepared.held_out is not None else [],
        stop_ids=prepared.train.stop_ids,
        verifier=prepared.verifier,
    )


def data_summary(prepared: Prepared) -> dict[str, Any]:
    """What became of the data: rows read, left out, and cut, with reasons."""
    report = prepared.data.report
    return {
        "read": report.read,
        "kept": report.kept,
        "skipped": [list(item) for item in report.skipped],
        "train": _counts(prepared.train),
        "held_out": _counts(prepared.held_out),
        "stop_ids": list(prepared.train.stop_ids),
    }


def _counts(encoded: Encoded | None) -> dict[str, int]:
    if encoded is None:
        return {"examples": 0}
    counts = {
        item.name: getattr(encoded, item.name)
        for item in dataclasses.fields(encoded)
        if item.name not in {"examples", "stop_ids"}
    }
    return {"examples": len(encoded.examples)} | counts


def _explain_taken(config: SelfPlayConfig, directory: RunDirectory) -> None:
    same = read_json(directory.manifest)["config_fingerprint"] == config_fingerprint(config)
    if same:
        problem, fix = "this run was started before", f"continue it with `sparring resume {directory.path}`"
    else:
        problem = "the folder holds a run with another configuration"
        fix = "choose another with output=PATH, or remove the folder"
    raise InputError(problem, where=str(directory.path), fix=fix)


def checkpoint_bytes(policy: Policy) -> tuple[int, int]:
    """Bytes of a saved policy, and of a training checkpoint: trained weights and Adam's two moments."""
    weights = sum(p.numel() * p.element_size() for p in policy.model.parameters() if p.requires_grad)
    return weights, 3 * weights


def _check_disk(config: SelfPlayConfig, policy: Policy, directory: RunDirectory) -> None:
    saved, checkpoint = checkpoint_bytes(policy)
    stages = config.iterations + (config.warmup is not None)
    # The trainer writes a new checkpoint before it removes the old one.
    needed = stages * saved + 2 * checkpoint
    free = shutil.disk_usage(directory.path).free
    if needed > free:
        raise InputError(
            f"the run needs about {needed / 2**30:.1f} GiB of disk, {free / 2**30:.1f} GiB are free",
            where=os.fspath(directory.path),
            fix="free some, choose another output, play fewer iterations, or train with lora",
        )
