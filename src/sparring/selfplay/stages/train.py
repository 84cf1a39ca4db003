"""Train: makes the next policy, going on from the last whole checkpoint."""

from __future__ import annotations

import shlex
from collections.abc import Iterable, Mapping, Sequence
from contextlib import closing
from typing import Any

from transformers import PrinterCallback, TrainerCallback, TrainingArguments

from sparring import interruptions
from sparring.errors import RunError
from sparring.examples import EncodedExample
from sparring.files import remove
from sparring.heap import give_back_freed_memory
from sparring.models.quiet import quiet_transformers
from sparring.seeding import derive_seed
from sparring.selfplay.checks.consent import going_on
from sparring.selfplay.policy import Policy
from sparring.selfplay.run import Run
from sparring.selfplay.stages.checkpoints import Checkpoints, last_checkpoint
from sparring.stage_directory import StageDirectory
from sparring.trainer.arguments import saves_by_the_clock, training_arguments
from sparring.trainer.callbacks import StageCallback, StopCallback
from sparring.trainer.diverged import DivergedError
from sparring.trainer.plateau import Plateau, PlateauCallback
from sparring.trainer.trackers import steps_before, trackers
from sparring.trainer.trainer import SelfPlayTrainer
from sparring.trainer.triples import Triple, Triples
from sparring.types import Objective
from sparring.work import processes

# The number of prompts on which a policy's log-probs are checked to be finite before it is saved.
_PROBED = 4


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
    until: Plateau | None = None,
) -> None:
    """Trains policy `start` on the triples and saves the result as the stage's model.

    Args:
        run: The run.
        start: The number of the policy to start from.
        stage: The folder for checkpoints and the result.
        triples: The triples, with the opponent's scores unless the objective has no opponent.
        objective: The objective to minimise.
        fields: Fields of `TrainingArguments`.
        name: The stage's name in the progress bar, from which its seed derives too.
        labels: Fields of every logged event.
        until: The plateau that ends it before its last step, and decides which step's policy is taken; None trains to
            the end.

    Raises:
        RunError: A weight or a logged value is not finite; nothing is saved.
    """
    args = training_arguments(
        fields,
        output=stage.training,
        seed=derive_seed(run.config.seed, "train", name),
        device=run.config.model.device,
        run_name=run.directory.path.name,
    )
    shown = StageCallback(f"{name}: train", lambda logs: run.log({**labels, **logs}))
    callbacks = [shown, *_callbacks(run, args, labels, by_the_clock=saves_by_the_clock(fields))]
    model = run.policy.start_training(run.directory.weights(start))
    trainer = SelfPlayTrainer(model, objective=objective, args=args, train_dataset=triples, callbacks=callbacks)
    trainer.remove_callback(PrinterCallback)
    plateau = None if until is None else PlateauCallback(trainer, until)
    if plateau is not None:
        trainer.add_callback(plateau)
    checkpoint = processes.on_main(lambda: last_checkpoint(stage.training))
    try:
        with quiet_transformers(), closing(shown), interruptions.deferred():
            trainer.train(resume_from_checkpoint=None if checkpoint is None else str(checkpoint))
            if plateau is not None:
                plateau.take_best()
        _leave_training(trainer, run.policy)
        processes.on_main(lambda: _save(run, stage, triples.items[:_PROBED]))
    except DivergedError as error:
        raise RunError(f"{name}: {error.problem}\n  fix: {_cure(run, start, labels, args.learning_rate)}") from error
    # The other processes load what the main one saved.
    processes.wait_for_files([stage.model])
    processes.on_main(lambda: remove(stage.training))


def _callbacks(
    run: Run, args: TrainingArguments, labels: Mapping[str, Any], *, by_the_clock: bool
) -> list[TrainerCallback]:
    """The callbacks for checkpoints, signals and trackers, in place of the Trainer's own, and the user's."""
    checkpoints = Checkpoints(args.save_total_limit, run.directory.log_lines, by_the_clock=by_the_clock)
    # Otherwise the Trainer would remove an older checkpoint before the new one has its digests.
    args.save_total_limit = None
    # All processes stop after the same step, whichever of them got the signal.
    stop = StopCallback(lambda: processes.any_of_them(interruptions.is_asked()), lambda: _stop(run))
    before = steps_before(run.directory.events(), labels)
    tracked = trackers(args.report_to, before=before, folder=run.directory.tensorboard)
    # Otherwise the Trainer would add the trackers a second time.
    args.report_to = []
    return [checkpoints, stop, *tracked, *run.callbacks]


def _stop(run: Run) -> None:
    interruptions.check()
    raise RunError(f"another process of the launch was asked to stop; `{going_on(run.directory)}` goes on from here")


def _save(run: Run, stage: StageDirectory, probes: Sequence[Triple]) -> None:
    """Saves the policy, unless its log-probs are not finite: then it could neither play nor be trained again."""
    broken = run.policy.broken_weight()
    if broken is not None:
        raise DivergedError(f"after the last step the weight '{broken}' is no longer a finite number")
    for probe in probes:
        (values,) = run.policy.log_probs([probe.prompt_ids], [probe.responses])
        if not all(bool(each.isfinite().all()) for each in values):
            raise DivergedError(f"after the last step, log-probs given the prompt of row {probe.row} are not finite")
    run.policy.save(stage.model, log_lines=run.directory.log_lines())


def _cure(run: Run, start: int, labels: Mapping[str, Any], rate: float) -> str:
    """The fix after a training that diverged: another run, since a run's configuration cannot be changed."""
    folder, last = run.directory.path, run.directory.name(start)
    section = "" if "iteration" in labels else "warmup"
    if not section and run.config.phases:
        section = f"phases.{run.phase(labels['iteration']).number}"
    key = f"{section}.training.learning_rate".lstrip(".")
    play = shlex.join(["sparring", "train", f"{folder / 'config.yaml'}", f"output={folder}-2", f"{key}={rate / 10:g}"])
    text = (
        "no policy of it was saved, and `sparring resume` would end here again: a run keeps its settings. Start one "
        f"with a lower rate, or another beta: `{play}`."
    )
    if run.directory.weights(start) is None:
        return f"{text} The last good policy is the base model"
    export = shlex.join(["sparring", "export", str(folder), "FOLDER", "--policy", last])
    return (
        f"{text} The last good policy is {folder / last / 'model'}; to start from it, `{export}`, and add "
        "`model.name=FOLDER warmup=null`"
    )


def is_trained(stage: StageDirectory) -> bool:
    """Whether the training of a stage has ended."""

    def there() -> bool:
        if not stage.model.exists() and "model" not in stage.removed():
            return False
        # A kill may have come after the model was saved and before its checkpoints were removed.
        remove(stage.training)
        return True

    return processes.on_main(there)


def demonstrations(examples: Iterable[EncodedExample]) -> list[Triple]:
    """The triples of supervised fine-tuning: the prompts that have an expert's response."""
    taught = (item for item in examples if item.expert_ids)
    return [Triple(prompt_ids=item.prompt_ids, expert_ids=item.expert_ids, row=item.index) for item in taught]


def _leave_training(trainer: SelfPlayTrainer, policy: Policy) -> None:
    """Removes what the trainer added to the model, so that it can generate, score and be saved.

    Gradients and the optimizer's states are freed first: if all weights are trained, they take three times the memory
    of the weights, and reference cycles of the trainer would hold them until the next garbage collection.
    """
    trainer.model.zero_grad(set_to_none=True)
    trainer.optimizer = trainer.lr_scheduler = None
    trainer.callback_handler.optimizer = trainer.callback_handler.lr_scheduler = None
    if trainer.shards_weights:
        # Sharding cannot be undone in place: the gathered weights go into a model that was never sharded.
        weights = trainer.accelerator.get_state_dict(trainer.model_wrapped)
        trainer.accelerator.free_memory()
        policy.replace_sharded(weights)
        return
    model = trainer.accelerator.unwrap_model(trainer.model, keep_fp32_wrapper=False)
    trainer.accelerator.free_memory()
    give_back_freed_memory()
    model.config.use_cache = True
    if trainer.args.gradient_checkpointing:
        model.gradient_checkpointing_disable()
    model.eval()
