"""A configuration that was checked, from the cheapest part to the dearest, before a model is loaded."""

from __future__ import annotations

import dataclasses
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

from sparring.data import VERIFIERS, Dataset, Encoded, chat_template, encode, load
from sparring.generation import engine, generator_class
from sparring.generation.protocol import Engine
from sparring.judges import JudgeSettings
from sparring.models import context_length, load_config, load_tokenizer
from sparring.progress import console
from sparring.selfplay.checks.data import check_prompts, check_stop
from sparring.selfplay.checks.judges import check_experts, check_judges, usable_judge
from sparring.selfplay.checks.training import check_training
from sparring.selfplay.components import held_out_judge
from sparring.selfplay.config.schema import SelfPlayConfig
from sparring.selfplay.engine import engine_model
from sparring.selfplay.phases import Phase, phases_of, row_needs
from sparring.selfplay.teacher import Teacher, teacher_of

_SHOWN = 10


@dataclass(frozen=True, kw_only=True)
class Prepared:
    """A configuration that was checked, with its components built and its data as token ids.

    Attributes:
        config: The configuration.
        phases: What is played, in order.
        tokenizer: The model's, with the run's chat template.
        model_config: The model's own configuration.
        data: The data as text.
        teacher: The language model that plays the expert, if one does.
        train: The training prompts as token ids.
        held_out: Likewise the held-out ones; None where nothing is held out.
        verifier: Tells right responses from wrong ones, where the data have such a rule.
        held_out_judge: The settings of who compares policies on the held-out set, if anybody does.
        engine: What samples in place of the policy's own model, if anything does.
    """

    config: SelfPlayConfig
    phases: tuple[Phase, ...]
    tokenizer: Any
    model_config: Any
    data: Dataset
    teacher: Teacher | None
    train: Encoded
    held_out: Encoded | None
    verifier: Callable[[str, str], bool] | None
    held_out_judge: JudgeSettings | None
    engine: Engine | None

    def without_data(self) -> Prepared:
        """The same without prompts and responses, which a worker elsewhere has no use for."""
        return dataclasses.replace(
            self,
            data=dataclasses.replace(self.data, train=[], held_out=[]),
            train=dataclasses.replace(self.train, examples=[]),
            held_out=None,
            teacher=None if self.teacher is None else dataclasses.replace(self.teacher, train=[], held_out=[]),
        )


def prepare(config: SelfPlayConfig) -> Prepared:
    """Checks a configuration from the cheapest part to the dearest; no weights are loaded.

    Raises:
        InputError: Something is wrong with it, its data, its model or its tokenizer.
    """
    phases = phases_of(config)
    judge = held_out_judge(config.evaluation.judge, [phase.judge for phase in phases])
    check_training(config)
    # The user's own code is imported before anything else is made.
    generator_class(config.generation)
    data = load(config.data, config.seed, row_needs(config, phases))
    model_config, tokenizer = load_config(config.model), run_tokenizer(config)
    context = context_length(model_config)
    verifier = VERIFIERS[config.data.verifier]() if config.data.verifier is not None else None
    held_out_by = usable_judge(config, judge, data)
    check_stop(config, data, verifier, held_out_by)
    check_judges(config, phases, held_out_by)
    train = encode(data.train, tokenizer, config.data, context_length=context)
    check_prompts(config, phases, train.examples)
    check_experts(config, phases, train)
    held_out = encode(data.held_out, tokenizer, config.data, context_length=context) if data.held_out else None
    teacher = teacher_of(config, model_config, tokenizer, train, held_out)
    return Prepared(
        config=config,
        phases=phases,
        tokenizer=tokenizer,
        model_config=model_config,
        data=data,
        teacher=teacher,
        train=train,
        held_out=held_out,
        verifier=verifier,
        held_out_judge=held_out_by,
        engine=engine(config.generation, lambda: engine_model(config, model_config, train, held_out, teacher)),
    )


def announce(prepared: Prepared) -> None:
    """Says what was left out or cut, so that nobody has to read the manifest to learn of it."""
    skipped = prepared.data.report.skipped
    if skipped:
        console.print(f"{len(skipped)} rows were left out:")
        for where, reason in skipped[:_SHOWN]:
            console.print(f"  {where}: {reason}")
        if len(skipped) > _SHOWN:
            console.print(f"  … and {len(skipped) - _SHOWN} more, listed in manifest.json")
    for part, encoded in (("training", prepared.train), ("held-out", prepared.held_out)):
        counts = {name.replace("_", " "): n for name, n in _counts(encoded).items() if name != "examples" and n}
        if counts:
            text = ", ".join(f"{n} {name}" for name, n in counts.items())
            console.print(f"{part} examples: {text}")
    for phase in prepared.phases:
        played, known = len(phase.prompts(prepared.train.examples)), len(prepared.train.examples)
        if prepared.config.phases or played < known:
            span = f"iterations {phase.iterations.start} to {phase.iterations[-1]}"
            text = f"phase {phase.number}, {phase.title}: {span}, on {played} of {known} prompts"
            console.print(text)


def run_tokenizer(config: SelfPlayConfig) -> Any:
    """The model's tokenizer with the run's chat template, so that what is saved prompts as it was trained."""
    tokenizer = load_tokenizer(config.model)
    template = chat_template(config.data.chat_template)
    if template is not None:
        tokenizer.chat_template = template
    return tokenizer


def data_summary(prepared: Prepared) -> dict[str, Any]:
    """What became of the data: rows read, left out, and cut, with reasons."""
    report = prepared.data.report
    return {
        "read": report.read,
        "kept": report.kept,
        "skipped": [list(item) for item in report.skipped],
        "train": _counts(prepared.train),
        "held_out": _counts(prepared.held_out),
        "stop_ids": list(prepared.train.stop_ids),
    }


def _counts(encoded: Encoded | None) -> dict[str, int]:
    if encoded is None:
        return {"examples": 0}
    counts = {
        item.name: getattr(encoded, item.name)
        for item in dataclasses.fields(encoded)
        if item.name not in {"examples", "stop_ids"}
    }
    return {"examples": len(encoded.examples)} | counts
