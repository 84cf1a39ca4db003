"""Generate: sample responses, a shard a batch."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from sparring.generation import GenerationConfig
from sparring.generation.protocol import Generator
from sparring.run_directory import BASE, read_shard, shard_path
from sparring.seeding import derive_seed
from sparring.training.game import Game, is_start
from sparring.training.workers import Rows, fill
from sparring.types import EncodedExample

# A batch of prompts and its seed.
Piece = tuple[Sequence[EncodedExample], int]


def generate(game: Game, iteration: int) -> list[Path]:
    """Samples K responses to every prompt of the phase from the opponent's generators, which share the prompts out.

    Returns:
        The sample shards, in the order of their prompts' batches.
    """
    phase = game.phase(iteration)
    prompts = phase.prompts(game.train)
    spec = phase.opponent.spec(iteration)
    folder = game.directory.iteration(iteration).samples
    shards: list[Path] = []
    for slot, policy in enumerate(spec.generators):
        shards += sample_shards(
            game,
            policy,
            phase.config.generation,
            prompts[slot :: len(spec.generators)],
            folder=folder,
            prefix=f"{'mixture' if spec.base_share else 'policy'}-{policy}",
            seed=derive_seed(game.config.seed, "generate", iteration, policy),
            title=f"iteration {iteration}: generate",
            base_share=spec.base_share,
        )
    return shards


def generate_reference(game: Game) -> list[Path]:
    """Samples responses to every training prompt from the base model, once for all iterations of all phases.

    At temperature 1 and without truncation, whatever the run's own sampling: they stand for the base model itself.
    """
    return sample_shards(
        game,
        BASE,
        game.config.generation.untruncated(game.config.generation.samples_per_prompt),
        game.train,
        folder=game.directory.base.samples,
        prefix=f"policy-{BASE}",
        seed=derive_seed(game.config.seed, "generate", BASE, BASE),
        title="base: generate",
    )


def sample_shards(
    game: Game,
    policy: int,
    config: GenerationConfig,
    prompts: Sequence[EncodedExample],
    *,
    folder: Path,
    prefix: str,
    seed: int,
    title: str,
    base_share: float = 0.0,
) -> list[Path]:
    """Samples what is missing of a policy's shards in `folder`; batch i is shard i, with a seed of its own.

    With a `base_share` above zero the samples are of its mixture with the base model; see `OpponentSpec`.
    """
    batches = game.generator(config).plan(prompts)
    paths = [shard_path(folder, number, prefix) for number in range(len(batches))]
    fill(
        game,
        Sampling(policy, config, base_share),
        {
            path: (batch, derive_seed(seed, number))
            for number, (path, batch) in enumerate(zip(paths, batches, strict=True))
        },
        missing=lambda path: not path.exists(),
        tokens=lambda rows: sum(len(row["response_ids"]) for row in rows),
        title=title,
        shared=is_start(policy),
    )
    return paths


@dataclass(frozen=True)
class Sampling:
    """Samples batches of prompts from a policy, or from its mixture with the base model."""

    policy: int
    config: GenerationConfig
    base_share: float

    @contextmanager
    def open(self, game: Game) -> Iterator[Callable[[Piece], Rows]]:
        """The rows of a batch and its seed."""
        with game.sampler(self.policy, self.config, self.base_share) as sampler:
            yield lambda piece: _sample_rows(game, sampler, *piece)

    def origin(self, game: Game) -> dict[str, Any]:
        """See `Job`."""
        return game.origin(self.policy) | {
            "work": "sample",
            "generation": self.config.model_dump(mode="json", exclude={"vllm", "server"}),
            "base_share": self.base_share,
            "stop_ids": list(game.stop_ids),
            "max_new_tokens": game.config.data.max_response_tokens,
        }


def _sample_rows(game: Game, generator: Generator, batch: Sequence[EncodedExample], seed: int) -> Rows:
    prompts = {prompt.index: prompt for prompt in batch}
    with game.policy.forward_dtype():
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


def read_samples(paths: Sequence[Path]) -> dict[int, list[dict[str, Any]]]:
    """The rows of some sample shards by prompt index, each prompt's in order of sample."""
    samples: dict[int, list[dict[str, Any]]] = {}
    for path in paths:
        for row in read_shard(path):
            samples.setdefault(row["index"], []).append(row)
    return {index: sorted(rows, key=lambda row: int(row["sample"])) for index, rows in samples.items()}
