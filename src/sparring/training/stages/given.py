"""Given: responses that somebody else wrote and compared, where the data bring them along."""

from __future__ import annotations

from pathlib import Path
from typing import Any

from sparring.judges import Verdict
from sparring.run_directory import shard_path, write_shard
from sparring.training import processes
from sparring.training.game import Game
from sparring.types import EncodedExample


def given_samples(game: Game, iteration: int) -> list[Path]:
    """Writes the data's responses to the phase's prompts as sample shards, to be scored as any others."""
    phase = game.phase(iteration)
    prompts, size = phase.prompts(game.train), phase.config.generation.batch_size
    folder = game.directory.iteration(iteration).samples
    batches = [prompts[start : start + size] for start in range(0, len(prompts), size)]
    shards = {shard_path(folder, number, "data"): batch for number, batch in enumerate(batches)}

    def write() -> None:
        for path, batch in shards.items():
            if not path.exists():
                write_shard(path, [row for example in batch for row in _rows(game, example)])

    processes.on_main(write)
    processes.see(list(shards))
    return list(shards)


def given_verdicts(game: Game, iteration: int) -> dict[int, Verdict]:
    """What the data say of those responses, by prompt index."""
    return {
        example.index: Verdict(pairwise=example.comparison.pairwise)
        for example in game.phase(iteration).prompts(game.train)
        if example.comparison is not None
    }


def _rows(game: Game, example: EncodedExample) -> list[dict[str, Any]]:
    texts = () if example.comparison is None else example.comparison.responses
    return [
        {
            "index": example.index,
            "sample": number,
            "prompt": example.prompt,
            "prompt_ids": example.prompt_ids,
            "response_ids": ids,
            "finish_reason": game.finish_reason(ids),
            "text": text,
            "generator": "data",
            "seed": 0,
        }
        for number, (ids, text) in enumerate(zip(example.compared_ids, texts, strict=True))
    ]
