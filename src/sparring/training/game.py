"""Everything that the stages of a run share."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from typing import Any

from sparring.generation import GenerationConfig
from sparring.generation.engines import Engine
from sparring.generation.protocol import Generator
from sparring.judges import StartedJudge
from sparring.judges.protocol import JudgeSettings
from sparring.run_directory import BASE, TEACHER, RunDirectory
from sparring.training import processes
from sparring.training.config import SelfPlayConfig
from sparring.training.manifest import arithmetic
from sparring.training.phases import Phase
from sparring.training.policy import Policy
from sparring.training.sampling import generator_for
from sparring.training.store import Store
from sparring.training.teacher import Teacher
from sparring.training.workers import Workers
from sparring.types import EncodedExample

HELD_OUT = -1
"""Where the judge of held-out responses is among the judges of the phases."""

Embed = Callable[[Sequence[str]], list[list[float]]]
"""Sentence embeddings of some texts."""


def is_start(policy: int) -> bool:
    """Whether a policy is where a run starts, and others may start too: the base model, or what the warm-up made."""
    return policy in {BASE, 0}


@dataclass(frozen=True, kw_only=True)
class Game:
    """One run: its configuration, its folder, its phases, and the data as token ids.

    The judges are there in the main process alone, by the number of their phase or as `HELD_OUT`; some may be one. So
    is the embedder. The store is that of shards which other runs need too, if any.
    """

    config: SelfPlayConfig
    directory: RunDirectory
    policy: Policy
    workers: Workers
    phases: tuple[Phase, ...]
    teacher: Teacher | None
    train: list[EncodedExample]
    held_out: list[EncodedExample]
    stop_ids: tuple[int, ...]
    verifier: Callable[[str, str], bool] | None
    judges: Mapping[int, StartedJudge]
    held_out_judge: JudgeSettings | None
    embed: Embed | None
    engine: Engine | None
    store: Store | None

    def phase(self, iteration: int) -> Phase:
        """What an iteration is played with."""
        return next(phase for phase in self.phases if iteration in phase.iterations)

    def finish_reason(self, response_ids: Sequence[int]) -> str:
        """How a response ended, as `Sample` says it: "stop" with its end token, "length" where it was cut."""
        return "stop" if response_ids[-1] in self.stop_ids else "length"

    def log(self, event: Mapping[str, Any]) -> None:
        """Appends an event to metrics.jsonl, in the main process; where a run has phases, with its own."""
        if self.config.phases and "iteration" in event:
            event = {**event, "phase": self.phase(event["iteration"]).number}
        if processes.is_main():
            self.directory.log(event)

    def activate(self, policy: int) -> None:
        """Makes the one model play as a policy, by number; a teacher with weights of its own takes its place."""
        if policy == TEACHER and self.teacher is not None and self.teacher.model is not None:
            self.policy.give_way(self.teacher.model)
        else:
            self.policy.activate(self.directory.weights(policy))

    def temperature(self, policy: int) -> float:
        """At which a policy is the distribution that its number stands for: the teacher's own, else 1."""
        return self.teacher.temperature if policy == TEACHER and self.teacher is not None else 1.0

    def origin(self, policy: int) -> dict[str, Any]:
        """What decides the bits of a policy's samples and log-probs, as plain values."""
        return self.policy.origin(self.directory.weights(policy)) | {"arithmetic": arithmetic()}

    @contextmanager
    def sampler(self, policy: int, config: GenerationConfig, base_share: float) -> Iterator[Generator]:
        """A generator that samples from a policy, or from its token-level mixture with the base model.

        The base model's mixture with itself is the base model, so where the policy is that, nothing is mixed.
        """
        self.activate(policy)
        if base_share == 0.0 or self.directory.weights(policy) is None:
            yield self.generator(config)
            return
        from sparring.generation.mixture import Mixture

        with self.policy.beside_base() as base:
            yield self.generator(config, mixture=Mixture(base=base, base_share=base_share))

    def generator(self, config: GenerationConfig, **parts: Any) -> Generator:
        """A generator that samples from whatever policy is active."""
        return generator_for(
            config,
            self.policy,
            self.engine,
            stop_ids=self.stop_ids,
            max_new_tokens=self.config.data.max_response_tokens,
            **parts,
        )
