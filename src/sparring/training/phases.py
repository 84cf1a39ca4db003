"""The phases of a run with their players: what each iteration is played with."""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass

from sparring.errors import InputError
from sparring.judges.protocol import JudgeSettings
from sparring.opponents import OPPONENTS
from sparring.registry import build
from sparring.run_directory import BASE
from sparring.training.config import PhaseConfig, SelfPlayConfig
from sparring.training.players import check_importance, judge_of, objective_of
from sparring.training.sampling import check_mixture
from sparring.types import EXPERT, EncodedExample, Objective, Opponent


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
        return bool(self.objective.requires - {"policy_expert", "expert_length"})

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
        return bool(self.objective.requires & EXPERT) or self.expert_plays

    @property
    def needs(self) -> frozenset[str]:
        """The fields of an `Example` that it cannot play without, besides the prompt."""
        judged = self.judge is not None and (self.judge.needs_expert or self.expert_plays)
        response = {"response"} if judged or self.objective.requires & EXPERT else set()
        return frozenset(response | ({"comparison"} if self.given else set()))

    @property
    def title(self) -> str:
        """What messages call it."""
        judge = "" if self.config.judge is None else f" with judge '{self.config.judge.name}'"
        return f"objective '{self.config.objective.name}'{judge}"

    def prompts(self, examples: Iterable[EncodedExample]) -> list[EncodedExample]:
        """Those that it plays on: all that have what it needs."""
        return [item for item in examples if all(getattr(item, part) is not None for part in self.needs)]

    def scorers(self, iteration: int) -> tuple[int, ...]:
        """The policies that score the responses: the opponent's, and the base model where the objective needs δ."""
        requires = self.objective.requires
        players = self.opponent.spec(iteration).scorers if requires & {"expert", "generated"} else ()
        needs_base = bool(requires & {"reference_expert", "reference_generated"})
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
            objective = objective_of(each)
            judge = judge_of(each, objective)
            opponent = build(OPPONENTS, "opponent", each.opponent.name, each.opponent.options)
            check_mixture(config, each.opponent.name, opponent)
            check_importance(each, objective, opponent)
            _check_generator(config, each)
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


def _check_generator(config: SelfPlayConfig, phase: PhaseConfig) -> None:
    for name in ("name", "vllm", "server"):
        if getattr(phase.generation, name) != getattr(config.generation, name):
            raise InputError(
                "the run has one generator, which all of its phases share",
                where=f"generation.{name}",
                fix="leave it out here, and set it in the run's own generation",
            )
