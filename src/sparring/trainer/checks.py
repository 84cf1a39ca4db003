"""Checks that triples have the fields that an objective reads, and fit into the model."""

from __future__ import annotations

from typing import Any

from transformers import PreTrainedConfig, TrainingArguments

from sparring.errors import InputError
from sparring.log_ratios import PREFERENCE_FIELDS, REFERENCE_FIELDS, SUPERVISED_FIELDS
from sparring.models import context_length
from sparring.progress import console
from sparring.trainer.triples import Triples
from sparring.types import Objective


def check_fields(triples: Triples, objective: Objective, where: str) -> None:
    """Raises InputError if a triple lacks generated responses or preferences that the objective reads."""
    if not objective.requires <= SUPERVISED_FIELDS:
        bare = [number for number, triple in enumerate(triples.items) if not triple.generated_ids]
        if bare:
            fix = "give one or more in every row"
            raise InputError("there is no generated response", where=f"{where} row {bare[0]}", fix=fix)
    for name in objective.requires & PREFERENCE_FIELDS:
        if any(getattr(triple, name) is None for triple in triples.items):
            fix = f'give the column \'{name}\', or take {{"name": "spin"}}: on chosen and rejected it is DPO\'s loss'
            raise InputError(f"the objective needs a judge's '{name}', and a triple has none", where=where, fix=fix)
    for name in objective.requires & REFERENCE_FIELDS:
        if any(getattr(triple, name) is None for triple in triples.items):
            problem = "the objective needs the log-probs of a reference beside the opponent, and a triple lacks them"
            fix = "let `sparring train` play it, whose runs have a reference, or take another objective"
            raise InputError(problem, where=where, fix=fix)
    if "generated_next_tokens" in objective.requires and not all(triple.likely_tokens for triple in triples.items):
        raise InputError(
            "the objective needs what a scorer expects at each generated token, and a triple lacks it",
            where=where,
            fix="let `sparring train` play it, whose runs have a scorer, or take another objective",
        )


def check_trained(model: Any, optimizer: Any) -> None:
    """Raises InputError if a training would change no weight.

    Args:
        model: The model.
        optimizer: The optimizer that was passed, or None.
    """
    trained = {id(weight) for weight in model.parameters() if weight.requires_grad}
    if not trained:
        fix = (
            "call model.requires_grad_(), or give an adapter: peft_config=…, or "
            "PeftModel.from_pretrained(…, is_trainable=True)"
        )
        raise InputError("none of its weights is trained: requires_grad is false of all", where="model", fix=fix)
    if optimizer is not None and not any(
        id(weight) in trained for group in optimizer.param_groups for weight in group["params"]
    ):
        fix = (
            "make it of the weights of the model that is trained, which peft_config or a name makes here; or set optim"
        )
        raise InputError("holds none of the weights that are trained", where="optimizers", fix=fix)


def check_batches(triples: Triples, args: TrainingArguments) -> None:
    """Raises InputError if there are fewer rows than in a batch, and batches that are not full are left out."""
    size = args.train_batch_size * args.world_size
    if args.dataloader_drop_last and len(triples) < size:
        raise InputError(
            f"dataloader_drop_last leaves out all {len(triples)} rows: a batch has {size}",
            where="args.dataloader_drop_last",
            fix="leave it out, or lower per_device_train_batch_size",
        )


def check_ids(triples: Triples, config: PreTrainedConfig, where: str) -> None:
    """Raises InputError if a token id is not in the model's vocabulary."""
    size = config.get_text_config().vocab_size
    for number, triple in enumerate(triples.items):
        for ids in (triple.prompt_ids, *triple.responses):
            if not 0 <= min(ids) <= max(ids) < size:
                found = min(ids) if min(ids) < 0 else max(ids)
                problem = f"the token id {found} is none of the model's, which has {size}"
                fix = (
                    "tokenize with the model's own tokenizer; of tokens that were added, resize the model's embeddings"
                )
                raise InputError(problem, where=f"{where} row {number}", fix=fix)


def tell_shared(train: Triples, evaluation: Triples) -> None:
    """Warns if prompts of the evaluation set are trained on, since its numbers then mean less."""
    known = {tuple(each.prompt_ids) for each in train.items}
    shared = sum(tuple(each.prompt_ids) in known for each in evaluation.items)
    if shared:
        console.print(
            f"warning: {shared} of {len(evaluation)} prompts of eval_dataset are in train_dataset too: what is "
            "measured on them says how well they were learned, not how the policy does on others"
        )


def check_lengths(triples: Triples, config: PreTrainedConfig, where: str) -> None:
    """Raises InputError if a prompt and a response together are longer than the model's context.

    A run does not train on such a row either: it drops or cuts it before.
    """
    limit = context_length(config)
    lengths = [len(each.prompt_ids) + max(map(len, each.responses), default=0) for each in triples.items]
    long = [number for number, length in enumerate(lengths) if length > limit]
    if long:
        raise InputError(
            f"{len(long)} of {len(lengths)} rows are longer than the model's context of {limit} tokens; this one has "
            f"{lengths[long[0]]}, prompt and response together",
            where=f"{where} row {long[0]}",
            fix="cut such rows or leave them out before: the trainer cuts nothing",
        )
