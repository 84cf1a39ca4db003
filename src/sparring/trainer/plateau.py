"""Ends a training at a plateau of the validation experts' log-likelihood, and takes the weights of its best step."""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, NamedTuple

import torch
from transformers import TrainerCallback, TrainerControl, TrainerState, TrainingArguments

from sparring.integrity import check_folder
from sparring.logprobs import per_token_log_probs
from sparring.metrics.likelihood import LOOK
from sparring.trainer.trainer import SelfPlayTrainer
from sparring.trainer.triples import Triple


class Look(NamedTuple):
    """The mean log-likelihood of the validation experts after a step."""

    step: int
    epoch: float
    likelihood: float


@dataclass(frozen=True, kw_only=True)
class Plateau:
    """The rule by which a training ends.

    Attributes:
        triples: The validation prompts with their experts' responses.
        every: Epochs between two looks.
        patience: The number of looks in a row without a new best after which it ends.
        tell: A function that prints a line for people.
    """

    triples: Sequence[Triple]
    every: float
    patience: int
    tell: Callable[[str], None]


def looks_of(log: Sequence[Mapping[str, Any]]) -> list[Look]:
    """The looks in a trainer's log, which a checkpoint holds too; the first is the one before the first step."""
    return [Look(entry["step"], entry["epoch"], entry[LOOK]) for entry in log if LOOK in entry]


def best_of(looks: Sequence[Look]) -> Look | None:
    """The look with the highest likelihood, the earliest among equals, without the one before the first step."""
    return max((look for look in looks if look.step > 0), key=lambda look: look.likelihood, default=None)


class PlateauCallback(TrainerCallback):
    """Looks at the validation prompts, keeps a checkpoint of the best look, and ends the training.

    Its whole state is in the trainer's log, so a training that is resumed ends at the same step. It must be the last
    callback, since at the end no checkpoint may be written from which a resumed training would go on.
    """

    def __init__(self, trainer: SelfPlayTrainer, plateau: Plateau) -> None:
        self._trainer, self._plateau = trainer, plateau

    def on_train_begin(self, *_: Any, **__: Any) -> None:
        """Looks before the first step."""
        if not self._looks:
            self._look()

    def on_step_end(self, args: TrainingArguments, state: TrainerState, control: TrainerControl, **kwargs: Any) -> None:
        """Looks after every `every` epochs, and at the last step."""
        epoch = math.ceil(len(kwargs["train_dataloader"]) / args.gradient_accumulation_steps)
        last = state.global_step >= state.max_steps
        if state.global_step % max(1, round(self._plateau.every * epoch)) and not last:
            return
        self._look()
        behind = self._behind
        self._tell_look(behind)
        if behind >= self._plateau.patience:
            control.should_training_stop, control.should_save = True, False
        elif not behind and not last:
            control.should_save = True

    def take_best(self) -> None:
        """Gives the trained model the weights of the best look, and says which look that is.

        Raises:
            DamagedError: Its checkpoint is damaged.
        """
        start, *looks = self._looks
        best = best_of(looks)
        assert best is not None  # noqa: S101 - there is a look at the last step
        if best.step != looks[-1].step:
            folder = Path(str(self._trainer.args.output_dir)) / f"checkpoint-{best.step}"
            check_folder(folder, fix=f"remove {folder.parent} and run `sparring resume RUN`, which trains again")
            self._trainer.restore(folder)
        text = (
            f"taken after {best.epoch:.3g} of {looks[-1].epoch:.3g} epochs, where the validation experts "
            f"({len(self._plateau.triples)}) were likeliest: {_nats(best)}"
        )
        if not self._behind:
            text += (
                "; they still grew likelier at the limit of epochs, so more may help (warmup.training.num_train_epochs)"
            )
        if best.likelihood < start.likelihood:
            text += f"; warning: before the first step it was {start.likelihood:.4g}: lower the learning rate"
        self._plateau.tell(text)

    @property
    def _looks(self) -> list[Look]:
        return looks_of(self._trainer.state.log_history)

    @property
    def _behind(self) -> int:
        """The number of looks since the best one."""
        looks = self._looks
        best = best_of(looks)
        return 0 if best is None else sum(look.step > best.step for look in looks)

    def _look(self) -> None:
        trainer, triples = self._trainer, self._plateau.triples
        trainer.model.eval()
        with torch.no_grad(), trainer.accelerator.autocast():
            scored = per_token_log_probs(
                trainer.model, [each.prompt_ids for each in triples], [[each.expert_ids] for each in triples]
            )
        # The mean over the prompts of (1/T) log π(y|x), nats, like the metric of that name.
        means = [float(tokens.double().mean()) for (tokens,) in scored]
        trainer.log({LOOK: math.fsum(means) / len(means)})

    def _tell_look(self, behind: int) -> None:
        look = self._looks[-1]
        standing = "the best so far" if not behind else f"{behind} after the best"
        self._plateau.tell(f"after epoch {look.epoch:.3g}: validation {_nats(look)}, {standing}")


def _nats(look: Look) -> str:
    return f"{look.likelihood:.4g} nats a token"
