"""Given: responses and preferences that come with the data."""

from __future__ import annotations

from pathlib import Path

from sparring.examples import EncodedExample
from sparring.judges import Verdict
from sparring.selfplay.run import Run
from sparring.shard_files import write_shard
from sparring.shards import SampleRow, samples_path
from sparring.work import processes


def given_samples(run: Run, iteration: int) -> list[Path]:
    """Writes the data's responses to an iteration's prompts as sample shards, to be scored like generated ones."""
    phase = run.phase(iteration)
    prompts, size = run.prompts(iteration), phase.config.generation.batch_size
    stage = run.directory.iteration(iteration)
    batches = [prompts[start : start + size] for start in range(0, len(prompts), size)]
    shards = {samples_path(stage, "data", number): batch for number, batch in enumerate(batches)}

    def write() -> None:
        for path, batch in shards.items():
            if not path.exists():
                write_shard(path, [row for example in batch for row in _rows(run, example)])

    processes.on_main(write)
    processes.wait_for_files(list(shards))
    return list(shards)


def given_verdicts(run: Run, iteration: int) -> dict[int, Verdict]:
    """The data's preferences among those responses, by prompt index."""
    return {
        example.index: Verdict(pairwise=example.comparison.pairwise)
        for example in run.prompts(iteration)
        if example.comparison is not None
    }


def _rows(run: Run, example: EncodedExample) -> list[SampleRow]:
    texts = () if example.comparison is None else example.comparison.responses
    return [
        {
            "index": example.index,
            "sample": number,
            "prompt": example.prompt,
            "prompt_ids": example.prompt_ids,
            "response_ids": ids,
            "finish_reason": run.finish_reason(ids),
            "text": text,
            "generator": "data",
            "seed": 0,
        }
        for number, (ids, text) in enumerate(zip(example.compared_ids, texts, strict=True))
    ]
