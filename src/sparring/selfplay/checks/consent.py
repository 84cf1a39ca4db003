"""Consent to the code and keys that a run would use; asked each time, since the run may be another person's."""

from __future__ import annotations

import shlex
from collections.abc import Iterator

from sparring.consent import is_loopback, reports_to, runs_code, sends_key
from sparring.errors import InputError
from sparring.own_code import importable_from
from sparring.run_directory import RunDirectory
from sparring.run_files import read_manifest
from sparring.selfplay.components import named_judges
from sparring.selfplay.config.schema import SelfPlayConfig
from sparring.work import processes


def read_config(directory: RunDirectory, *, trust_remote_code: bool, resumes: bool = False) -> SelfPlayConfig:
    """The configuration in a run directory, if the user consents to the code and the keys that it would use.

    Args:
        directory: The run.
        trust_remote_code: Whether the user consents.
        resumes: Whether the run is resumed, with its own code, its judge, its endpoints and its cluster; if not, only
            its model is loaded, and nothing else is imported.

    Raises:
        InputError: Without consent, the run would run code that it brings along, or send a key to another machine.
    """
    config = SelfPlayConfig.of_run(directory.config).model_copy(update={"output": directory.path})
    wishes = _wishes(config, resumes=resumes)
    if wishes and not trust_remote_code:
        fix = "check that you trust that, then give --trust-remote-code"
        raise InputError(f"this run {'; and it '.join(wishes)}", where=str(directory.config), fix=fix)
    if wishes and resumes:
        for known in read_manifest(directory.manifest, "own_code")["own_code"].values():
            importable_from(directory.path / known["folder"])
    return config


def going_on(directory: RunDirectory) -> str:
    """The command that resumes a run, with the option of consent if it needs that."""
    return f"{processes.going_on(shlex.quote(str(directory.path)))}{consent_option(directory)}"


def consent_option(directory: RunDirectory) -> str:
    """The option of consent, after a space; empty if resuming the run needs no consent."""
    wishes = _wishes(SelfPlayConfig.of_run(directory.config), resumes=True)
    return " --trust-remote-code" if wishes else ""


def _wishes(config: SelfPlayConfig, *, resumes: bool) -> list[str]:
    # Phases may share a judge, so each is named once.
    return [*dict.fromkeys([*_code_of_model(config), *(_of_play(config) if resumes else ())])]


def _code_of_model(config: SelfPlayConfig) -> Iterator[str]:
    if config.model.trust_remote_code:
        yield runs_code("has a model that brings its own Python code")


def _of_play(config: SelfPlayConfig) -> Iterator[str]:
    if config.own_code:
        names = ", ".join(config.own_code)
        yield runs_code(f"plays with Python code that it names ({names})")
    # The user's own judges are named above, and must not be imported before there is consent.
    for judge in named_judges(config, own=False).values():
        yield from judge.needs_consent()
    for variable, address in config.generation.keys:
        yield from sends_key(variable, address)
    warmup = {} if config.warmup is None else config.warmup.training
    for fields in (config.training, warmup, *(phase.training for phase in config.phases)):
        yield from reports_to(fields.get("report_to"))
    cluster = config.workers.cluster
    if cluster is not None and not is_loopback(cluster):
        yield f"would join the Ray cluster at {cluster}, which can run code here"
