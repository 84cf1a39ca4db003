"""A run: its prepared configuration, its folder, its model, its judges and its workers."""

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
    """The judges, started; only in the main process, since no other judges.

    Attributes:
        of_phases: The judge of each phase, by its number; phases with the same settings share one.
        of_held_out: The judge that compares policies on the held-out set, or None.
    """

    of_phases: Mapping[int, StartedJudge] = field(default_factory=dict)
    of_held_out: StartedJudge | None = None


@dataclass(frozen=True, kw_only=True)
class Run:
    """One run, as its stages see it.

    Attributes:
        prepared: The configuration with its phases, and the data as token ids.
        directory: The run directory.
        policy: The one model in memory.
        workers: The workers that sample and score.
        judges: The judges that compare responses.
        embed: The embedder, in the main process, if the evaluation has one.
        store: The store of shards that are shared with other runs, or None.
        callbacks: The user's own callbacks of transformers, for every training.
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
        """The language model that is the expert, or None."""
        return self.prepared.teacher

    @property
    def stop_ids(self) -> tuple[int, ...]:
        """The tokens that end a response."""
        return self.prepared.train.stop_ids

    def phase(self, iteration: int) -> Phase:
        """The phase of an iteration."""
        return next(phase for phase in self.prepared.phases if iteration in phase.iterations)

    def prompts(self, iteration: int) -> list[EncodedExample]:
        """The training prompts that an iteration is played on."""
        return self.prepared.prompts(self.phase(iteration), iteration)

    def finish_reason(self, response_ids: Sequence[int]) -> str:
        """The finish reason of a response, as in `Sample`: "stop" if it has its end token, "length" if it was cut."""
        return "stop" if response_ids[-1] in self.stop_ids else "length"

    def log(self, event: Mapping[str, Any]) -> None:
        """Appends an event to metrics.jsonl, in the main process; with the number of its phase if there are several."""
        if self.config.phases and "iteration" in event:
            event = {**event, "phase": self.phase(event["iteration"]).number}
        if processes.is_main():
            self.directory.log(event)

    @contextmanager
    def timed(self, **labels: Any) -> Iterator[None]:
        """Logs the seconds that a stage took, or the rest of it after a kill."""
        interruptions.check()
        start = time.monotonic()
        yield
        self.log({"kind": "time", **labels, "seconds": round(time.monotonic() - start, 3)})

    def fill(self, job: Job[Run, PieceT], work: Work[PieceT]) -> None:
        """Computes and writes the missing shards of some work; afterwards every process sees all of them."""
        fill(self, job, work, workers=self.workers, store=self.store, log=self.log)

    def portable(self) -> Run:
        """A copy of the run for a worker in another process, where the policy is pickled as its settings.

        It has no data, since pieces of work carry their own; no judges, since a worker does not judge; and no workers.
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
        """The temperature at which a policy is defined: the teacher's own, 1 for all others."""
        return self.teacher.temperature if policy == TEACHER and self.teacher is not None else 1.0

    def origin(self, policy: int) -> dict[str, Any]:
        """All that decides the bits of a policy's samples and log-probs, as plain values."""
        return self.policy.origin(self.directory.weights(policy)) | {"arithmetic": arithmetic()}

    @contextmanager
    def sampler(self, policy: int, config: GenerationConfig, base_share: float) -> Iterator[Generator]:
        """A generator that samples from a policy, or from its token-level mixture with the base model.

        If the policy is the base model itself, nothing is mixed, since its mixture with itself is the base model.
        """
        self.activate(policy)
        if base_share == 0.0 or self.directory.weights(policy) is None:
            yield self.generator(config)
            return
        from sparring.generation.mixture import Mixture

        with self.policy.base_forward() as base:
            yield self.generator(config, Mixture(base=base, base_share=base_share))

    def generator(self, config: GenerationConfig, mixture: Mixture | None = None) -> Generator:
        """A generator that samples from the policy that is active at the time."""
        return generator_for(
            config,
            self.policy,
            self.prepared.engine,
            stop_ids=self.stop_ids,
            max_new_tokens=self.config.data.max_response_tokens,
            mixture=mixture,
        )
