"""Checks everything that can be checked before a model is loaded, then sets up the game."""

from __future__ import annotations

import dataclasses
import hashlib
import os
import shutil
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from sparring.data import VERIFIERS, Dataset, Encoded, chat_template, encode, load
from sparring.errors import InputError
from sparring.files import read_json, write_json, write_text
from sparring.generation import engine
from sparring.generation.engines import Engine
from sparring.judges.protocol import Judge, JudgeSettings
from sparring.logprobs import check_log_probs
from sparring.models import context_length, fingerprint, load_config, load_tokenizer
from sparring.opponents import OPPONENTS
from sparring.progress import console
from sparring.registry import build
from sparring.run_directory import RunDirectory
from sparring.training import processes
from sparring.training.arguments import autocast_dtype, training_arguments
from sparring.training.config import SelfPlayConfig
from sparring.training.consent import read_config
from sparring.training.game import Game
from sparring.training.manifest import config_fingerprint, manifest, versions
from sparring.training.players import check_importance, judge_of, objective_of
from sparring.training.policy import Policy, lora_config
from sparring.training.sampling import check_mixture, engine_model
from sparring.training.store import Store
from sparring.training.workers import check_workers, workers
from sparring.types import Objective, Opponent

_SHOWN = 10
_CHANGED = {
    "config": "configuration",
    "model": "model",
    "data": "data",
    "tokens": "tokenizer or chat template",
    "processes": "number of processes",
}


@dataclass(frozen=True, kw_only=True)
class Prepared:
    """A configuration that was checked, with its components built and its data as token ids."""

    config: SelfPlayConfig
    objective: Objective
    opponent: Opponent
    judge: JudgeSettings | None
    tokenizer: Any
    model_config: Any
    data: Dataset
    train: Encoded
    held_out: Encoded | None
    verifier: Callable[[str, str], bool] | None
    engine: Engine | None


def prepare(config: SelfPlayConfig) -> Prepared:
    """Checks a configuration from the cheapest part to the dearest; no weights are loaded.

    Raises:
        InputError: Something is wrong with it, its data, its model or its tokenizer.
    """
    objective = objective_of(config)
    judge = judge_of(config, objective)
    opponent = build(OPPONENTS, "opponent", config.opponent.name, config.opponent.options)
    check_importance(config, objective, opponent)
    _check_training(config)
    check_mixture(config, opponent)
    data = load(config.data, config.seed)
    model_config, tokenizer = load_config(config.model), run_tokenizer(config)
    context = context_length(model_config)
    verifier = VERIFIERS[config.data.verifier]() if config.data.verifier is not None else None
    if config.stop.enabled and config.stop.metric.startswith("accuracy") and verifier is None:
        raise InputError(
            f"'{config.stop.metric}' needs a verifier", where="stop.metric", fix="set data.verifier, or another metric"
        )
    train = encode(data.train, tokenizer, config.data, context_length=context)
    held_out = encode(data.held_out, tokenizer, config.data, context_length=context) if data.held_out else None
    return Prepared(
        config=config,
        objective=objective,
        opponent=opponent,
        judge=judge,
        tokenizer=tokenizer,
        model_config=model_config,
        data=data,
        train=train,
        held_out=held_out,
        verifier=verifier,
        engine=engine(config.generation, lambda: engine_model(config, model_config, train, held_out)),
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


def run_tokenizer(config: SelfPlayConfig) -> Any:
    """The model's tokenizer with the run's chat template, so that what is saved prompts as it was trained."""
    tokenizer = load_tokenizer(config.model)
    template = chat_template(config.data.chat_template)
    if template is not None:
        tokenizer.chat_template = template
    return tokenizer


def _check_training(config: SelfPlayConfig) -> None:
    fields = [config.training]
    if config.warmup is not None:
        fields.append(config.training | config.warmup.training)
    for each in fields:
        args = training_arguments(each, output=config.output, seed=config.seed, device=config.model.device)
    check_workers(config, args.device)
    if config.lora is not None:
        lora_config(config.lora)


def check_free(config: SelfPlayConfig) -> RunDirectory:
    """The run directory, made if need be; it must not hold a run, nor parts of one, which would pass for this one's.

    Raises:
        InputError: It does, or it cannot be made.
    """
    directory = RunDirectory(config.output)
    if directory.config.exists() and directory.manifest.exists():
        _explain_taken(config, directory)
    parts = [stage.path for stage in (directory.base, directory.warmup, directory.iteration(0)) if stage.path.exists()]
    if parts:
        raise InputError(
            f"the folder holds parts of a run ({parts[0].name}) without its configuration",
            where=str(directory.path),
            fix="choose another with output=PATH, or remove the folder",
        )
    try:
        directory.path.mkdir(parents=True, exist_ok=True)
    except OSError as error:
        raise _unwritable(directory, error) from error
    return directory


def _unwritable(directory: RunDirectory, error: OSError) -> InputError:
    problem = f"the run directory cannot be written ({error.strerror})"
    return InputError(problem, where=str(directory.path), fix="choose another with output=PATH")


def claim(prepared: Prepared, directory: RunDirectory) -> None:
    """Makes the run directory and writes the configuration and the manifest into it.

    Raises:
        InputError: It cannot be written.
    """
    record = manifest(
        prepared.config, prepared.objective, fingerprints=_fingerprints(prepared), data=data_summary(prepared)
    )
    try:
        write_json(directory.manifest, record)
        write_text(directory.config, prepared.config.to_yaml())
    except OSError as error:
        raise _unwritable(directory, error) from error


def _fingerprints(prepared: Prepared) -> dict[str, str]:
    """What a run was started with: a resumed one must still find the same."""
    tokens = hashlib.sha256()
    for encoded in (prepared.train, prepared.held_out):
        for example in encoded.examples if encoded is not None else []:
            tokens.update(f"{example.index} {example.prompt_ids} {example.expert_ids}\n".encode())
    return {
        "config": config_fingerprint(prepared.config),
        "model": fingerprint(prepared.config.model.name, revision=prepared.config.model.revision),
        "data": prepared.data.report.fingerprint,
        "tokens": tokens.hexdigest(),
        # They decide what a batch is.
        "processes": str(processes.count()),
    }


def reopen(path: Path, *, trust_remote_code: bool = False) -> tuple[Prepared, RunDirectory]:
    """The configuration and folder of a run that was interrupted.

    Raises:
        InputError: It is no run, its configuration or data are not those it was started with, or it needs consent.
    """
    directory = RunDirectory(path)
    directory.require()
    config = read_config(directory, trust_remote_code=trust_remote_code, resumes=True)
    started = read_json(directory.manifest)
    # Runs that were started before several processes could play do not say how many did.
    fingerprints = {"processes": "1"} | started["fingerprints"]
    if config_fingerprint(config) != fingerprints["config"]:
        raise InputError(
            "the configuration was changed after the run started, so what is on disk belongs to another one",
            where=str(directory.config),
            fix="undo the change, or start a new run with `sparring train` and another output",
        )
    prepared = prepare(config)
    for what, found in _fingerprints(prepared).items():
        if found != fingerprints[what]:
            raise InputError(
                f"the {_CHANGED[what]} changed after the run started, so what is on disk belongs to another",
                where={"model": config.model.name, "processes": "launcher"}.get(what, str(config.data.source)),
                fix="restore it, or start a new run with another output",
            )
    for name, version in versions().items():
        if version != started["versions"].get(name):
            was = started["versions"].get(name)
            console.print(f"{name} is {version}, the run was started with {was}: the bits may differ", highlight=False)
    return prepared, directory


def set_up(prepared: Prepared, directory: RunDirectory) -> Game:
    """Loads the model, and proves that its log-probs are scored right."""
    config = prepared.config
    # First of all: it is cheap, and fails where a key or a package is missing.
    judge = _started(prepared.judge, directory)
    args = training_arguments(config.training, output=config.output, seed=config.seed, device=config.model.device)
    policy = Policy(
        config.model,
        prepared.tokenizer,
        lora=config.lora,
        seed=config.seed,
        autocast=autocast_dtype(args),
    )
    _check_disk(config, policy, directory)
    check_log_probs(policy.model)
    return Game(
        config=config,
        directory=directory,
        policy=policy,
        workers=workers(config.workers),
        objective=prepared.objective,
        opponent=prepared.opponent,
        train=prepared.train.examples,
        held_out=prepared.held_out.examples if prepared.held_out is not None else [],
        stop_ids=prepared.train.stop_ids,
        verifier=prepared.verifier,
        judge=judge,
        engine=prepared.engine,
        store=_store(prepared),
    )


def _store(prepared: Prepared) -> Store | None:
    """Where shards are shared with other runs; None where what decides them is not all known to this process."""
    config = prepared.config
    elsewhere = prepared.engine is not None or config.workers.name == "ray"
    return None if not config.reuse or elsewhere or config.model.trust_remote_code else Store.of_user()


def _started(settings: JudgeSettings | None, directory: RunDirectory) -> Judge | None:
    """The judge, in the main process: the others don't judge, so they need not hold its model."""
    started: list[Judge] = []
    if settings is not None:
        processes.on_main(lambda: started.append(settings.start(directory.answers)))
    return started[0] if started else None


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
    same = read_json(directory.manifest)["fingerprints"]["config"] == config_fingerprint(config)
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
    existing = next(path for path in (directory.path, *directory.path.absolute().parents) if path.exists())
    free = shutil.disk_usage(existing).free
    if needed > free:
        raise InputError(
            f"the run needs about {needed / 2**30:.1f} GiB of disk, {free / 2**30:.1f} GiB are free",
            where=os.fspath(directory.path),
            fix="free some, choose another output, play fewer iterations, or train with lora",
        )
