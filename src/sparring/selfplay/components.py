"""From names in a configuration to the components that play."""

from __future__ import annotations

from collections.abc import Iterable
from typing import Literal

from sparring.errors import InputError
from sparring.judges import JUDGES, Expert, Llm
from sparring.judges.protocol import JudgeSettings
from sparring.objectives import OBJECTIVES
from sparring.opponents import OPPONENTS
from sparring.registry import build
from sparring.regularizers import REGULARIZERS, Regularized
from sparring.selfplay.config.schema import Component, PhaseConfig
from sparring.types import Objective, Opponent


def objective_of(config: PhaseConfig) -> Objective:
    """The objective with its regularizers.

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
    """The opponent.

    Raises:
        InputError: Its name or a setting is wrong.
    """
    return build(OPPONENTS, "opponent", config.opponent.name, config.opponent.options)


def judge_of(config: PhaseConfig) -> JudgeSettings | None:
    """The settings of the judge that a phase names, if it names one.

    Raises:
        InputError: Its name or a setting is wrong.
    """
    return None if config.judge is None else build(JUDGES, "judge", config.judge.name, config.judge.options)


def held_out_judge(
    wanted: Component | Literal["training", "none"] | None, of_training: Iterable[JudgeSettings | None]
) -> JudgeSettings | None:
    """The settings of the judge that compares policies on the held-out set, if there is any.

    Args:
        wanted: As `EvaluationConfig.judge`.
        of_training: The judges of the phases, in order.

    Raises:
        InputError: The judge is wrong, or cannot compare two policies, or there is none in training.
    """
    # The judge `expert` prefers the expert to any policy, and never one policy to another.
    known = next((judge for judge in of_training if judge is not None and not isinstance(judge, Expert)), None)
    if isinstance(wanted, Component):
        judge: JudgeSettings = build(JUDGES, "judge", wanted.name, wanted.options)
        if isinstance(judge, Expert):
            problem = "the judge 'expert' never prefers one policy to another"
            raise InputError(problem, where="evaluation.judge", fix="take another judge")
        return judge
    if wanted == "training" and known is None:
        problem = "no judge of training could compare two policies"
        raise InputError(problem, where="evaluation.judge", fix="name a judge here")
    return known if wanted == "training" or (wanted is None and not isinstance(known, Llm)) else None
