"""The phases of a run with their players: what each iteration is played with."""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass

from sparring.errors import InputError
from sparring.judges import JudgeSettings
from sparring.policies import BASE
from sparring.selfplay.checks.own import check_own
from sparring.selfplay.checks.players import check_generator, check_importance, check_judge, check_mixture
from sparring.selfplay.components import judge_of, objective_of, opponent_of
from sparring.selfplay.config.schema import PhaseConfig, SelfPlayConfig
from sparring.types import (
    EXPERT_FIELDS,
    OPPONENT_FIELDS,
    REFERENCE_FIELDS,
    SUPERVISED_FIELDS,
    EncodedExample,
    Objective,
    Opponent,
)


@dataclass(frozen=True, kw_only=True)
class Phase:
    """Iterations in a row that are played alike.

    Attributes:
        number: Which of the run's phases it is, from 0.
        iterations: Its iterations, as the run numbers them.
        config: Its settings.
        objective: With its regularizers.
        opponent: Made from the policies so far, those of earlier phases among them.
        judge: The judge's settings, where the objective learns from preferences.
    """

    number: int
    iterations: range
    config: PhaseConfig
    objective: Objective
    opponent: Opponent
    judge: JudgeSettings | None

    @property
    def needs_samples(self) -> bool:
        """Whether the objective looks at generated responses at all; supervised fine-tuning does not."""
        return bool(self.objective.requires - SUPERVISED_FIELDS)

    @property
    def given(self) -> bool:
        """Whether the data bring along the responses and who beats whom among them."""
        return self.config.responses == "data"

    @property
    def samples(self) -> int:
        """K, the number of responses that are generated to each prompt."""
        return self.config.generation.samples_per_prompt if self.needs_samples and not self.given else 0

    @property
    def expert_plays(self) -> bool:
        """Whether the expert's response is judged, and trained on, as one more sample."""
        return self.config.judge is not None and self.config.judge.expert_plays

    @property
    def reads_expert(self) -> bool:
        """Whether the expert's responses are scored and trained on: the objective reads them, or the expert plays."""
        return bool(self.objective.requires & EXPERT_FIELDS) or self.expert_plays

    @property
    def needs(self) -> frozenset[str]:
        """The fields of an `Example` that it cannot play without, besides the prompt."""
        judged = self.judge is not None and (self.judge.needs_expert or self.expert_plays)
        response = {"response"} if judged or self.objective.requires & EXPERT_FIELDS else set()
        return frozenset(response | ({"comparison"} if self.given else set()))

    @property
    def title(self) -> str:
        """What messages call it."""
        judge = "" if self.config.judge is None else f" with judge '{self.config.judge.name}'"
        return f"objective '{self.config.objective.name}'{judge}"

    def prompts(self, examples: Iterable[EncodedExample]) -> list[EncodedExample]:
        """The prompts of the phase: those with every field that its objective and its judge read."""
        return [item for item in examples if all(getattr(item, part) is not None for part in self.needs)]

    def scorers(self, iteration: int) -> tuple[int, ...]:
        """The policies that score the responses: the opponent's, and the base model where the objective needs δ."""
        requires = self.objective.requires
        players = self.opponent.spec(iteration).scorers if requires & OPPONENT_FIELDS else ()
        needs_base = bool(requires & REFERENCE_FIELDS)
        return players if not needs_base or BASE in players else (*players, BASE)


def phases_of(config: SelfPlayConfig) -> tuple[Phase, ...]:
    """The phases of a run, checked as far as settings can tell.

    Raises:
        InputError: A name or a setting is wrong, or two of them do not go together; it names the phase.
    """
    phases: list[Phase] = []
    for number, each in enumerate(config.schedule):
        start = phases[-1].iterations.stop if phases else 0
        with naming(config, number):
            objective, opponent = objective_of(each), opponent_of(each)
            check_own(each, objective, opponent)
            judge = None if each.responses == "data" else judge_of(each)
            check_judge(each, objective, judge)
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
            )
        )
    return tuple(phases)


def row_needs(config: SelfPlayConfig, phases: Iterable[Phase]) -> dict[str, frozenset[str]]:
    """What each phase needs in a row of data, by what an error calls the phase."""
    return {f"phase {each.number}, {each.title}" if config.phases else each.title: each.needs for each in phases}


@contextmanager
def naming(config: SelfPlayConfig, number: int) -> Iterator[None]:
    """Errors that are raised inside name the phase, where a run has phases."""
    try:
        yield
    except InputError as error:
        if not config.phases:
            raise
        raise InputError(error.problem, where=f"phases.{number}, {error.where}", fix=error.fix) from error
