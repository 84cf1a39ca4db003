"""Train: makes the next policy, going on from the last whole checkpoint."""

from __future__ import annotations

import json
from collections.abc import Iterable, Mapping
from contextlib import closing
from pathlib import Path
from typing import Any

from transformers import PrinterCallback

from sparring import interruptions
from sparring.errors import RunError
from sparring.examples import EncodedExample
from sparring.files import remove
from sparring.models.quiet import quiet_transformers
from sparring.run_directory import StageDirectory
from sparring.seeding import derive_seed
from sparring.selfplay.policy import Policy
from sparring.selfplay.run import Run
from sparring.trainer.arguments import training_arguments
from sparring.trainer.callbacks import StageCallback, StopCallback
from sparring.trainer.trackers import steps_before, trackers
from sparring.trainer.trainer import SelfPlayTrainer
from sparring.trainer.triples import Triple, Triples
from sparring.types import Objective
from sparring.work import processes


def train(
    run: Run,
    *,
    start: int,
    stage: StageDirectory,
    triples: Triples,
    objective: Objective,
    fields: Mapping[str, Any],
    name: str,
    labels: Mapping[str, Any],
) -> None:
    """Trains policy `start` on the triples and saves the result as the stage's model.

    Args:
        run: The run.
        start: The number of the policy to start from.
        stage: Where checkpoints and the result go.
        triples: Scored under the opponent already, unless the objective has none.
        objective: What to minimise.
        fields: Fields of `TrainingArguments`.
        name: The stage's name in the progress bar; its seed derives from it too.
        labels: Fields of every logged event.
    """
    args = training_arguments(
        fields,
        output=stage.training,
        seed=derive_seed(run.config.seed, "train", name),
        device=run.config.model.device,
        run_name=run.directory.path.name,
    )
    before = steps_before(run.directory.events(), labels)
    tracked = trackers(args.report_to, before=before, folder=run.directory.tensorboard)
    # The Trainer would add the trackers a second time.
    args.report_to = []
    model = run.policy.start_training(run.directory.weights(start))
    # All processes stop after the same step, whichever of them was asked to.
    stop = StopCallback(lambda: processes.any_of_them(interruptions.is_asked()), _stop)
    shown = StageCallback(f"{name}: train", lambda logs: run.log({**labels, **logs}))
    trainer = SelfPlayTrainer(
        model, objective=objective, args=args, train_dataset=triples, callbacks=[shown, stop, *tracked]
    )
    trainer.remove_callback(PrinterCallback)
    checkpoint = processes.on_main(lambda: last_checkpoint(stage.training))
    with quiet_transformers(), closing(shown), interruptions.deferred():
        trainer.train(resume_from_checkpoint=None if checkpoint is None else str(checkpoint))
    _leave_training(trainer, run.policy)
    processes.on_main(lambda: run.policy.save(stage.model))
    # The other processes load what the main one saved.
    processes.wait_for_files([stage.model])
    processes.on_main(lambda: remove(stage.training))


def _stop() -> None:
    interruptions.check()
    raise RunError("another process of the launch was asked to stop; `sparring resume RUN` goes on from here")


def is_trained(stage: StageDirectory) -> bool:
    """Whether the training of a stage has ended."""

    def there() -> bool:
        if not stage.model.exists() and "model" not in stage.removed():
            return False
        # A kill may have come between the model and its checkpoints' removal.
        remove(stage.training)
        return True

    return processes.on_main(there)


def demonstrations(examples: Iterable[EncodedExample]) -> list[Triple]:
    """The triples of supervised fine-tuning: the prompts that have an expert's response."""
    return [Triple(prompt_ids=item.prompt_ids, expert_ids=item.expert_ids) for item in examples if item.expert_ids]


def last_checkpoint(folder: Path) -> Path | None:
    """The newest checkpoint that was written to its end.

    The trainer writes `trainer_state.json` last, so a checkpoint without a readable one was cut by a kill; it is
    removed.
    """
    found = sorted(folder.glob("checkpoint-*"), key=lambda path: int(path.name.split("-")[1]), reverse=True)
    for path in found:
        try:
            json.loads((path / "trainer_state.json").read_text(encoding="utf-8"))
        except (OSError, ValueError):
            remove(path)
        else:
            return path
    return None


def _leave_training(trainer: SelfPlayTrainer, policy: Policy) -> None:
    """Removes what the trainer added to the model, so that it can generate, score and be saved."""
    if trainer.shards_weights:
        # Sharding cannot be undone in place: the gathered weights go into a model that was never sharded.
        weights = trainer.accelerator.get_state_dict(trainer.model_wrapped)
        trainer.accelerator.free_memory()
        policy.replace_sharded(weights)
        return
    model = trainer.accelerator.unwrap_model(trainer.model, keep_fp32_wrapper=False)
    model.config.use_cache = True
    if trainer.args.gradient_checkpointing:
        model.gradient_checkpointing_disable()
    model.eval()
