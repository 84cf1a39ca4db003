"""Generate: samples responses, one shard for each batch of prompts."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from sparring.examples import EncodedExample
from sparring.generation import GenerationConfig
from sparring.generation.protocol import SamplesTogether
from sparring.policies import BASE, Drawn, is_start
from sparring.seeding import derive_seed
from sparring.selfplay.run import Run
from sparring.shards import SampleRow, samples_path
from sparring.types import Sample
from sparring.work.fill import Work
from sparring.work.job import Rows, Shards

Piece = tuple[Sequence[EncodedExample], tuple[int, ...]]
"""A batch of prompts, and a seed for each of the sampling settings."""


@dataclass(frozen=True, kw_only=True)
class Wanted:
    """Samples that are to be drawn.

    Attributes:
        config: The sampling settings.
        path: Returns the shard of a batch, by its number.
        seed: The seed from which each batch's own is derived.
    """

    config: GenerationConfig
    path: Callable[[int], Path]
    seed: int


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
            Wanted(
                config=phase.config.generation,
                path=lambda number, drawn=drawn: samples_path(stage, drawn, number),  # type: ignore[misc]
                seed=derive_seed(run.config.seed, "generate", iteration, policy),
            ),
            prompts[slot :: len(spec.generators)],
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
        Wanted(
            config=run.config.generation.untruncated(run.config.generation.samples_per_prompt),
            path=lambda number: samples_path(run.directory.base, Drawn(BASE, "sampled"), number),
            seed=derive_seed(run.config.seed, "generate", BASE, BASE),
        ),
        run.train,
        title="base: generate",
    )


def sample_shards(
    run: Run,
    policy: int,
    wanted: Wanted,
    prompts: Sequence[EncodedExample],
    *,
    title: str,
    base_share: float = 0.0,
) -> list[Path]:
    """Samples the missing shards of a policy's responses: batch i is shard i, with a seed of its own.

    With a `base_share` above zero the samples are drawn from the mixture with the base model; see `OpponentSpec`.
    """
    (shards,) = _sample(run, policy, [wanted], prompts, title=title, base_share=base_share)
    return shards


def sample_several(
    run: Run, policy: int, wanted: Sequence[Wanted], prompts: Sequence[EncodedExample], *, title: str
) -> list[list[Path]]:
    """Samples the missing shards of several kinds of a policy's responses to the same prompts, such as greedy ones.

    If the generator is one of `SamplesTogether`, it reads each prompt once for all kinds. The batches are then those of
    the first kind, and a batch's shards of all kinds are made together or not at all.
    """
    if wanted[0].config.together:
        return _sample(run, policy, wanted, prompts, title=title)
    return [sample_shards(run, policy, each, prompts, title=title) for each in wanted]


def _sample(
    run: Run,
    policy: int,
    wanted: Sequence[Wanted],
    prompts: Sequence[EncodedExample],
    *,
    title: str,
    base_share: float = 0.0,
) -> list[list[Path]]:
    batches = run.generator(wanted[0].config).plan(prompts)
    pieces: dict[Shards, Piece] = {
        tuple(each.path(number) for each in wanted): (batch, tuple(derive_seed(each.seed, number) for each in wanted))
        for number, batch in enumerate(batches)
    }
    work = Work(
        pieces=pieces,
        missing=lambda shard: not shard.exists(),
        tokens=lambda rows: sum(len(row["response_ids"]) for row in rows),
        title=title,
        shared=is_start(policy),
    )
    run.fill(Sampling(policy, tuple(each.config for each in wanted), base_share), work)
    return [[shards[place] for shards in pieces] for place in range(len(wanted))]


@dataclass(frozen=True)
class Sampling:
    """The job that samples responses from a policy, or from its mixture with the base model.

    Attributes:
        policy: The policy's number.
        configs: The sampling settings: one, or several with which a generator samples together.
        base_share: As in `OpponentSpec`.
    """

    policy: int
    configs: tuple[GenerationConfig, ...]
    base_share: float

    @contextmanager
    def open(self, run: Run) -> Iterator[Callable[[Piece], list[Rows]]]:
        """Loads the policy, and yields the function from a batch and its seeds to the rows of its shards."""
        with run.sampler(self.policy, self.configs[0], self.base_share) as sampler:

            def sample(piece: Piece) -> list[Rows]:
                batch, seeds = piece
                with run.policy.forward_dtype():
                    if len(seeds) == 1:
                        drawn = [sampler.sample(batch, seed=seeds[0])]
                    else:
                        assert isinstance(sampler, SamplesTogether)  # noqa: S101 - its settings say so
                        drawn = sampler.sample_together(batch, list(zip(self.configs, seeds, strict=True)))
                return [_sample_rows(batch, samples) for samples in drawn]

            yield sample

    def origin(self, run: Run) -> dict[str, Any]:
        """See `Job`."""
        return run.origin(self.policy) | {
            "work": "sample",
            "generation": [config.decisive() for config in self.configs],
            "base_share": self.base_share,
            "stop_ids": list(run.stop_ids),
            "max_new_tokens": run.config.data.max_response_tokens,
        }


def _sample_rows(batch: Sequence[EncodedExample], samples: Sequence[Sample]) -> list[SampleRow]:
    prompts = {prompt.index: prompt for prompt in batch}
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
