"""Warm-up: supervised fine-tuning before the first iteration."""

from __future__ import annotations

from sparring.objectives import Sft
from sparring.policies import BASE
from sparring.progress import console
from sparring.selfplay.config.warmup import WarmupConfig
from sparring.selfplay.run import Run
from sparring.selfplay.stages.train import demonstrations, is_trained, train
from sparring.trainer.plateau import Plateau
from sparring.trainer.triples import Triples


def warm_up(run: Run, config: WarmupConfig) -> None:
    """Trains policy 0, unless it is trained already."""
    stage = run.directory.warmup
    if is_trained(stage):
        return
    taught, validation = config.split(run.train)
    plateau = Plateau(
        triples=demonstrations(validation),
        every=config.every,
        patience=config.patience,
        tell=lambda text: console.print(f"warm-up: {text}"),
    )
    with run.timed(stage="warmup"):
        train(
            run,
            start=BASE,
            stage=stage,
            triples=Triples(demonstrations(taught)),
            objective=Sft(),
            fields=config.fields(run.config.training),
            name="warm-up",
            labels={"stage": "warmup"},
            until=plateau if validation else None,
        )
