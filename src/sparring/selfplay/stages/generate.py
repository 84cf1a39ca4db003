"""Generate: samples responses, one shard for each batch of prompts."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from sparring.examples import EncodedExample
from sparring.generation import GenerationConfig
from sparring.generation.protocol import Generator
from sparring.policies import BASE, Drawn, is_start
from sparring.seeding import derive_seed
from sparring.selfplay.run import Run
from sparring.shards import SampleRow, samples_path
from sparring.work.fill import Work
from sparring.work.job import Rows, Shards

Piece = tuple[Sequence[EncodedExample], int]
"""A batch of prompts and its seed."""


def generate(run: Run, iteration: int) -> list[Path]:
    """Samples K responses to every prompt of an iteration from the opponent's generators, which share the prompts.

    Returns:
        The sample shards, in the order of their prompts' batches.
    """
    phase, stage = run.phase(iteration), run.directory.iteration(iteration)
    prompts = run.prompts(iteration)
    spec = phase.opponent.spec(iteration)
    shards: list[Path] = []
    for slot, policy in enumerate(spec.generators):
        drawn = Drawn(policy, "mixture" if spec.base_share else "sampled")
        shards += sample_shards(
            run,
            policy,
            phase.config.generation,
            prompts[slot :: len(spec.generators)],
            path=lambda number, drawn=drawn: samples_path(stage, drawn, number),  # type: ignore[misc]
            seed=derive_seed(run.config.seed, "generate", iteration, policy),
            title=f"iteration {iteration}: generate",
            base_share=spec.base_share,
        )
    return shards


def generate_reference(run: Run) -> list[Path]:
    """Samples responses to every training prompt from the base model, once for all iterations of all phases.

    They are draws of the base model itself: at temperature 1 and without truncation, whatever `generation` says.
    """
    return sample_shards(
        run,
        BASE,
        run.config.generation.untruncated(run.config.generation.samples_per_prompt),
        run.train,
        path=lambda number: samples_path(run.directory.base, Drawn(BASE, "sampled"), number),
        seed=derive_seed(run.config.seed, "generate", BASE, BASE),
        title="base: generate",
    )


def sample_shards(
    run: Run,
    policy: int,
    config: GenerationConfig,
    prompts: Sequence[EncodedExample],
    *,
    path: Callable[[int], Path],
    seed: int,
    title: str,
    base_share: float = 0.0,
) -> list[Path]:
    """Samples the missing shards of a policy's responses: batch i is shard i, at `path(i)`, with a seed of its own.

    With a `base_share` above zero the samples are drawn from the mixture with the base model; see `OpponentSpec`.
    """
    batches = run.generator(config).plan(prompts)
    pieces: dict[Shards, Piece] = {
        (path(number),): (batch, derive_seed(seed, number)) for number, batch in enumerate(batches)
    }
    work = Work(
        pieces=pieces,
        missing=lambda shard: not shard.exists(),
        tokens=lambda rows: sum(len(row["response_ids"]) for row in rows),
        title=title,
        shared=is_start(policy),
    )
    run.fill(Sampling(policy, config, base_share), work)
    return work.shards


@dataclass(frozen=True)
class Sampling:
    """The job that samples responses from a policy, or from its mixture with the base model.

    Attributes:
        policy: The policy's number.
        config: The sampling settings.
        base_share: As in `OpponentSpec`.
    """

    policy: int
    config: GenerationConfig
    base_share: float

    @contextmanager
    def open(self, run: Run) -> Iterator[Callable[[Piece], list[Rows]]]:
        """Loads the policy, and yields the function from a batch and its seed to the rows of its shard."""
        with run.sampler(self.policy, self.config, self.base_share) as sampler:
            yield lambda piece: [_sample_rows(run, sampler, *piece)]

    def origin(self, run: Run) -> dict[str, Any]:
        """See `Job`."""
        return run.origin(self.policy) | {
            "work": "sample",
            "generation": self.config.decisive(),
            "base_share": self.base_share,
            "stop_ids": list(run.stop_ids),
            "max_new_tokens": run.config.data.max_response_tokens,
        }


def _sample_rows(run: Run, generator: Generator, batch: Sequence[EncodedExample], seed: int) -> list[SampleRow]:
    prompts = {prompt.index: prompt for prompt in batch}
    with run.policy.forward_dtype():
        samples = generator.sample(batch, seed=seed)
    return [
        {
            "index": sample.index,
            "sample": sample.sample,
            "prompt": prompts[sample.index].prompt,
            "prompt_ids": prompts[sample.index].prompt_ids,
            "response_ids": sample.response_ids,
            "finish_reason": sample.finish_reason,
            "text": sample.text,
            "generator": sample.generator,
            "seed": sample.seed,
        }
        for sample in samples
    ]
