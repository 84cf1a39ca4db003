"""The phases of a run, each with its objective, opponent and judge."""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass

from sparring.errors import InputError
from sparring.examples import EncodedExample
from sparring.judges import JudgeSettings, RewardPlayer
from sparring.log_ratios import EXPERT_FIELDS, OPPONENT_FIELDS, REFERENCE_FIELDS, SUPERVISED_FIELDS
from sparring.policies import BASE
from sparring.selfplay.checks.own import check_own
from sparring.selfplay.checks.players import (
    check_generator,
    check_importance,
    check_judge,
    check_log_ratios,
    check_mixture,
    check_scorer,
    check_team,
)
from sparring.selfplay.components import judge_of, objective_of, opponent_of, scorer_of
from sparring.selfplay.config.schema import PhaseConfig, SelfPlayConfig
from sparring.selfplay.config.scorer import ScorerConfig
from sparring.types import Objective, Opponent


@dataclass(frozen=True, kw_only=True)
class Phase:
    """Consecutive iterations with the same objective, opponent and judge.

    Attributes:
        number: The number of the phase, from 0.
        iterations: The numbers of its iterations in the run.
        config: Its settings.
        objective: The objective, with its regularizers.
        opponent: The opponent; it may use the policies of earlier phases too.
        judge: The judge's settings; None where the objective needs no judge.
        reward_player: The player that learns an explicit reward in every iteration: the judge's, or the evaluation's
            beside an imitation objective; None if there is none.
        scorer: The settings of the scorer of single tokens; None if the objective reads none.
    """

    number: int
    iterations: range
    config: PhaseConfig
    objective: Objective
    opponent: Opponent
    judge: JudgeSettings | None
    reward_player: RewardPlayer | None
    scorer: ScorerConfig | None

    @property
    def needs_samples(self) -> bool:
        """Whether the objective reads generated responses; supervised fine-tuning does not."""
        return bool(self.objective.requires - SUPERVISED_FIELDS)

    @property
    def given(self) -> bool:
        """Whether the data bring the responses and preferences, rather than an opponent and a judge."""
        return self.config.responses == "data"

    @property
    def samples(self) -> int:
        """K, the number of responses that are generated for each prompt."""
        return self.config.generation.samples_per_prompt if self.needs_samples and not self.given else 0

    @property
    def expert_plays(self) -> bool:
        """Whether the expert's response is judged, and trained on, as one more sample."""
        return self.config.judge is not None and self.config.judge.expert_plays

    @property
    def shows_expert(self) -> bool:
        """Whether the expert's response is shown to a scorer, as a demonstration."""
        return self.scorer is not None and self.scorer.policy != "teacher"

    @property
    def reads_expert(self) -> bool:
        """Whether the expert's responses are scored and trained on: the objective reads them, or the expert plays."""
        return bool(self.objective.requires & EXPERT_FIELDS) or self.expert_plays

    @property
    def needs(self) -> frozenset[str]:
        """The fields of an `Example` that its objective and its judge read, besides the prompt."""
        verified = self.judge is not None and self.judge.needs_reference_answer
        # An expert's response is a reference answer too.
        shown = self.reads_expert or self.shows_expert
        answer = {"response"} if shown else {"reference_answer"} if verified else set()
        return frozenset(answer | ({"comparison"} if self.given else set()))

    @property
    def title(self) -> str:
        """The name of the phase in messages."""
        judge = "" if self.config.judge is None else f" with judge '{self.config.judge.name}'"
        return f"objective '{self.config.objective.name}'{judge}"

    def prompts(self, examples: Iterable[EncodedExample]) -> list[EncodedExample]:
        """The prompts of the phase: those with every field that its objective and its judge read."""
        return [item for item in examples if all(getattr(item, field) is not None for field in self.needs)]

    def team(self, iteration: int) -> tuple[int, ...]:
        """The members of a team opponent that were trained in this phase, the newest first; empty if it is no team."""
        return tuple(member for member in self.opponent.spec(iteration).team if member >= self.iterations.start)

    def scorers(self, iteration: int) -> tuple[int, ...]:
        """The policies that score the responses of an iteration.

        These are the opponent's scorers if the objective reads Δ, the base model if it reads δ, and the base model and
        the policy that the iteration starts from if the judge reads log ratios.
        """
        requires = self.objective.requires
        players = self.opponent.spec(iteration).scorers if requires & OPPONENT_FIELDS else ()
        base = (BASE,) if requires & REFERENCE_FIELDS else ()
        judged = (iteration, BASE) if self.judge is not None and self.judge.reads_log_ratios else ()
        return tuple(dict.fromkeys((*players, *base, *judged)))


def phases_of(config: SelfPlayConfig) -> tuple[Phase, ...]:
    """The phases of a run, with all checks that need only the settings.

    Raises:
        InputError: A name or a setting is wrong, or two settings do not fit together; the message names the phase.
    """
    phases: list[Phase] = []
    for number, each in enumerate(config.schedule):
        start = phases[-1].iterations.stop if phases else 0
        with errors_name_phase(config, number):
            objective, opponent = objective_of(each), opponent_of(each)
            check_own(each, objective, opponent)
            judge = None if each.responses == "data" else judge_of(each)
            check_judge(each, objective, judge)
            check_log_ratios(config, judge, start)
            scorer = scorer_of(each, objective)
            check_scorer(config, each, scorer)
            check_team(each, objective, opponent)
            check_mixture(config, each.opponent.name, opponent)
            check_importance(each, objective, opponent)
            check_generator(config, each)
        phases.append(
            Phase(
                number=number,
                iterations=range(start, start + each.iterations),
                config=each,
                objective=objective,
                opponent=opponent,
                judge=judge,
                reward_player=_reward_player(config, each, objective, judge),
                scorer=scorer,
            )
        )
    return tuple(phases)


def _reward_player(
    config: SelfPlayConfig, phase: PhaseConfig, objective: Objective, judge: JudgeSettings | None
) -> RewardPlayer | None:
    if judge is not None:
        return judge.reward_player()
    imitates = objective.requires & OPPONENT_FIELDS and objective.requires & EXPERT_FIELDS
    return RewardPlayer() if config.evaluation.explicit_reward and imitates and phase.responses != "data" else None


def row_needs(config: SelfPlayConfig, phases: Iterable[Phase]) -> dict[str, frozenset[str]]:
    """The fields of a row of data that each phase needs, and the warm-up, by their names in messages."""
    needs = {f"phase {each.number}, {each.title}" if config.phases else each.title: each.needs for each in phases}
    if config.warmup is not None and not any("response" in each for each in needs.values()):
        needs["the warm-up"] = frozenset({"response"})
    return needs


@contextmanager
def errors_name_phase(config: SelfPlayConfig, number: int) -> Iterator[None]:
    """Within, errors name the phase, if the run has several."""
    try:
        yield
    except InputError as error:
        if not config.phases:
            raise
        raise InputError(error.problem, where=f"phases.{number}, {error.where}", fix=error.fix) from error
