"""From names in a configuration to the objective that is minimised and the judge that it may need."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from typing import Literal

import torch

from sparring.errors import InputError
from sparring.judges import JUDGES, Expert, Llm
from sparring.judges.protocol import JudgeSettings
from sparring.objectives import OBJECTIVES
from sparring.registry import build
from sparring.regularizers import REGULARIZERS, Regularized
from sparring.training.config import Component, PhaseConfig
from sparring.types import PREFERENCES, Objective, Opponent, Regularizer

# What holds of any two responses of which one is preferred; the others regress on a win rate against draws of π_o.
_COMPARING = ("dpo", "ipo", "inpo")


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


def judge_of(config: PhaseConfig, objective: Objective) -> JudgeSettings | None:
    """The judge's settings, where the objective learns from a judge's preferences.

    Raises:
        InputError: It is missing, of no use, or wrong; there is nothing to compare; or something would take a response
            of the expert or of the data for a draw of π_o.
    """
    name, needed = config.objective.name, bool(objective.requires & PREFERENCES)
    if config.responses == "data":
        _check_given(config, objective)
        return None
    if config.judge is None:
        if needed:
            problem = f"objective '{name}' needs preferences, which only a judge can give"
            fix = f"add judge: {{name: …}} ({', '.join(JUDGES)}), or take an imitation objective, such as spif"
            raise InputError(problem, where="objective.name", fix=fix)
        return None
    if not needed:
        fix = "remove the judge; in a phase of a run that has one, set judge: null"
        raise InputError(f"objective '{name}' reads no preferences", where="judge", fix=fix)
    judge: JudgeSettings = build(JUDGES, "judge", config.judge.name, config.judge.options)
    if isinstance(judge, Expert) and not config.judge.expert_plays:
        problem, fix = "the expert can win only where it plays", "set judge.expert_plays: true"
        raise InputError(problem, where="judge.expert_plays", fix=fix)
    if config.judge.expert_plays:
        _check_regularizers(objective, "the expert's response, which plays among them,", "judge.expert_plays", "false")
    if config.generation.samples_per_prompt + config.judge.expert_plays < 2:
        problem, fix = "there is nothing to compare one response with", "set it to 2 or more"
        raise InputError(problem, where="generation.samples_per_prompt", fix=fix)
    return judge


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


def check_importance(config: PhaseConfig, objective: Objective, opponent: Opponent) -> None:
    """Refuses importance weights e^Δ where the samples are no draws of the π_o in Δ.

    Raises:
        InputError: A regularizer has them, and the opponent's samples are others', or drawn at another temperature.
    """
    weighted = [each.name for each in _regularizers(objective) if getattr(each, "importance", False)]
    generation = config.generation
    plain = (generation.temperature, generation.top_p, generation.top_k) == (1.0, 1.0, 0)
    if not weighted or (plain and _draws_what_it_scores(opponent)):
        return
    why = f"the opponent '{config.opponent.name}' draws others" if plain else "temperature, top-p or top-k skews them"
    raise InputError(
        f"the importance weight e^Δ of '{weighted[0]}' is for draws of the π_o in Δ, and {why}",
        where="regularizers",
        fix="sample at temperature 1 against the opponent previous or fictitious-play (arithmetic), or set the "
        "regularizer's importance: false",
    )


def _draws_what_it_scores(opponent: Opponent) -> bool:
    """Whether log π_o in Δ is that of the mixture that generates; asked with two made-up policies."""
    spec = opponent.spec(1)
    if spec.base_share > 0.0 or set(spec.generators) != set(spec.scorers):
        return False
    made_up = torch.tensor([[0.5, 0.5], [0.1, 0.9]])
    log_probs = {policy: row.log() for policy, row in zip(spec.generators, made_up, strict=False)}
    drawn = torch.stack([log_probs[policy] for policy in spec.generators]).exp().mean(0)
    return torch.allclose(opponent.combine(1, log_probs).exp(), drawn)


def _regularizers(objective: Objective) -> Sequence[Regularizer]:
    return objective.regularizers if isinstance(objective, Regularized) else ()


def _check_given(config: PhaseConfig, objective: Objective) -> None:
    """Responses and preferences of the data need an objective that compares responses, whoever wrote them."""
    name = config.objective.name
    if config.judge is not None:
        fix = "remove the judge, or set responses: opponent"
        raise InputError("the data say themselves who beats whom", where="judge", fix=fix)
    if name not in _COMPARING:
        problem = f"objective '{name}' learns from draws of the opponent, and the data's responses are none"
        raise InputError(problem, where="responses", fix=f"set it to opponent, or take {', '.join(_COMPARING)}")
    _check_regularizers(objective, "the data's response", "responses", "opponent")


def _check_regularizers(objective: Objective, what: str, where: str, mend: str) -> None:
    for each in _regularizers(objective):
        if any(field.endswith("generated") for field in each.requires):
            raise InputError(
                f"regularizer '{each.name}' averages over draws of the opponent, and {what} is none",
                where=where,
                fix=f"set it to {mend}, or take the regularizer sft or forward-kl with samples: reference",
            )
