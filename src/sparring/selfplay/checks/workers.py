"""Checks that the workers sample and score exactly as the policy does."""

from __future__ import annotations

import torch

from sparring.errors import InputError
from sparring.generation import names
from sparring.selfplay.config.schema import SelfPlayConfig
from sparring.work import processes


def check_workers(config: SelfPlayConfig, device: torch.device) -> None:
    """Raises InputError if the workers cannot sample and score as the policy that trains on `device` would."""
    check_sampler(config, processes.count())
    if config.workers.on_ray and config.workers.gpus == 0 and device.type == "cuda":
        raise InputError(
            "actors without a GPU would sample and score on the CPU, with other rounding than training has on CUDA",
            where="workers.gpus",
            fix="set it to 1, or to a fraction for actors that share one; or train on the CPU too: model.device: cpu",
        )


def check_sampler(config: SelfPlayConfig, count: int) -> None:
    """Raises InputError where the generator cannot sample in as many processes as there are."""
    if config.generation.one_process and (count > 1 or config.workers.on_ray):
        several = names(lambda kind: not kind.one_process)
        raise InputError(
            f"the generator '{config.generation.name}' takes its weights from one process, but several would sample",
            where="generation.name",
            fix=f"set it to {several}, or start one process with workers.name: processes",
        )
