"""Builds the components that a configuration names."""

from __future__ import annotations

from collections.abc import Iterable
from typing import Literal

from sparring.errors import InputError
from sparring.judges import JUDGES, JudgeSettings
from sparring.objectives import OBJECTIVES
from sparring.opponents import OPPONENTS
from sparring.own_code import is_own
from sparring.registry import build
from sparring.regularizers import REGULARIZERS, Regularized
from sparring.selfplay.config.schema import Component, PhaseConfig, SelfPlayConfig
from sparring.selfplay.config.scorer import ScorerConfig
from sparring.types import Objective, Opponent


def objective_of(config: PhaseConfig) -> Objective:
    """The objective of a phase, with its regularizers.

    Raises:
        InputError: A name or a setting is wrong.
    """
    objective: Objective = build(OBJECTIVES, "objective", config.objective.name, config.objective.options)
    if config.regularizers:
        penalties = [build(REGULARIZERS, "regularizer", item.name, item.options) for item in config.regularizers]
        try:
            objective = Regularized(objective, penalties)
        except ValueError as error:
            raise InputError(str(error), where="regularizers") from error
    return objective


def opponent_of(config: PhaseConfig) -> Opponent:
    """The opponent of a phase.

    Raises:
        InputError: Its name or a setting is wrong.
    """
    return build(OPPONENTS, "opponent", config.opponent.name, config.opponent.options)


def judge_of(config: PhaseConfig) -> JudgeSettings | None:
    """The settings of a phase's judge; None where it has none.

    Raises:
        InputError: Its name or a setting is wrong.
    """
    return None if config.judge is None else _judge(config.judge)


def scorer_of(config: PhaseConfig, objective: Objective) -> ScorerConfig | None:
    """The settings of a phase's scorer; None where its objective reads none."""
    return (config.scorer or ScorerConfig()) if "generated_next_tokens" in objective.requires else None


def named_judges(config: SelfPlayConfig, *, own: bool = True) -> dict[str, JudgeSettings]:
    """The settings of every judge in a configuration, by the dotted key that names it.

    Args:
        config: The configuration.
        own: Whether to include judges of the user's own, whose code is then imported.

    Raises:
        InputError: A name or a setting is wrong.
    """
    phases = {f"phases.{number}.judge": phase.judge for number, phase in enumerate(config.phases)}
    named = {"judge": config.judge, **phases, "evaluation.judge": config.evaluation.judge}
    components = {where: judge for where, judge in named.items() if isinstance(judge, Component)}
    return {where: _judge(judge) for where, judge in components.items() if own or not is_own(judge.name)}


def _judge(named: Component) -> JudgeSettings:
    return build(JUDGES, "judge", named.name, named.options)


def held_out_judge(
    wanted: Component | Literal["training", "none"] | None, of_training: Iterable[JudgeSettings | None]
) -> JudgeSettings | None:
    """The settings of the judge that compares policies on the held-out set; None for no judge.

    Args:
        wanted: As `EvaluationConfig.judge`.
        of_training: The judges of the phases, in order.

    Raises:
        InputError: The judge is wrong or cannot compare two policies; or "training" is wanted, and no phase has a judge
            that can.
    """
    first = next((judge for judge in of_training if judge is not None and judge.ranks_policies), None)
    if isinstance(wanted, Component):
        judge = _judge(wanted)
        if not judge.ranks_policies:
            problem = f"the judge '{wanted.name}' never prefers one policy to another"
            raise InputError(problem, where="evaluation.judge", fix="take another judge")
        return judge
    if wanted == "training" and first is None:
        problem = "no judge of training can compare two policies"
        raise InputError(problem, where="evaluation.judge", fix="name a judge here")
    return first if wanted == "training" or (wanted is None and first and not first.may_cost_money) else None
