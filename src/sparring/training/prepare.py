"""Checks everything that can be checked before a model is loaded."""

from __future__ import annotations

import dataclasses
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any

from sparring.data import CALLED, VERIFIERS, Dataset, Encoded, chat_template, encode, load
from sparring.errors import InputError
from sparring.generation import engine
from sparring.generation.engines import Engine
from sparring.judges import Expert, Pairwise, RewardModel, VerifierJudge
from sparring.judges.protocol import JudgeSettings
from sparring.models import context_length, load_config, load_tokenizer, resolve
from sparring.progress import console
from sparring.training.arguments import arguments_of, autocast_dtype
from sparring.training.config import SelfPlayConfig
from sparring.training.phases import Phase, naming, phases_of, row_needs
from sparring.training.players import held_out_judge
from sparring.training.policy import lora_config
from sparring.training.sampling import engine_model
from sparring.training.teacher import Teacher, teacher_of
from sparring.training.workers import check_workers
from sparring.types import EncodedExample

_SHOWN = 10
_JUDGE_MODEL = "give a folder that `save_pretrained` wrote, or a Hugging Face id (owner/model)"


@dataclass(frozen=True, kw_only=True)
class Prepared:
    """A configuration that was checked, with its components built and its data as token ids."""

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


def prepare(config: SelfPlayConfig) -> Prepared:
    """Checks a configuration from the cheapest part to the dearest; no weights are loaded.

    Raises:
        InputError: Something is wrong with it, its data, its model or its tokenizer.
    """
    phases = phases_of(config)
    judge = held_out_judge(config.evaluation.judge, [phase.judge for phase in phases])
    _check_training(config)
    data = load(config.data, config.seed, row_needs(config, phases))
    model_config, tokenizer = load_config(config.model), run_tokenizer(config)
    context = context_length(model_config)
    verifier = VERIFIERS[config.data.verifier]() if config.data.verifier is not None else None
    held_out_by = _able(config, judge, data)
    _check_stop(config, data, verifier, held_out_by)
    _check_judges(config, phases)
    train = encode(data.train, tokenizer, config.data, context_length=context)
    _check_prompts(config, phases, train.examples)
    _check_experts(config, phases, train)
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
        console.print(f"{len(skipped)} rows were left out:", highlight=False)
        for where, reason in skipped[:_SHOWN]:
            console.print(f"  {where}: {reason}", highlight=False)
        if len(skipped) > _SHOWN:
            console.print(f"  … and {len(skipped) - _SHOWN} more, listed in manifest.json", highlight=False)
    for part, encoded in (("training", prepared.train), ("held-out", prepared.held_out)):
        counts = {name.replace("_", " "): n for name, n in _counts(encoded).items() if name != "examples" and n}
        if counts:
            text = ", ".join(f"{n} {name}" for name, n in counts.items())
            console.print(f"{part} examples: {text}", highlight=False)
    for phase in prepared.phases:
        played, known = len(phase.prompts(prepared.train.examples)), len(prepared.train.examples)
        if prepared.config.phases or played < known:
            span = f"iterations {phase.iterations.start} to {phase.iterations[-1]}"
            text = f"phase {phase.number}, {phase.title}: {span}, on {played} of {known} prompts"
            console.print(text, highlight=False)


def run_tokenizer(config: SelfPlayConfig) -> Any:
    """The model's tokenizer with the run's chat template, so that what is saved prompts as it was trained."""
    tokenizer = load_tokenizer(config.model)
    template = chat_template(config.data.chat_template)
    if template is not None:
        tokenizer.chat_template = template
    return tokenizer


def _check_training(config: SelfPlayConfig) -> None:
    if config.warmup is not None:
        arguments_of(config, config.training | config.warmup.training)
    own = arguments_of(config, config.training)
    for number, phase in enumerate(config.phases):
        with naming(config, number):
            if autocast_dtype(arguments_of(config, phase.training)) != autocast_dtype(own):
                raise InputError(
                    "the run has one mixed precision, in which all of its policies are scored",
                    where="training",
                    fix="leave bf16 and fp16 out here, and set them in the run's own training",
                )
    check_workers(config, own.device)
    if config.lora is not None:
        lora_config(config.lora)


def _able(config: SelfPlayConfig, judge: JudgeSettings | None, data: Dataset) -> JudgeSettings | None:
    """The judge of held-out responses, or None where it compares with the expert's, and none is held out.

    Raises:
        InputError: It was asked for.
    """
    if judge is None or not judge.needs_expert or (data.held_out and data.held_out[0].response is not None):
        return judge
    if config.evaluation.judge is not None and data.held_out:
        problem = "it compares with the expert's response, and no held-out row has one"
        raise InputError(problem, where="evaluation.judge", fix="take another judge, or hold out rows that have one")
    return None


def _check_stop(config: SelfPlayConfig, data: Dataset, verifier: object, judge: JudgeSettings | None) -> None:
    metric = config.stop.metric
    if not config.stop.enabled or metric == "auto":
        return
    if metric.startswith("accuracy") and verifier is None:
        fix = "set data.verifier, or another metric"
        raise InputError(f"'{metric}' needs a verifier", where="stop.metric", fix=fix)
    if metric == "win_rate/base":
        if judge is None:
            fix = "set evaluation.judge, or another metric"
            raise InputError("nobody compares held-out responses", where="stop.metric", fix=fix)
        return
    if data.held_out and data.held_out[0].response is None:
        problem = f"'{metric}' compares with expert responses, and no held-out row has one"
        raise InputError(problem, where="stop.metric", fix="set it to auto, or hold out rows that have one")


def _check_judges(config: SelfPlayConfig, phases: Sequence[Phase]) -> None:
    """Raises InputError where a judge's model is not there, or its rule cannot be imported."""
    for phase in phases:
        with naming(config, phase.number):
            if isinstance(phase.judge, VerifierJudge):
                phase.judge.check_import()
            elif isinstance(phase.judge, RewardModel | Pairwise):
                try:
                    resolve(phase.judge.model)
                except InputError as error:
                    raise InputError(error.problem, where="judge.model", fix=_JUDGE_MODEL) from error


def _check_prompts(config: SelfPlayConfig, phases: Sequence[Phase], train: Sequence[EncodedExample]) -> None:
    """Raises InputError where a phase, or the warm-up, has nothing to play on, or cannot play on all of it at once."""
    if config.warmup is not None and not any(item.expert_ids for item in train):
        fix = "add rows with one, or remove the warm-up"
        raise InputError("no training row has an expert response, which the warm-up needs", where="warmup", fix=fix)
    for phase in phases:
        prompts = phase.prompts(train)
        with naming(config, phase.number):
            if not prompts:
                fix = "add some, or take another objective or judge"
                wishes = " and ".join(CALLED[part] for part in sorted(phase.needs))
                problem = f"no training row has what {phase.title} needs: {wishes}"
                raise InputError(problem, where="objective.name", fix=fix)
            counts = {len(item.compared_ids): item for item in reversed(prompts)} if phase.given else {}
            if len(counts) > 1:
                rows = " and ".join(f"data row {item.index + 1} has {count}" for count, item in counts.items())
                raise InputError(
                    f"the rows have different numbers of responses to compare: {rows}",
                    where="responses",
                    fix="give the same number for every prompt",
                )


def _check_experts(config: SelfPlayConfig, phases: Sequence[Phase], train: Encoded) -> None:
    """Raises InputError where a judge would compare with expert responses that tell it nothing, or not what trains."""
    if config.data.teacher is not None:
        # It writes them later.
        return
    for phase in phases:
        experts = [item for item in phase.prompts(train.examples) if item.response is not None]
        judge = phase.judge
        with naming(config, phase.number):
            if isinstance(judge, VerifierJudge) and not any(
                judge.finds_answer(item.response or "") for item in experts
            ):
                problem = f"'{judge.rule}' finds no answer in any expert response, such as {experts[0].response!r}"
                raise InputError(problem, where="judge.rule", fix="take a rule, or a pattern, that fits the data")
            cut = sum(item.expert_ids[-1] not in train.stop_ids for item in experts)
            if phase.expert_plays and not isinstance(judge, Expert) and cut:
                raise InputError(
                    f"the expert plays, and {cut} of its responses are cut at data.max_response_tokens: what the judge "
                    "sees whole would be trained on in part",
                    where="judge.expert_plays",
                    fix="raise data.max_response_tokens, or set data.overlong_response: drop",
                )


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
        if item.name not in {"examples", "stop_ids", "skipped", "findings"}
    }
    return {"examples": len(encoded.examples)} | counts
