"""The arguments of a trainer, which may be an id, a name or settings in place of a model or an objective."""

from __future__ import annotations

import dataclasses
import warnings
from collections.abc import Mapping, Sequence
from contextlib import suppress
from typing import Any

from transformers import TrainingArguments

from sparring.errors import InputError, in_a_line
from sparring.log_ratios import PREFERENCE_FIELDS
from sparring.models import ModelConfig, load_model, load_tokenizer
from sparring.objectives import OBJECTIVES
from sparring.progress import console
from sparring.registry import build
from sparring.regularizers import split_regularizers
from sparring.trainer.arguments import check_optimizer, check_sampling
from sparring.trainer.fields import MANAGED
from sparring.trainer.trackers import check_trackers
from sparring.types import Objective

_NO_LOGITS = "no logits are kept: a metric is one of the objective's, in the metrics of what it returns"
# Arguments of transformers' and TRL's trainers and of their configurations, and what takes their place.
_LOSSES = {"sigmoid": "dpo"}
_REPLACED = {
    "ref_model": "none is needed: the model as it is when training starts is the reference, and is scored once",
    "beta": 'it belongs to the objective, as in objective={"name": "dpo", "beta": 0.1}',
    "loss_type": 'it is the name of the objective: "sigmoid" is "dpo", "ipo" is "ipo"',
    "tokenizer": "write processing_class",
    "compute_loss_func": "the objective is the loss: write one that derives from sparring.types.Objective",
    "data_collator": "batches are put together here: give rows, as text or as token ids",
    **dict.fromkeys(("compute_metrics", "preprocess_logits_for_metrics"), _NO_LOGITS),
    **dict.fromkeys(("max_length", "max_prompt_length"), "nothing is cut here: cut or leave out long rows before"),
}


def check_names(given: Mapping[str, Any]) -> None:
    """Raises InputError if arguments of other trainers were given that have no meaning here."""
    replaced = [name for name in _REPLACED if name in given]
    if replaced:
        fix = "; ".join(f"{name}: {_REPLACED[name]}" for name in replaced)
        raise InputError("SelfPlayTrainer does not take this", where=", ".join(replaced), fix=fix)


def model_of(model: Any, tokenizer: Any, args: TrainingArguments | None, peft_config: Any) -> tuple[Any, Any]:
    """The model, with a new adapter if one is configured, and its tokenizer; loaded if they are an id or a folder.

    Raises:
        InputError: There is no such model, or it has an adapter already.
    """
    if isinstance(model, str):
        config = ModelConfig(name=model, device="cpu" if args is not None and args.use_cpu else "auto")
        model, tokenizer = load_model(config), load_tokenizer(config) if tokenizer is None else tokenizer
    return model if peft_config is None else _adapted(model, peft_config), tokenizer


def _adapted(model: Any, peft_config: Any) -> Any:
    """The model with a new adapter.

    Raises:
        InputError: It has one already. Then only the new one would be saved, and be loaded onto another model.
    """
    from peft import PeftModel, get_peft_model
    from peft.tuners.tuners_utils import BaseTunerLayer

    if isinstance(model, PeftModel) or any(isinstance(module, BaseTunerLayer) for module in model.modules()):
        raise InputError(
            "the model has an adapter already; peft puts one into the model that it is given, be it kept or not",
            where="peft_config",
            fix="leave it out to train that adapter on; or load the model anew, or take the adapter out by .unload()",
        )
    return get_peft_model(model, peft_config)


def objective_of(objective: Objective | str | Mapping[str, Any] | None) -> Objective:
    """The objective, given as itself, by its name, or by its settings: `{"name": "spin", "beta": 0.5}`.

    Raises:
        InputError: None is given, or the name or a setting is unknown or wrong.
    """
    if objective is None:
        fix = (
            'pass objective={"name": "dpo", "beta": 0.1} for DPO on chosen and rejected, or another of docs/concepts.md'
        )
        raise InputError("the objective is missing", where="objective", fix=fix)
    if isinstance(objective, str):
        objective = {"name": objective}
    if not isinstance(objective, Mapping):
        if Objective not in type(objective).__mro__:
            fix = 'write {"name": "spin", …}, or give an object that derives from sparring.types.Objective'
            raise InputError(f"must be an objective, got {type(objective).__name__}", where="objective", fix=fix)
        return objective
    options = dict(objective)
    name = options.pop("name", None)
    if not isinstance(name, str):
        raise InputError("has no name", where="objective", fix='write {"name": "spin", …}, or the name alone')
    return build(OBJECTIVES, "objective", name, options)


def takes_pairs(objective: Objective) -> bool:
    """Whether an objective learns from pairs of a chosen and a rejected response, whoever wrote them."""
    alone, _ = split_regularizers(objective)
    return alone.compares_any_pair and bool(alone.requires & PREFERENCE_FIELDS)


def check_kinds(args: Any, processing_class: Any, peft_config: Any, **datasets: Any) -> None:
    """Checks that no name, path or mapping is given where an object is needed.

    Raises:
        InputError: One is.
    """
    if args is not None and not isinstance(args, TrainingArguments):
        fix = "pass transformers.TrainingArguments(output_dir=…, …)"
        raise InputError(f"must be training arguments, got {type(args).__name__}", where="args", fix=fix)
    if isinstance(processing_class, str):
        fix = "pass AutoTokenizer.from_pretrained(…), or the model by its name and no tokenizer"
        raise InputError("must be a tokenizer, got str", where="processing_class", fix=fix)
    if isinstance(peft_config, Mapping):
        fix = 'pass peft.LoraConfig(…, task_type="CAUSAL_LM")'
        raise InputError(
            f"must be a peft configuration, got {type(peft_config).__name__}", where="peft_config", fix=fix
        )
    for where, rows in datasets.items():
        if isinstance(rows, str | Mapping):
            fix = 'load it and choose a split: datasets.load_dataset(…, split="train")'
            raise InputError(f"must be rows, got {type(rows).__name__}", where=where, fix=fix)


def check_arguments(args: TrainingArguments, objective: Objective) -> None:
    """Checks the trackers, and names the arguments of another trainer that have no effect.

    Raises:
        InputError: A tracker is unknown, or its package is missing; or a setting was given that would change the loss
            or the batches in another trainer, but does not here.
    """
    if args.label_smoothing_factor:
        fix = MANAGED["label_smoothing_factor"]
        raise InputError("would not be heeded", where="args.label_smoothing_factor", fix=fix)
    check_sampling(args.train_sampling_strategy, where="args.train_sampling_strategy")
    try:
        check_trackers(args.report_to)
    except Exception as error:
        # The package of a tracker may raise any error if it is missing or not set up.
        fix = "install its package, or set report_to to 'none'"
        raise InputError(in_a_line(error), where="args.report_to", fix=fix) from error
    try:
        check_optimizer(args)
    except ImportError as error:
        fix = "install its package, or take another, such as adamw_torch"
        raise InputError(in_a_line(error), where="args.optim", fix=fix) from error
    added, changed = _foreign(args)
    _check_loss(args, objective, changed)
    _tell_unread(args, added, changed)


def _foreign(args: TrainingArguments) -> tuple[list[str], list[str]]:
    """The fields that another trainer's arguments have besides transformers', with the ones that were set."""
    known = {field.name for field in dataclasses.fields(TrainingArguments)}
    added = {field.name: field for field in dataclasses.fields(args) if field.name not in known}
    untouched = _untouched(args)
    changed = [
        name for name, field in added.items() if getattr(args, name) != getattr(untouched, name, _default(field))
    ]
    return [*added], changed


def _check_loss(args: Any, objective: Objective, changed: Sequence[str]) -> None:
    """Raises InputError if the arguments set another loss than the objective."""
    name = next((name for name, kind in OBJECTIVES.items() if type(objective) is kind), None)
    told = []
    if "loss_type" in changed and name is not None:
        losses = [args.loss_type] if isinstance(args.loss_type, str) else args.loss_type
        if [_LOSSES.get(each, each) for each in losses] != [name]:
            told.append(f"loss_type is {' and '.join(map(repr, losses))}, and the objective is '{name}'")
    beta = getattr(objective, "beta", None)
    if "beta" in changed and beta is not None and args.beta != beta:
        told.append(f"beta is {args.beta:g}, and the objective's is {beta:g}")
    if told:
        fix = 'set the loss in one place, objective={"name": …}, and leave it out of the arguments'
        raise InputError("; ".join(told), where="args", fix=fix)


def _tell_unread(args: TrainingArguments, added: Sequence[str], changed: Sequence[str]) -> None:
    """Names the settings of another trainer's loss that have no effect, and what takes their place."""
    # Settings with a counterpart here are named at their defaults too, since these are not the values that train. The
    # loss follows from the objective's name, so it is named only if it differs.
    there = [name for name in _REPLACED if hasattr(args, name)]
    replaced = [name for name in there if name != "loss_type" or name in changed or name not in added]
    named = [f"{name}: {_REPLACED[name]}" for name in replaced] + [name for name in changed if name not in replaced]
    if added or replaced:
        told = "".join(f"\n  {each}" for each in named)
        console.print(f"args: what TrainingArguments does not have is not read{':' if told else ''}{told}")


def _untouched(args: TrainingArguments) -> TrainingArguments | None:
    """Arguments of the same class at its defaults; some fields get a value only when an object is made."""
    # The class of another trainer may need any argument, and raise any error.
    with suppress(Exception), warnings.catch_warnings():
        warnings.simplefilter("ignore")
        return type(args)(output_dir=args.output_dir, use_cpu=args.use_cpu, report_to="none")
    return None


def _default(field: dataclasses.Field[Any]) -> Any:
    return field.default_factory() if callable(field.default_factory) else field.default
