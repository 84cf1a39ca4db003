"""`launch`: starts the processes of a run through accelerate, and ends as they do."""

from __future__ import annotations

import logging
import os
import signal
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

import torch
import typer
from accelerate.commands.launch import launch_command as accelerate_launch
from accelerate.commands.launch import launch_command_parser
from accelerate.utils import is_port_in_use
from torch import distributed
from torch.distributed.elastic.multiprocessing import SignalException
from torch.distributed.elastic.multiprocessing.errors import ChildFailedError, ProcessFailure
from torch.distributed.elastic.rendezvous import RendezvousError

import sparring.recipes
from sparring.cli.training import read_config
from sparring.errors import InputError, RunError
from sparring.run_directory import RunDirectory
from sparring.selfplay.checks.workers import check_sampler
from sparring.selfplay.config.schema import SelfPlayConfig

_SETTINGS = Path(sparring.recipes.__file__).parent / "accelerate"
# Seconds to stop: a process writes a checkpoint first, for which torch's default of 30 seconds may be too short.
_GRACE_S = 300


@dataclass(frozen=True, kw_only=True)
class Nodes:
    """The machines of a launch.

    Attributes:
        count: The number of machines; the same command is given on each.
        rank: The number of this machine, counted from 0.
        main: `HOST:PORT`, at which the others reach machine 0; None for a single machine.
    """

    count: int = 1
    rank: int = 0
    main: str | None = None

    def options(self) -> list[str]:
        """The options for accelerate.

        Raises:
            InputError: They do not fit each other, or the port is taken on this machine.
        """
        if self.rank >= self.count:
            problem = f"there are {self.count} nodes, counted from 0, so that none is number {self.rank}"
            raise InputError(problem, where="--node-rank", fix=f"give one below {self.count}, or more --nodes")
        if self.count == 1:
            # Any port that is free.
            return ["--main_process_port", "0"]
        host, port = self._address()
        if self.rank == 0 and is_port_in_use(port):
            fix = "give another, the same on every node, or end what listens there"
            raise InputError(f"port {port} is in use on this machine", where="--main-address", fix=fix)
        machines = ["--num_machines", str(self.count), "--machine_rank", str(self.rank)]
        return [*machines, "--main_process_ip", host, "--main_process_port", str(port)]

    def _address(self) -> tuple[str, int]:
        host, _, port = (self.main or "").rpartition(":")
        if not host or not port.isascii() or not port.isdigit() or not 0 < int(port) < 2**16:
            found = "is missing" if self.main is None else f"is HOST:PORT, got '{self.main}'"
            fix = "give node 0's name or address and a port that is free there, such as node0:29500"
            raise InputError(f"{found}, where several nodes play", where="--main-address", fix=fix)
        return host, int(port)


def launch_command(
    target: str,
    overrides: Sequence[str],
    *,
    processes: int | None,
    sharded: bool,
    nodes: Nodes,
    trust_remote_code: bool,
    skip_invalid: bool,
    as_json: bool,
) -> None:
    """Starts a run in several processes, or continues one, and ends with the code of the first that failed.

    Args:
        target: A configuration, or the run directory of a run that was interrupted.
        overrides: Settings to change; a run that is continued takes none.
        processes: The number of processes on each node; None for one on each GPU.
        sharded: Whether weights, gradients and optimizer states are shared out among them (FSDP2).
        nodes: The machines.
        trust_remote_code: As `sparring resume` takes it.
        skip_invalid: As `sparring train` takes it.
        as_json: Whether the main process prints its result for programs.

    Raises:
        InputError: They cannot play this run.
        RunError: A process was killed, or the nodes did not find each other.
    """
    config, command = _command(target, overrides, trust_remote_code=trust_remote_code, skip_invalid=skip_invalid)
    each = _processes(processes, config, sharded=sharded)
    check_sampler(config, each * nodes.count)
    settings = ["--config_file", str(_SETTINGS / ("fsdp2.yaml" if sharded else "ddp.yaml"))]
    threads = os.environ.get("OMP_NUM_THREADS") or max(1, torch.get_num_threads() // each)
    given = ["--num_processes", str(each * nodes.count), "--num_cpu_threads_per_process", str(threads)]
    _start(
        [*settings, *given, *nodes.options(), "--module", "sparring", *command, *(["--json"] if as_json else [])], nodes
    )


def _command(
    target: str, overrides: Sequence[str], *, trust_remote_code: bool, skip_invalid: bool
) -> tuple[SelfPlayConfig, list[str]]:
    """The run's configuration, and the command of each process."""
    directory = RunDirectory(Path(target))
    if not directory.config.exists():
        config = read_config(target, overrides, skip_invalid=skip_invalid)
        return config, ["train", target, *overrides, *(["--skip-invalid"] if skip_invalid else [])]
    if overrides:
        fix = f"leave out {' '.join(overrides)}, or start a new run from a configuration"
        raise InputError("a run is continued with its own settings", where=target, fix=fix)
    config = SelfPlayConfig.of_run(directory.config)
    return config, ["resume", target, *(["--trust-remote-code"] if trust_remote_code else [])]


def _processes(asked: int | None, config: SelfPlayConfig, *, sharded: bool) -> int:
    """The number of processes that this machine starts.

    Raises:
        InputError: It is not given and does not follow from the GPUs, or there are fewer GPUs than that.
    """
    gpus = 0 if config.model.device == "cpu" else torch.cuda.device_count()
    if gpus == 0 and sharded:
        fix = "leave it out, or take a machine with GPUs"
        raise InputError("accelerate shards on GPUs alone, and none is used here", where="--sharded", fix=fix)
    if gpus == 0 and asked is None:
        fix = "say how many: --processes N, each with cores of its own"
        raise InputError("by default there is one on each GPU, and none is used here", where="--processes", fix=fix)
    if gpus and asked is not None and asked > gpus:
        fix = f"start at most {gpus}, or set model.device=cpu"
        raise InputError(
            f"{asked} processes need a GPU each, and this machine has {gpus}", where="--processes", fix=fix
        )
    return asked or gpus


def _start(arguments: list[str], nodes: Nodes) -> None:
    # The process that failed has said why; the launcher's libraries would only log tables of exit codes.
    logging.disable(logging.ERROR)
    os.environ.setdefault("TORCH_ELASTIC_SHUTDOWN_TIMEOUT", str(_GRACE_S))
    # `python -m sparring` would look for modules in the working directory first; the command `sparring` does not.
    os.environ.setdefault("PYTHONSAFEPATH", "1")
    try:
        accelerate_launch(launch_command_parser().parse_args(arguments))
    except SignalException as asked:
        # The processes got the same signal, and have said how to go on.
        raise typer.Exit(128 + asked.sigval) from asked
    except ChildFailedError as error:
        rank, failure = min(error.failures.items(), key=lambda each: _order(each[1]))
        if failure.exitcode > 0:
            raise typer.Exit(failure.exitcode) from error
        raise RunError(
            f"process {rank} was ended by {failure.signal_name()}"
            f"{', as happens where memory runs out' if failure.exitcode == -signal.SIGKILL else ''}; "
            "what is finished is on disk: mend that, then `sparring launch RUN` with as many processes"
        ) from error
    except (RendezvousError, distributed.DistError, ConnectionError, TimeoutError) as error:
        where = nodes.main or "this machine"
        raise RunError(f"the processes did not find each other at {where}: {error}") from error


def _order(failure: ProcessFailure) -> tuple[int, int]:
    """The sorting key of failures, likely causes first: killed, failed, stopped with a message or without; by time."""
    if failure.exitcode in {128 + signal.SIGTERM, -signal.SIGTERM}:
        return 2 + (failure.exitcode < 0), failure.timestamp
    return failure.exitcode > 0, failure.timestamp
