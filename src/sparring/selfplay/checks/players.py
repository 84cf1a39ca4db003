"""Checks that the objective, the judge, the opponent and the sampling of a phase fit together."""

from __future__ import annotations

import torch

from sparring.errors import InputError
from sparring.generation import names
from sparring.judges import JUDGES, JudgeSettings
from sparring.log_ratios import DRAWN_FIELDS, PREFERENCE_FIELDS, TEAM_FIELDS
from sparring.objectives import OBJECTIVES
from sparring.regularizers import split_regularizers
from sparring.selfplay.config.schema import PhaseConfig, SelfPlayConfig
from sparring.selfplay.config.scorer import ScorerConfig
from sparring.types import Objective, Opponent


def check_judge(config: PhaseConfig, objective: Objective, judge: JudgeSettings | None) -> None:
    """Checks that a phase has a judge exactly where it needs one, and that the judge has something to compare.

    Raises:
        InputError: It is not so; or a response of the expert or of the data would count as a draw of π_o.
    """
    name, needed = config.objective.name, bool(objective.requires & PREFERENCE_FIELDS)
    if config.responses == "data":
        _check_given(config, objective)
        return
    if judge is None or config.judge is None:
        if needed:
            problem = f"objective '{name}' needs preferences, which only a judge can give"
            fix = f"add judge: {{name: …}} ({', '.join(JUDGES)}), or take an imitation objective, such as spif"
            if split_regularizers(objective)[0].compares_any_pair:
                fix += "; where the data hold preferences, set responses: data"
            raise InputError(problem, where="objective.name", fix=fix)
        return
    if not needed:
        fix = "remove the judge; in a phase of a run that has one, set judge: null"
        raise InputError(f"objective '{name}' reads no preferences", where="judge", fix=fix)
    if judge.expert_must_play and not config.judge.expert_plays:
        problem = f"the judge '{config.judge.name}' decides nothing unless the expert plays"
        fix = "set judge.expert_plays: true"
        raise InputError(problem, where="judge.expert_plays", fix=fix)
    if config.judge.expert_plays:
        _check_regularizers(objective, "the expert's response, which plays among them,", "judge.expert_plays", "false")
    if config.generation.samples_per_prompt + config.judge.expert_plays < 2:
        problem, fix = "there is nothing to compare one response with", "set it to 2 or more"
        raise InputError(problem, where="generation.samples_per_prompt", fix=fix)


def check_log_ratios(config: SelfPlayConfig, judge: JudgeSettings | None, iteration: int) -> None:
    """Checks that a judge that reads log ratios to the base model does not judge the base model itself.

    Args:
        config: The configuration.
        judge: The judge of a phase.
        iteration: The first iteration of the phase.

    Raises:
        InputError: The policy that the iteration starts from is the base model.
    """
    if judge is not None and judge.reads_log_ratios and iteration == 0 and config.warmup is None:
        raise InputError(
            "the judge reads how far the policy has moved from the base model, and the first policy is the base model: "
            "every pair would tie",
            where="judge.name",
            fix="add warmup: {}, or let a phase with another objective or judge go first",
        )


def check_scorer(config: SelfPlayConfig, phase: PhaseConfig, scorer: ScorerConfig | None) -> None:
    """Checks that a phase has a scorer only if its objective reads one, and that this scorer exists.

    Args:
        config: The configuration of the run.
        phase: The settings of the phase.
        scorer: Its scorer, by default or as given; None if its objective reads none.

    Raises:
        InputError: It is not so; or the objective would learn from responses that are not scored.
    """
    if scorer is None:
        if phase.scorer is not None:
            problem = f"objective '{phase.objective.name}' reads no scorer's next tokens"
            fix = "remove the scorer; in a phase of a run that has one, set scorer: null"
            raise InputError(problem, where="scorer", fix=fix)
        return
    if scorer.policy == "teacher" and config.data.teacher is None:
        problem, fix = "the run has no teacher", "add data.teacher, or set it to previous or base"
        raise InputError(problem, where="scorer.policy", fix=fix)
    if phase.judge is not None and phase.judge.expert_plays:
        problem = "the scorer reads generated responses alone, and the expert's response plays among them"
        raise InputError(problem, where="judge.expert_plays", fix="set it to false")


def check_team(config: PhaseConfig, objective: Objective, opponent: Opponent) -> None:
    """Checks that an objective for a team has a team as its opponent, and that no other objective has.

    Raises:
        InputError: One of the two is missing.
    """
    reads, plays = bool(objective.requires & TEAM_FIELDS), bool(opponent.spec(0).team)
    if reads and not plays:
        problem = f"objective '{config.objective.name}' plays against a team, and '{config.opponent.name}' is none"
        raise InputError(problem, where="opponent.name", fix="set opponent: {name: team}")
    if plays and not reads:
        problem = f"opponent '{config.opponent.name}' is a team, and '{config.objective.name}' reads one opponent alone"
        fix = "take the opponent fictitious-play, which mixes policies, or the objective tpaw"
        raise InputError(problem, where="opponent.name", fix=fix)


def check_mixture(config: SelfPlayConfig, name: str, opponent: Opponent) -> None:
    """Checks that an opponent that samples from a token-level mixture can do so.

    Raises:
        InputError: The adapter trains biases, or the generator does not sample from the model in memory.
    """
    if not opponent.spec(0).base_share:
        return
    bias = (config.lora or {}).get("bias", "none")
    if bias != "none":
        raise InputError(
            f"opponent '{name}' uses the model with its adapter off as the base model, but trained biases ({bias}) "
            "stay on",
            where="lora.bias",
            fix="set it to none, or the opponent's samples to policy",
        )
    if not config.generation.mixes:
        raise InputError(
            f"opponent '{name}' mixes every token's distribution with the base model's, which the "
            f"generator '{config.generation.name}' cannot",
            where="generation.name",
            fix=f"set it to {names(lambda kind: kind.mixes)}, or the opponent's samples to policy",
        )


def check_importance(config: PhaseConfig, objective: Objective, opponent: Opponent) -> None:
    """Checks that samples with importance weights e^Δ are draws of the π_o in Δ.

    Raises:
        InputError: A regularizer has such weights, and the samples are drawn from another distribution.
    """
    weighted = [penalty.name for penalty in split_regularizers(objective)[1] if penalty.weighs_draws]
    generation = config.generation
    plain = (generation.temperature, generation.top_p, generation.top_k) == (1.0, 1.0, 0)
    if not weighted or (plain and _draws_what_it_scores(opponent)):
        return
    other = f"the opponent '{config.opponent.name}' draws from another distribution"
    why = other if plain else "temperature, top-p or top-k changes them"
    raise InputError(
        f"the importance weight e^Δ of '{weighted[0]}' is for draws of the π_o in Δ, and {why}",
        where="regularizers",
        fix="sample at temperature 1 against the opponent previous or fictitious-play (arithmetic), or set the "
        "regularizer's importance: false",
    )


def _draws_what_it_scores(opponent: Opponent) -> bool:
    """Whether log π_o in Δ is the log-prob under the policies that generate; tried on two made-up policies."""
    spec = opponent.spec(1)
    if spec.base_share > 0.0 or set(spec.generators) != set(spec.scorers):
        return False
    made_up = torch.tensor([[0.5, 0.5], [0.1, 0.9]])
    log_probs = {policy: row.log() for policy, row in zip(spec.generators, made_up, strict=False)}
    drawn = torch.stack([log_probs[policy] for policy in spec.generators]).exp().mean(0)
    return torch.allclose(opponent.combine(1, log_probs).exp(), drawn)


def _check_given(config: PhaseConfig, objective: Objective) -> None:
    """Checks that an objective can learn from responses and preferences of the data."""
    name = config.objective.name
    if config.judge is not None:
        fix = "remove the judge, or set responses: opponent"
        raise InputError("the data say themselves who beats whom", where="judge", fix=fix)
    if not split_regularizers(objective)[0].compares_any_pair:
        problem = f"objective '{name}' learns from draws of the opponent, and the data's responses are none"
        others = ", ".join(known for known, each in OBJECTIVES.items() if each.compares_any_pair)
        raise InputError(problem, where="responses", fix=f"set it to opponent, or take {others}")
    _check_regularizers(objective, "the data's response", "responses", "opponent")


def _check_regularizers(objective: Objective, what: str, where: str, mend: str) -> None:
    for penalty in split_regularizers(objective)[1]:
        if penalty.requires & DRAWN_FIELDS and not penalty.compares_any_pair:
            raise InputError(
                f"regularizer '{penalty.name}' averages over draws of the opponent, and {what} is none",
                where=where,
                fix=f"set it to {mend}, or take the regularizer raft, sft or forward-kl with samples: reference",
            )


def check_generator(config: SelfPlayConfig, phase: PhaseConfig) -> None:
    """Raises InputError if a phase names another generator than the run."""
    own, other = config.generation.who(), phase.generation.who()
    differing = [name for name in own | other if own.get(name) != other.get(name)]
    if differing:
        raise InputError(
            "the run has one generator, which all of its phases share",
            where=f"generation.{differing[0]}",
            fix="leave it out here, and set it in the run's own generation",
        )
