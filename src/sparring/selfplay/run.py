"""A run: what was prepared of it, its folder, its model, and who helps."""

from __future__ import annotations

import dataclasses
import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any

from sparring import interruptions
from sparring.examples import EncodedExample
from sparring.generation import GenerationConfig
from sparring.generation.protocol import Generator
from sparring.judges import StartedJudge
from sparring.policies import TEACHER
from sparring.run_directory import RunDirectory
from sparring.selfplay.config.schema import SelfPlayConfig
from sparring.selfplay.engine import generator_for
from sparring.selfplay.manifest import arithmetic
from sparring.selfplay.phases import Phase
from sparring.selfplay.policy import Policy
from sparring.selfplay.prepared import Prepared
from sparring.selfplay.teacher import Teacher
from sparring.work import processes
from sparring.work.fill import Work, fill
from sparring.work.job import Job, PieceT, Workers
from sparring.work.local import Processes
from sparring.work.store import Store

if TYPE_CHECKING:
    from sparring.generation.mixture import Mixture

Embed = Callable[[Sequence[str]], list[list[float]]]
"""Sentence embeddings of some texts."""


@dataclass(frozen=True, kw_only=True)
class Judges:
    """The judges at work; in the main process alone, since the others judge nothing.

    Attributes:
        of_phases: By number of the phase; phases with the same settings share one.
        of_held_out: Who compares policies on the held-out set, if anybody.
    """

    of_phases: Mapping[int, StartedJudge] = field(default_factory=dict)
    of_held_out: StartedJudge | None = None


@dataclass(frozen=True, kw_only=True)
class Run:
    """One run, as its stages see it.

    Attributes:
        prepared: The configuration with its phases, and the data as token ids.
        directory: Where the run lies.
        policy: The one model in memory.
        workers: Who samples and scores.
        judges: Who compares responses.
        embed: The embedder, in the main process, where the evaluation has one.
        store: Where shards are kept that other runs need too, if anywhere.
        callbacks: The user's own callbacks of transformers, which every training has beside those of the loop.
    """

    prepared: Prepared
    directory: RunDirectory
    policy: Policy
    workers: Workers
    judges: Judges
    embed: Embed | None
    store: Store | None
    callbacks: Sequence[Any] = ()

    @property
    def config(self) -> SelfPlayConfig:
        """The configuration."""
        return self.prepared.config

    @property
    def train(self) -> list[EncodedExample]:
        """The training prompts."""
        return self.prepared.train.examples

    @property
    def held_out(self) -> list[EncodedExample]:
        """The held-out prompts."""
        return [] if self.prepared.held_out is None else self.prepared.held_out.examples

    @property
    def teacher(self) -> Teacher | None:
        """The language model that plays the expert, if one does."""
        return self.prepared.teacher

    @property
    def stop_ids(self) -> tuple[int, ...]:
        """The tokens that end a response."""
        return self.prepared.train.stop_ids

    def phase(self, iteration: int) -> Phase:
        """What an iteration is played with."""
        return next(phase for phase in self.prepared.phases if iteration in phase.iterations)

    def prompts(self, iteration: int) -> list[EncodedExample]:
        """The training prompts that an iteration is played on."""
        return self.prepared.prompts(self.phase(iteration), iteration)

    def finish_reason(self, response_ids: Sequence[int]) -> str:
        """How a response ended, as `Sample` says it: "stop" with its end token, "length" where it was cut."""
        return "stop" if response_ids[-1] in self.stop_ids else "length"

    def log(self, event: Mapping[str, Any]) -> None:
        """Appends an event to metrics.jsonl, in the main process; where a run has phases, with its own."""
        if self.config.phases and "iteration" in event:
            event = {**event, "phase": self.phase(event["iteration"]).number}
        if processes.is_main():
            self.directory.log(event)

    @contextmanager
    def timed(self, **labels: Any) -> Iterator[None]:
        """Logs the seconds that a stage, or what was left of it after a kill, took."""
        interruptions.check()
        start = time.monotonic()
        yield
        self.log({"kind": "time", **labels, "seconds": round(time.monotonic() - start, 3)})

    def fill(self, job: Job[Run, PieceT], work: Work[PieceT]) -> None:
        """Writes the shards of some work that are missing; afterwards every process sees all of them."""
        fill(self, job, work, workers=self.workers, store=self.store, log=self.log)

    def portable(self) -> Run:
        """The run as it travels to a worker in another process: a policy travels as its settings.

        Pieces of work carry their own data, nobody judges there, and what one worker does it does itself.
        """
        return dataclasses.replace(
            self,
            prepared=self.prepared.without_data(),
            directory=RunDirectory(self.directory.path.absolute()),
            workers=Processes(),
            judges=Judges(),
            embed=None,
            store=None,
            callbacks=(),
        )

    def activate(self, policy: int) -> None:
        """Makes the one model play as a policy, by number; a teacher with weights of its own takes its place."""
        if policy == TEACHER and self.teacher is not None and self.teacher.model is not None:
            self.policy.activate_other(self.teacher.model)
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

        with self.policy.base_forward() as base:
            yield self.generator(config, Mixture(base=base, base_share=base_share))

    def generator(self, config: GenerationConfig, mixture: Mixture | None = None) -> Generator:
        """A generator that samples from whatever policy is active."""
        return generator_for(
            config,
            self.policy,
            self.prepared.engine,
            stop_ids=self.stop_ids,
            max_new_tokens=self.config.data.max_response_tokens,
            mixture=mixture,
        )
