"""The plan of a phase: its game, its stability number, and its comparisons by a judge."""

from __future__ import annotations

from dataclasses import asdict, dataclass
from typing import Any

from sparring.games.stability import stability_or_reason
from sparring.selfplay.config.schema import PhaseConfig
from sparring.selfplay.phases import Phase
from sparring.selfplay.prepared import Prepared
from sparring.settings import penalty
from sparring.types import StabilityNumber


@dataclass(frozen=True, kw_only=True)
class PhasePlan:
    """The plan of one phase.

    Attributes:
        game: The objective, the regularizers and the opponent, in words.
        objective: The name of the objective.
        iterations: The number of iterations.
        prompts: The number of prompts of each.
        stability: The stability number, or why there is none.
        comparisons: Comparisons of two responses by the phase's judge; their time is not estimated.
        is_instant: Whether the judge takes no time worth estimating.
        experts: The number of prompts whose experts a reward player learns from; None without such a player.
    """

    game: str
    objective: str
    iterations: int
    prompts: int
    stability: StabilityNumber | str
    comparisons: int
    is_instant: bool
    experts: int | None

    def rows(self) -> list[tuple[str, str]]:
        """The rows of the plan's table: a heading and a text each."""
        if self.iterations == 0:
            return [("game", "none: the run ends after its warm-up")]
        times = "1 iteration" if self.iterations == 1 else f"{self.iterations} iterations"
        rows = [("game", f"{self.game}; {times} on {self.prompts} prompts")]
        if isinstance(self.stability, StabilityNumber):
            limit = "this holds for exact iterations; in training the learning rate decides first"
            rows.append(("stability", f"{self.stability}; {limit}"))
        elif self.comparisons:
            rows.append(("stability", "depends on the preferences, so no number is known beforehand"))
        else:
            rows.append(("stability", f"no stability number: {self.stability}"))
        if self.comparisons and not self.is_instant:
            rows.append(("judge", f"{self.comparisons:,} comparisons, whose time is not in the total"))
        if self.experts is not None:
            rows.append(("reward player", f"learns from the experts of {self.experts} of {self.prompts} prompts"))
        return rows

    def to_json(self) -> dict[str, Any]:
        """Plain values."""
        number = self.stability.to_json() if isinstance(self.stability, StabilityNumber) else None
        return asdict(self) | {"stability": number}


def phase_plan(prepared: Prepared, phase: Phase) -> PhasePlan:
    """The plan of a phase."""
    prompts = prepared.prompts(phase, phase.iterations.start)
    penalties = [penalty(each.name, each.options) for each in phase.config.regularizers]
    return PhasePlan(
        game=" + ".join([phase.title, *penalties]) + f", against '{phase.config.opponent.name}'",
        objective=phase.config.objective.name,
        iterations=len(phase.iterations),
        stability=stability_or_reason(phase.objective),
        prompts=len(prompts),
        comparisons=comparisons(phase.config, len(prompts)),
        is_instant=phase.judge is not None and phase.judge.is_instant,
        experts=None if phase.reward_player is None else sum(bool(item.expert_ids) for item in prompts),
    )


def comparisons(config: PhaseConfig, prompts: int) -> int:
    """The number of pairs of responses to a prompt, over all prompts and iterations; their order does not count."""
    if config.judge is None:
        return 0
    n = config.generation.samples_per_prompt + config.judge.expert_plays
    return config.iterations * prompts * n * (n - 1) // 2


def held_out_comparisons(prepared: Prepared) -> int:
    """The comparisons of each policy's held-out samples with the base model's and the previous policy's.

    Zero where no judge makes them, or one that takes no time.
    """
    if prepared.held_out_judge is None or prepared.held_out is None or prepared.held_out_judge.is_instant:
        return 0
    config = prepared.config
    # The base model has no rival; the first policy has one only, since the base model is its previous policy too.
    rivals = 2 * config.total_iterations + (1 if config.warmup is not None else -1)
    rivals += 2 * config.controls - (config.warmup is None and config.controls > 0)
    return rivals * len(prepared.held_out.examples) * config.evaluation.samples_per_prompt
