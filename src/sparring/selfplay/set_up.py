"""Sets up a run: its directory, its model, and the proof that the model is scored right."""

from __future__ import annotations

import hashlib
import itertools
import os
import shutil
from collections.abc import Mapping, Sequence
from contextlib import ExitStack
from pathlib import Path
from typing import Any

from sparring import own_code
from sparring.errors import InputError
from sparring.files import standing, write_json, write_text
from sparring.generation.mixture import Mixture
from sparring.generation.protocol import ChecksItself
from sparring.judges import JudgeSettings, StartedJudge
from sparring.logprobs import check_log_probs
from sparring.models import ModelConfig, fingerprint
from sparring.progress import console
from sparring.run_directory import RunDirectory
from sparring.run_files import read_manifest
from sparring.selfplay.arguments import run_autocast
from sparring.selfplay.checks.consent import consent_option, read_config
from sparring.selfplay.components import named_judges
from sparring.selfplay.config.schema import SelfPlayConfig
from sparring.selfplay.manifest import config_fingerprint, manifest, run_clock, versions
from sparring.selfplay.notes import data_summary
from sparring.selfplay.policy import Policy
from sparring.selfplay.prepared import Prepared, prepare
from sparring.selfplay.retention import models_at_once
from sparring.selfplay.run import Embed, Judges, Run
from sparring.work import processes
from sparring.work.store import Store

_CHANGED = {
    "config": "configuration",
    "model": "model",
    "data": "data",
    "tokens": "tokenizer or chat template",
    "teacher": "teacher's model",
    "processes": "number of processes",
}


def claim(prepared: Prepared, directory: RunDirectory) -> None:
    """Writes the configuration and the manifest into the run directory."""
    record = manifest(
        prepared.config,
        prepared.phases,
        fingerprints=_fingerprints(prepared),
        own_code=_own_code(prepared, directory),
        data=data_summary(prepared),
    )
    write_text(directory.config, prepared.config.to_yaml())
    chosen = {"auto": list(prepared.reasons)} if prepared.reasons else {}
    write_json(directory.manifest, record | chosen | {"config": directory.config_digest()})


def take_over(directory: RunDirectory) -> None:
    """Updates the manifest to the configuration, once `reopen` has found no change that decides the result."""
    record, digest = read_manifest(directory.manifest, "config"), directory.config_digest()
    if record["config"] != digest:
        console.print(f"{directory.config} was changed, in nothing that decides the result: the run goes on with it")
        write_json(directory.manifest, record | {"config": digest})


def _fingerprints(prepared: Prepared) -> dict[str, str]:
    """The fingerprints of a run's data, model and code, which must be the same when it is resumed."""
    tokens = hashlib.sha256()
    for encoded in (prepared.train, prepared.held_out):
        for example in encoded.examples if encoded is not None else []:
            compared = f" {example.compared_ids}" if example.compared_ids else ""
            tokens.update(f"{example.index} {example.prompt_ids} {example.expert_ids}{compared}\n".encode())
    teacher = None if prepared.teacher is None else prepared.teacher.model
    return {
        "config": config_fingerprint(prepared.config),
        "model": fingerprint(prepared.config.model.name, revision=prepared.config.model.revision),
        "data": prepared.report.fingerprint,
        "tokens": tokens.hexdigest(),
        # These settings decide the batches.
        "processes": str(processes.count()),
        "teacher": "" if teacher is None else fingerprint(teacher.name, revision=teacher.revision),
    }


def _own_code(prepared: Prepared, directory: RunDirectory) -> dict[str, dict[str, str]]:
    """By module of the user's own code: the digest of its source, and its folder relative to the run."""
    judges = named_judges(prepared.config).values()
    paths = [*prepared.config.own_code, *(path for judge in judges for path in judge.imports())]
    run, modules = directory.path.resolve(), [own_code.modules_of(path) for path in paths]
    return {
        module: {"sha256": own_code.digest(module), "folder": os.path.relpath(own_code.root(module).resolve(), run)}
        for module in dict.fromkeys(itertools.chain.from_iterable(modules))
    }


def _check_own_code(started: Mapping[str, Mapping[str, str]]) -> None:
    """Raises InputError if the user's own code has changed since the run started; it is not imported."""
    for module, known in started.items():
        if own_code.digest(module) != known["sha256"]:
            raise InputError(
                f"the code of the module '{module}' changed after the run started, so other code made what is on disk",
                where=str(own_code.source(module)),
                fix="restore it, or start a new run with another output",
            )


def reopen(path: Path, *, trust_remote_code: bool = False) -> tuple[Prepared, RunDirectory]:
    """The configuration and folder of a run that was interrupted.

    Raises:
        InputError: It is no run, its configuration or data have changed since its start, or it needs consent.
    """
    directory = RunDirectory(path)
    directory.require()
    config = read_config(directory, trust_remote_code=trust_remote_code, resumes=True)
    started = read_manifest(directory.manifest, "fingerprints.config", "own_code")
    fingerprints = started["fingerprints"]
    # Checked first, since the next steps import that code.
    _check_own_code(started["own_code"])
    if config_fingerprint(config) != fingerprints["config"]:
        raise InputError(
            "the configuration was changed after the run started, so what is on disk belongs to another one",
            where=str(directory.config),
            fix="undo the change, or start a new run with `sparring train` and another output",
        )
    prepared = prepare(config, run_clock(directory))
    for what, found in _fingerprints(prepared).items():
        if found != fingerprints.get(what):
            raise InputError(
                f"the {_CHANGED[what]} changed after the run started, so what is on disk belongs to another",
                where={"model": config.model.name, "processes": "launcher"}.get(what, config.data.title),
                fix=_restore(what, directory, fingerprints.get(what)),
            )
    for name, version in versions(config).items():
        if version != started.get("versions", {}).get(name):
            was = started.get("versions", {}).get(name)
            console.print(f"{name} is {version}, the run was started with {was}: the bits may differ")
    return prepared, directory


def _restore(what: str, run: RunDirectory, was: str | None) -> str:
    """The fix if something has changed since a run started."""
    if what != "processes" or was is None:
        return "restore it, or start a new run with another output"
    name = f"{run.path}{consent_option(run)}"
    if was == "1":
        return f"continue it in one process: `sparring resume {name}`"
    return f"continue it in {was} processes over all nodes: `sparring launch {name} --processes N`, N of them on each"


def set_up(prepared: Prepared, directory: RunDirectory, callbacks: Sequence[Any] = ()) -> Run:
    """Loads the model, and proves that its log-probs are scored right.

    Args:
        prepared: The configuration with its data.
        directory: The run directory.
        callbacks: As `Run.callbacks`.
    """
    config = prepared.config
    # First, since it is cheap, and fails if a key or a package is missing.
    judges = _judges(prepared, directory)
    policy = Policy(
        config.model,
        prepared.tokenizer,
        lora=config.lora,
        seed=config.seed,
        stop_ids=prepared.train.stop_ids,
        autocast=run_autocast(config),
    )
    _check_disk(prepared, policy, directory)
    check_log_probs(policy.model)
    run = Run(
        prepared=prepared,
        directory=directory,
        policy=policy,
        workers=config.workers.start(),
        judges=judges,
        embed=_embedder(config),
        store=_store(prepared),
        callbacks=callbacks,
    )
    _check_sampling(run)
    return run


def _check_sampling(run: Run) -> None:
    """Finds out how the model, and its mixture with the base model, are decoded; refuses a model that cannot be."""
    generators = [run.config.generation, *(phase.config.generation for phase in run.prepared.phases)]
    shares = [0.0, *(phase.opponent.spec(phase.iterations.start).base_share for phase in run.prepared.phases)]
    with run.policy.forward_dtype(), ExitStack() as models:
        for config, share in zip(generators, shares, strict=True):
            mixed: dict[str, Any] = {}
            if share:
                base = models.enter_context(run.policy.base_forward())
                mixed = {"mixture": Mixture(base=base, base_share=share)}
            generator = run.generator(config, **mixed)
            if isinstance(generator, ChecksItself):
                generator.check()


def _store(prepared: Prepared) -> Store | None:
    """The store of shards that are shared with other runs; None if this process does not know all that decides them."""
    config = prepared.config
    known = config.generation.reusable and not config.workers.on_ray and not config.model.trust_remote_code
    return Store.of_user() if config.reuse and known else None


def _judges(prepared: Prepared, directory: RunDirectory) -> Judges:
    """The judges, in the main process only: the others do not judge, and so need not load their models."""
    known: list[tuple[JudgeSettings, StartedJudge]] = []
    clock = prepared.template.clock

    def start(settings: JudgeSettings) -> StartedJudge:
        found = next((judge for other, judge in known if other == settings), None)
        if found is None:
            told = settings.in_run(prepared.config.data.template_options, clock)
            found = StartedJudge.of(told, directory.answers)
            known.append((settings, found))
        return found

    started: list[Judges] = []

    def start_all() -> None:
        of_phases = {phase.number: start(phase.judge) for phase in prepared.phases if phase.judge is not None}
        of_held_out = None if prepared.held_out_judge is None else start(prepared.held_out_judge)
        started.append(Judges(of_phases=of_phases, of_held_out=of_held_out))

    processes.on_main(start_all)
    return started[0] if started else Judges()


def _embedder(config: SelfPlayConfig) -> Embed | None:
    """The embedder, in the main process only, like the judges."""
    name, loaded = config.evaluation.embedder, list[Embed]()
    if name is not None:
        from sparring.models.embedder import Embedder

        model = ModelConfig(name=name, device=config.model.device)
        processes.on_main(lambda: loaded.append(Embedder.load(model)))
    return loaded[0] if loaded else None


def _checkpoint_bytes(policy: Policy) -> tuple[int, int]:
    """Bytes of a saved policy, and of a training checkpoint: trained weights and Adam's two moments."""
    weights = sum(p.numel() * p.element_size() for p in policy.model.parameters() if p.requires_grad)
    return weights, 3 * weights


def _check_disk(prepared: Prepared, policy: Policy, directory: RunDirectory) -> None:
    config = prepared.config
    saved, checkpoint = _checkpoint_bytes(policy)
    stages = models_at_once(config.keep, prepared.phases, warmed_up=config.warmup is not None).most
    stages += config.controls
    # The trainer writes a new checkpoint before it removes the old one; training until a plateau also keeps the best.
    plateau = config.warmup is not None and config.warmup.until == "plateau"
    needed = stages * saved + (2 + plateau) * checkpoint
    free = shutil.disk_usage(standing(directory.path)).free
    if needed > free:
        raise InputError(
            f"the run needs about {needed / 2**30:.1f} GiB of disk, {free / 2**30:.1f} GiB are free",
            where=os.fspath(directory.path),
            fix="free some, choose another output, keep fewer policies (keep.models), or train with lora",
        )
