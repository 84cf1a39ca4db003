"""Everything that the stages of a run share."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

from sparring.generation import GenerationConfig, generator
from sparring.generation.protocol import Generator
from sparring.run_directory import RunDirectory
from sparring.training.config import SelfPlayConfig
from sparring.training.policy import Policy
from sparring.types import EncodedExample, Objective, Opponent


@dataclass(frozen=True, kw_only=True)
class Game:
    """One run: its configuration, its folder, its players, and the data as token ids."""

    config: SelfPlayConfig
    directory: RunDirectory
    policy: Policy
    objective: Objective
    opponent: Opponent
    train: list[EncodedExample]
    held_out: list[EncodedExample]
    stop_ids: tuple[int, ...]
    verifier: Callable[[str, str], bool] | None

    @property
    def has_opponent(self) -> bool:
        """Whether the objective looks at generated responses at all; supervised fine-tuning does not."""
        return bool(self.objective.requires & {"expert", "generated"})

    def activate(self, policy: int) -> None:
        """Makes the one model play as a policy, by number."""
        self.policy.activate(self.directory.weights(policy))

    def generator(self, config: GenerationConfig) -> Generator:
        """A generator that samples from whatever policy is active."""
        return generator(
            config,
            model=self.policy.causal_lm,
            tokenizer=self.policy.tokenizer,
            stop_ids=self.stop_ids,
            max_new_tokens=self.config.data.max_response_tokens,
        )
