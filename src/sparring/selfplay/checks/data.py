"""Checks that the data have the fields that the run trains on, and those that its early stop needs."""

from __future__ import annotations

from collections.abc import Sequence

from sparring.data import CALLED, Dataset, prompts_of_iteration
from sparring.errors import InputError
from sparring.examples import EncodedExample
from sparring.judges import JudgeSettings
from sparring.log_ratios import EARLIER_FIELDS
from sparring.selfplay.config.schema import SelfPlayConfig
from sparring.selfplay.config.warmup import WarmupConfig
from sparring.selfplay.phases import Phase, errors_name_phase

# The field of a held-out row that each kind of metric reads.
_READ = {"accuracy": "reference_answer", "log_likelihood": "response", "preference": "comparison"}


def check_stop(config: SelfPlayConfig, data: Dataset, verifier: object, judge: JudgeSettings | None) -> None:
    """Raises InputError where `stop.metric` cannot be measured on the held-out set."""
    metric = config.stop.metric
    if not config.stop.enabled or metric == "auto":
        return
    if metric.startswith(("accuracy", "win_rate")) and not config.evaluation.answers:
        problem = f"'{metric}' is measured on answers to held-out prompts, and evaluation.answers is false"
        raise InputError(problem, where="stop.metric", fix="leave evaluation.answers out, or set another metric")
    if metric.startswith("accuracy") and verifier is None:
        fix = "set data.verifier, or another metric"
        raise InputError(f"'{metric}' needs a verifier", where="stop.metric", fix=fix)
    if metric == "win_rate/base":
        if judge is None:
            fix = "set evaluation.judge, or another metric"
            raise InputError("nobody compares held-out responses", where="stop.metric", fix=fix)
        return
    needed = _READ[metric.partition("/")[0]]
    if data.held_out and all(getattr(row, needed) is None for row in data.held_out):
        problem = f"'{metric}' needs {CALLED[needed]}, and no held-out row has that"
        raise InputError(problem, where="stop.metric", fix="set it to auto, or hold out rows that have it")


def _check_warmup(config: WarmupConfig, train: Sequence[EncodedExample]) -> None:
    taught, validation = config.split(train)
    if not taught and not validation:
        fix = "add rows with one, or remove the warm-up"
        raise InputError("no training row has an expert response, which the warm-up needs", where="warmup", fix=fix)
    if not taught:
        problem = f"all {len(validation)} training rows with an expert response are set apart, so none is trained on"
        raise InputError(problem, where="warmup.validation", fix="lower it, add rows, or remove until: plateau")


def check_prompts(config: SelfPlayConfig, phases: Sequence[Phase], train: Sequence[EncodedExample]) -> None:
    """Raises InputError where a phase or the warm-up has no prompts, or prompts with different numbers of responses."""
    if config.warmup is not None:
        _check_warmup(config.warmup, train)
    if config.control and not any(item.response is not None for item in train):
        problem = "no training row has an expert response, which the control trains on"
        raise InputError(problem, where="control", fix="add rows with one, or remove control")
    for phase in phases:
        prompts = phase.prompts(train)
        with errors_name_phase(config, phase.number):
            if not prompts:
                fix = "add some, or take another objective or judge"
                wishes = " and ".join(CALLED[part] for part in sorted(phase.needs))
                problem = f"no training row has what {phase.title} needs: {wishes}"
                raise InputError(problem, where="objective.name", fix=fix)
            _check_lessons(config, phase, prompts)
            if config.data.prompts_per_iteration is not None and phase.objective.requires & EARLIER_FIELDS:
                raise InputError(
                    f"{phase.title} learns from earlier policies' responses to the same prompts in every iteration",
                    where="data.prompts_per_iteration",
                    fix="remove it, or take another objective",
                )
            counts = {len(item.compared_ids): item for item in reversed(prompts)} if phase.given else {}
            if len(counts) > 1:
                rows = " and ".join(f"data row {item.index + 1} has {count}" for count, item in counts.items())
                raise InputError(
                    f"the rows have different numbers of responses to compare: {rows}",
                    where="responses",
                    fix="give the same number for every prompt",
                )


def _check_lessons(config: SelfPlayConfig, phase: Phase, prompts: Sequence[EncodedExample]) -> None:
    """Raises InputError where a reward player that learns from experts has too few of them in some iteration."""
    player = phase.reward_player
    if player is None or config.data.teacher is not None:
        return
    for iteration in phase.iterations:
        played = prompts_of_iteration(len(prompts), config.data.prompts_per_iteration, iteration, config.seed)
        taught = {tuple(prompts[position].prompt_ids) for position in played if prompts[position].expert_ids}
        if len(taught) < player.folds:
            rotates = config.data.prompts_per_iteration is not None
            when = f" in iteration {iteration}" if rotates else ""
            more = "raise data.prompts_per_iteration" if rotates else "give more prompts an expert's response"
            raise InputError(
                f"the reward player learns from at least {player.folds} different prompts with an expert's response, "
                f"one for each fold, and has {len(taught)}{when}",
                where="evaluation.explicit_reward" if phase.judge is None else "judge.folds",
                fix=f"{more}, or do without it" if phase.judge is None else f"{more}, or lower the number of folds",
            )
