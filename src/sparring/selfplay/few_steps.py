"""A warning about a training that is too short to change anything."""

from __future__ import annotations

from sparring.selfplay.arguments import arguments_of, steps_of
from sparring.selfplay.prepared import Prepared
from sparring.work import processes

_FEW_STEPS = 5


def few_steps(prepared: Prepared) -> list[str]:
    """A warning if all training together takes too few steps to change anything, and nobody set their number."""
    config, warmup = prepared.config, prepared.config.warmup
    trainings = [
        (phase.config.training, len(prepared.prompts(phase, iteration)))
        for phase in prepared.phases
        for iteration in phase.iterations[:_FEW_STEPS]
    ]
    if warmup is not None:
        trainings.append((warmup.fields(config.training), len(warmup.split(prepared.train.examples)[0])))
    stages = [(arguments_of(config, fields), rows) for fields, rows in trainings]
    steps = sum(steps_of(args, rows=rows, processes=processes.count()) for args, rows in stages)
    if steps >= _FEW_STEPS or any(args.max_steps > 0 for args, _ in stages):
        return []
    return [
        f"warning: all training together takes {steps} step{'' if steps == 1 else 's'} of the optimizer, after which a "
        "policy has hardly changed; a smaller per_device_train_batch_size or gradient_accumulation_steps makes more of "
        "them, and so do more num_train_epochs"
    ]
