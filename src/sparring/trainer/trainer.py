"""A thin transformers Trainer that takes any objective."""

from __future__ import annotations

import math
from collections import defaultdict
from collections.abc import Iterable, Mapping, Sequence
from contextlib import nullcontext
from functools import partial
from pathlib import Path
from typing import Any

import torch
from torch import Tensor
from transformers import Trainer, TrainerCallback, TrainingArguments

from sparring.errors import InputError
from sparring.heap import keep_few_kernels
from sparring.log_ratios import OPPONENT_FIELDS
from sparring.logprobs import check_log_probs, sequence_log_probs
from sparring.logprobs.wrappers import unwrap
from sparring.models.endings import ends_of, tell_endings
from sparring.models.finite import broken_weight
from sparring.trainer.checks import check_batches, check_fields, check_ids, check_lengths, check_trained, tell_shared
from sparring.trainer.collation import collate
from sparring.trainer.diverged import DivergedError, where_broken
from sparring.trainer.given import check_arguments, check_kinds, check_names, model_of, objective_of, takes_pairs
from sparring.trainer.launch import check_launch
from sparring.trainer.memory import gradients_set_aside, memory_saved
from sparring.trainer.parts import in_parts, parts
from sparring.trainer.ratios import log_ratios
from sparring.trainer.triples import Triples, triples_from
from sparring.trainer.unlogged import Unlogged
from sparring.types import Objective, ObjectiveOutput, per_prompt


class SelfPlayTrainer(Trainer):
    """Trains a model on (prompt, expert, generated) triples with any objective.

    The opponent is the model at the start of training: its log-probs of every response are computed once, before the
    first step, unless the triples have them. There is never a second model in memory.

    Args:
        model: A causal language model of transformers, or one wrapped by peft; or its Hugging Face id or folder.
        objective: The loss to minimise: its name, such as "spin"; or its settings, such as
            `{"name": "spif", "beta": 1.0, "reward_bound": 2.0}`; or any callable of the protocol `Objective`. Required.
        args: transformers' training arguments.
        train_dataset: Ready triples; see `triples_from` for the columns.
        eval_dataset: Triples to evaluate the loss and metrics on.
        processing_class: The tokenizer; needed if the triples are text, unless the model is an id.
        peft_config: A peft configuration; the model is then wrapped and only the adapter is trained.
        **kwargs: Further arguments of `transformers.Trainer` (callbacks, optimizers, …).

    Raises:
        InputError: A triple lacks a field, or is longer than the model's context, or the triples differ in K; there is
            no such model or objective; an argument is one of TRL's that has no place here; or a tracker's package is
            missing.
        DivergedError: While training, when a logged value, or a weight to be saved, is not finite.
    """

    def __init__(  # noqa: PLR0917 - positional as in the Trainer and in TRL
        self,
        model: Any,
        objective: Objective | str | Mapping[str, Any] | None = None,
        args: TrainingArguments | None = None,
        train_dataset: Iterable[Mapping[str, Any]] | Triples | None = None,
        eval_dataset: Iterable[Mapping[str, Any]] | Triples | None = None,
        processing_class: Any = None,
        peft_config: Any = None,
        **kwargs: Any,
    ) -> None:
        check_names(kwargs)
        check_kinds(args, processing_class, peft_config, train_dataset=train_dataset, eval_dataset=eval_dataset)
        if train_dataset is None:
            raise InputError("the training set is missing", where="train_dataset", fix="pass train_dataset=triples")
        self.objective = objective_of(objective)
        if args is not None:
            check_arguments(args, self.objective)
        keep_few_kernels()
        model, processing_class = model_of(model, processing_class, args, peft_config)
        self._sums: dict[str, dict[str, list[Tensor]]] = {"train": defaultdict(list), "eval": defaultdict(list)}
        self._resumed: Unlogged | None = None
        # The rows of the last batches with their losses, to name rows whose loss is not finite.
        self._losses: list[tuple[Sequence[int | None], Tensor]] = []
        ends = ends_of(getattr(own := unwrap(model), "generation_config", None))
        self._read = partial(triples_from, tokenizer=processing_class, pairs=takes_pairs(self.objective), ends=ends)
        super().__init__(
            model=model,
            args=args,
            data_collator=collate,
            train_dataset=self._read(train_dataset, where="train_dataset"),
            eval_dataset=None if eval_dataset is None else self._read(eval_dataset, where="eval_dataset"),
            processing_class=processing_class,
            **kwargs,
        )
        if getattr(own, "generation_config", None) is not None:
            tell_endings(own, self.train_dataset.ends)
        check_launch()
        check_trained(self.model, self.optimizer)
        check_batches(self.train_dataset, self.args)
        for where in ("train_dataset", "eval_dataset"):
            if (triples := getattr(self, where)) is not None:
                self._check(triples, where)
        if self.eval_dataset is not None:
            tell_shared(self.train_dataset, self.eval_dataset)
        # The loss is a mean over prompts, not a sum over tokens that the model divides.
        self.model_accepts_loss_kwargs = False
        self.add_callback(_GoesOn(self))

    def _check(self, triples: Triples, where: str) -> None:
        check_fields(triples, self.objective, where)
        check_ids(triples, self.model.config, where)
        check_lengths(triples, self.model.config, where)

    @property
    def shards_weights(self) -> bool:
        """Whether each process holds only a part of the weights in training (FSDP)."""
        return bool(self.is_fsdp_enabled)

    def train(self, *args: Any, **kwargs: Any) -> Any:
        """Scores the triples under the opponent unless they are scored already, then trains."""
        with memory_saved(self.model, self.args, self.accelerator.num_processes):
            self.score()
            result = super().train(*args, **kwargs)
        return result._replace(training_loss=result.metrics["train_loss"])

    def evaluate(self, eval_dataset: Any = None, *args: Any, **kwargs: Any) -> dict[str, float]:
        """The loss and metrics on `eval_dataset`, or on that of the constructor."""
        triples = self.eval_dataset
        if eval_dataset is not None:
            triples = self._given(eval_dataset, "eval_dataset")
        if triples is None:
            raise InputError("the evaluation set is missing", where="eval_dataset", fix="pass eval_dataset=triples")
        self.score()
        self._score(triples)
        metrics: dict[str, float] = super().evaluate(triples, *args, **kwargs)
        return metrics

    def predict(self, test_dataset: Any, *args: Any, **kwargs: Any) -> Any:
        """The loss and metrics on `test_dataset`, which are not logged; predictions are not returned."""
        triples = self._given(test_dataset, "test_dataset")
        self.score()
        self._score(triples)
        return super().predict(triples, *args, **kwargs)

    def _given(self, dataset: Any, where: str) -> Triples:
        """The triples of a set that is given after the constructor."""
        check_kinds(None, None, None, **{where: dataset})
        triples = self._read(dataset, where=where)
        self._check(triples, where)
        if self.state.global_step > 0 and self._unscored(triples):
            raise InputError(
                "the opponent, the model as it was before training, is no longer in memory to score this set",
                where=where,
                fix="pass the set to the constructor, or add the opponent's log-probs to it",
            )
        return triples

    def evaluation_loop(self, *args: Any, **kwargs: Any) -> Any:
        """Adds the objective's metrics, averaged over the prompts of this evaluation alone."""
        self._sums["eval"].clear()
        self._losses.clear()
        output = super().evaluation_loop(*args, **kwargs)
        prefix = kwargs.get("metric_key_prefix", "eval")
        output.metrics.update({f"{prefix}_{name}": mean for name, mean in self._means(self._sums["eval"]).items()})
        return output

    def score(self) -> None:
        """Computes missing log-probs of the opponent, which is the model as it is now."""
        for triples in (self.train_dataset, self.eval_dataset):
            if triples is not None:
                self._score(triples)

    def restore(self, checkpoint: Path) -> None:
        """Gives the model, which was trained and is still wrapped, the weights of a checkpoint."""
        self.state.best_model_checkpoint = str(checkpoint)
        self._load_best_model()

    def _unscored(self, triples: Triples) -> bool:
        return bool(self.objective.requires & OPPONENT_FIELDS) and not triples.scored

    @torch.no_grad()
    def _score(self, triples: Triples) -> None:
        if not self._unscored(triples):
            return
        self.model.eval()
        with self.accelerator.autocast():
            check_log_probs(self.model)
        size = self.args.per_device_eval_batch_size
        for start in range(0, len(triples), size):
            batch = triples.items[start : start + size]
            with self.accelerator.autocast():
                values = sequence_log_probs(
                    self.model, [triple.prompt_ids for triple in batch], [triple.responses for triple in batch]
                )
            for offset, (triple, row) in enumerate(zip(batch, values, strict=True)):
                triples.items[start + offset] = triple.with_scores(row.tolist())

    def get_batch_samples(self, *args: Any, **kwargs: Any) -> Any:
        """The batches of a step, in which every prompt has the same weight, even if one batch is smaller."""
        batches, items = super().get_batch_samples(*args, **kwargs)
        # The Trainer divides the sum of their losses by their number.
        for batch in batches:
            batch["whole"] = sum(len(each["rows"]) for each in batches) / len(batches)
        return batches, items

    def training_step(
        self, model: Any, inputs: dict[str, Any], num_items_in_batch: Tensor | int | None = None
    ) -> Tensor:
        """The gradient of a batch; on a CPU, part by part, which takes less memory."""
        split = in_parts(self.objective, self.args.device.type, self.accelerator.num_processes)
        batches = [*parts(inputs, self.objective)] if split else [inputs]
        with gradients_set_aside(model) if len(batches) > 1 else nullcontext():
            losses = [super(SelfPlayTrainer, self).training_step(model, each, num_items_in_batch) for each in batches]
        return torch.stack(losses).sum()

    def compute_loss(
        self,
        model: Any,
        inputs: dict[str, Any],
        return_outputs: bool = False,
        num_items_in_batch: Tensor | int | None = None,
    ) -> Any:
        """The objective's mean over the prompts of the batch; of a part, its share of that mean."""
        with self.accelerator.autocast():
            output = self.objective(log_ratios(model, inputs, self.objective))
        loss = per_prompt(output, len(inputs["rows"])).mean() * (len(output.loss) / inputs["whole"])
        self._record(output, "train" if model.training else "eval")
        self._losses.append((inputs["rows"], output.loss.detach()))
        return (loss, output) if return_outputs else loss

    def prediction_step(
        self, model: Any, inputs: dict[str, Any], *_: Any, **__: Any
    ) -> tuple[Tensor | None, Tensor | None, Tensor | None]:
        """The loss without logits."""
        with torch.no_grad():
            return self.compute_loss(model, self._prepare_inputs(inputs)).detach(), None, None

    def _record(self, output: ObjectiveOutput, mode: str) -> None:
        for name, value in output.metrics.items():
            self._sums[mode][name].append(value)

    def log(self, logs: dict[str, float], start_time: float | None = None) -> None:
        """Adds the objective's metrics to those of training, averaged over the steps since the last log."""
        if "loss" in logs or "train_loss" in logs:
            logs |= self._means(self._sums["train"])
            self._sums["train"].clear()
        if "train_loss" in logs:
            # transformers would divide by the number of steps since a resume.
            logs["train_loss"] = self._total_loss_scalar / max(self.state.global_step, 1)
        # Loss scaling finds its scale by letting the first gradients overflow.
        checked = {name: value for name, value in logs.items() if not (self.args.fp16 and name == "grad_norm")}
        broken = [name for name, value in checked.items() if isinstance(value, float) and not math.isfinite(value)]
        if broken:
            told = f"{', '.join(broken)} is not a finite number{where_broken(self._losses, self.model)}"
            raise DivergedError(f"step {self.state.global_step}: {told}")
        self._losses.clear()
        super().log(logs, start_time)

    def _save_checkpoint(self, model: Any, trial: Any) -> None:
        broken = broken_weight(self.model)
        # All processes end together, since each may hold a part of the weights.
        if self.accelerator.reduce(torch.tensor([int(broken is not None)], device=self.args.device)).item():
            which = "a weight" if broken is None else f"the weight '{broken}'"
            raise DivergedError(f"step {self.state.global_step}: {which} is no longer a finite number")
        super()._save_checkpoint(model, trial)

    def _means(self, values: Mapping[str, Sequence[Tensor]]) -> dict[str, float]:
        """The means over all prompts of all processes."""
        if not values:
            return {}
        columns = [torch.cat(list(each)) for each in values.values()]
        sums = torch.stack([torch.stack([column.sum(), column.new_tensor(column.numel())]) for column in columns])
        totals = self.accelerator.reduce(sums, reduction="sum")
        return dict(zip(values, (totals[:, 0] / totals[:, 1]).tolist(), strict=True))

    def _maybe_log_save_evaluate(self, *args: Any, **kwargs: Any) -> None:
        # The last steps are logged too, even if their number is no multiple of `logging_steps`.
        self.control.should_log |= self.state.global_step >= self.state.max_steps
        super()._maybe_log_save_evaluate(*args, **kwargs)

    def _save_rng_state(self, output_dir: str) -> None:
        super()._save_rng_state(output_dir)
        unlogged = Unlogged(
            loss=self._tr_loss,
            logged_loss=self._total_loss_scalar,
            logged_step=self._globalstep_last_logged,
            metrics=self._sums["train"],
        )
        unlogged.write(Path(output_dir), self.args.process_index)
        # The main process then writes the file that marks the checkpoint as whole.
        self.accelerator.wait_for_everyone()

    def _load_optimizer_and_scheduler(self, checkpoint: str | None) -> None:
        super()._load_optimizer_and_scheduler(checkpoint)
        if checkpoint is not None:
            self._resumed = Unlogged.read(Path(checkpoint), self.args.process_index, self.args.device)

    def go_on(self) -> None:
        """Restores the sums of the checkpoint that training was resumed from, or begins with zeros."""
        self._sums["train"].clear()
        if self._resumed is not None:
            self._tr_loss, self._total_loss_scalar = self._resumed.loss, self._resumed.logged_loss
            self._globalstep_last_logged = self._resumed.logged_step
            self._sums["train"] |= {name: list(values) for name, values in self._resumed.metrics.items()}
            self._resumed = None

    def _set_signature_columns_if_needed(self) -> None:
        # The collator reads triples, not the arguments of the model's forward pass.
        self._signature_columns: list[str] = []


class _GoesOn(TrainerCallback):
    """Restores a trainer's sums after transformers has set them to zero."""

    def __init__(self, trainer: SelfPlayTrainer) -> None:
        self._trainer = trainer

    def on_train_begin(self, *_: Any, **__: Any) -> None:
        self._trainer.go_on()
