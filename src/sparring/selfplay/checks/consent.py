"""A run directory may be another person's: what it would do with your rights needs your consent, each time."""

from __future__ import annotations

import ipaddress
from collections.abc import Iterator
from urllib.parse import urlsplit

from sparring.errors import InputError
from sparring.judges import JUDGES, Llm, VerifierJudge
from sparring.registry import build
from sparring.run_directory import RunDirectory
from sparring.selfplay.config.schema import Component, SelfPlayConfig


def read_config(directory: RunDirectory, *, trust_remote_code: bool, resumes: bool = False) -> SelfPlayConfig:
    """The configuration of a run that is there.

    Args:
        directory: The run.
        trust_remote_code: Whether somebody said here and now that it may do what is refused otherwise.
        resumes: Whether the run goes on, with its judge, its endpoints and its cluster; else only its model is loaded.

    Raises:
        InputError: It would run code of its own, or send a key to another machine.
    """
    config = SelfPlayConfig.from_yaml(directory.config).model_copy(update={"output": directory.path})
    # Each is told once, although phases may share a judge.
    wishes = dict.fromkeys([*_of_the_model(config), *(_of_the_run(config) if resumes else ())])
    if wishes and not trust_remote_code:
        fix = "check that you trust that code and those addresses, then give --trust-remote-code"
        raise InputError(f"this run {'; and it '.join(wishes)}", where=str(directory.config), fix=fix)
    return config


def _of_the_model(config: SelfPlayConfig) -> Iterator[str]:
    if config.model.trust_remote_code:
        yield "has a model that brings its own Python code, which would run with all your rights"


def _of_the_run(config: SelfPlayConfig) -> Iterator[str]:
    named = [*(phase.judge for phase in config.schedule), config.evaluation.judge]
    judges = [build(JUDGES, "judge", judge.name, judge.options) for judge in named if isinstance(judge, Component)]
    for judge in judges:
        if isinstance(judge, VerifierJudge) and judge.imports:
            yield f"judges with the Python function '{judge.rule}', which would run with all your rights"
    keys = [(judge.api_key_env, judge.base_url) for judge in judges if isinstance(judge, Llm)]
    if config.generation.name == "server" and config.generation.server is not None:
        server = config.generation.server
        keys += [(server.api_key_env, endpoint) for endpoint in server.endpoints]
    for variable, address in keys:
        if variable is not None and not _is_loopback(address):
            yield f"would send the key in the variable {variable} to {address}"
    cluster = config.workers.address if config.workers.name == "ray" else None
    if cluster is not None and cluster != "auto" and not _is_loopback(cluster):
        yield f"would join the Ray cluster at {cluster}, which can run code here"


def _is_loopback(address: str) -> bool:
    host = urlsplit(address if "://" in address else f"//{address}").hostname or ""
    try:
        return ipaddress.ip_address(host).is_loopback
    except ValueError:
        return host == "localhost"
