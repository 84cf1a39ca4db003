"""Held-out responses and their log-probs, each sampled or scored once and kept for later stages."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import Literal

from sparring.generation import GenerationConfig
from sparring.policies import TEACHER, Drawn, How, is_start, words
from sparring.seeding import derive_seed
from sparring.selfplay.run import Run
from sparring.selfplay.stages.generate import sample_shards
from sparring.selfplay.stages.score import Responses, Scores, joined, score_files
from sparring.shards import ResponseKey, SampleRow, held_out_path, held_out_scores_path, read_samples
from sparring.work.job import Shards

By = Drawn | Literal["expert"]
"""The author of held-out responses: the expert, or a policy."""

# The word from which each seed is derived.
_SEEDED = {"sampled": "sampled", "greedy": "greedy", "mixture": "mixed"}


def held_out_samples(run: Run, drawn: Drawn) -> dict[int, list[SampleRow]]:
    """A policy's responses to the held-out prompts, by prompt index; missing ones are sampled."""
    return read_samples(_sample(run, drawn))


def held_out_scores(run: Run, policy: int, *authors: By) -> dict[By, Scores]:
    """Log-probs of some authors' held-out responses under a policy; missing ones are computed.

    All that these authors wrote to a prompt is computed together, so that the prompt, and what their responses have in
    common, is read once. If any of it is missing, all of it is computed, lest what a kill left decides its bits.
    """
    by_author = {by: score_files_of(run, policy, by) for by in authors}
    by_start = is_start(policy) and all(by == "expert" or is_start(by.policy) for by in authors)
    scored = score_files(
        run,
        policy,
        _together(list(by_author.values())),
        title=f"{run.directory.stage(policy).path.name}: score {_title(authors)}",
        per_token=True,
        shared=by_start,
    )
    return {by: joined(scored[path] for path in files) for by, files in by_author.items()}


def _together(files: Sequence[dict[Path, Responses]]) -> dict[Shards, list[Responses]]:
    """The shards of the same prompts, one of each author; nothing where an author has no responses."""
    by_author = [of_author for of_author in files if of_author]
    return {
        tuple(path for path, _ in items): [responses for _, responses in items]
        for items in zip(*(of_author.items() for of_author in by_author), strict=True)
    }


def score_files_of(run: Run, policy: int, by: By) -> dict[Path, Responses]:
    """The shards of these log-probs, each with its responses: shard n is of the n-th batch of prompts."""
    prompts = {each.index: each.prompt_ids for each in run.held_out}
    if policy == TEACHER and run.teacher is not None:
        prompts |= run.teacher.held_out_ids
    written, size = _responses(run, by), run.config.generation.batch_size
    answered = [each.index for each in run.held_out if each.index in written]
    batches = [answered[start : start + size] for start in range(0, len(answered), size)]
    return {
        held_out_scores_path(run.directory.stage(policy), by, number): {
            key: (prompts[index], ids) for index in batch for key, ids in written[index].items()
        }
        for number, batch in enumerate(batches)
    }


def _responses(run: Run, by: By) -> dict[int, dict[ResponseKey, Sequence[int]]]:
    """An author's held-out responses as token ids, by prompt index."""
    if by == "expert":
        return {each.index: {(each.index, None): each.expert_ids} for each in run.held_out if each.expert_ids}
    samples = held_out_samples(run, by)
    return {index: {(index, row["sample"]): row["response_ids"] for row in rows} for index, rows in samples.items()}


def expert_log_probs(run: Run, policy: int) -> list[float]:
    """Log-probs of the held-out expert responses under a policy that was evaluated, nats, in their order."""
    scores = held_out_scores(run, policy, "expert")["expert"]
    return [scores[example.index, None] for example in run.held_out if example.expert_ids]


def _title(authors: Sequence[By]) -> str:
    *names, last = dict.fromkeys("the expert's" if by == "expert" else f"{words(by.policy)}'s" for by in authors)
    return f"{', '.join(names)} and {last} responses" if names else f"{last} responses"


def _sample(run: Run, drawn: Drawn) -> list[Path]:
    """The shards of a policy's responses; for a mixture, of the iteration that starts from the policy."""
    stage, how = run.directory.stage(drawn.policy), drawn.how
    spec = run.phase(drawn.policy).opponent.spec(drawn.policy) if how == "mixture" else None
    return sample_shards(
        run,
        drawn.policy,
        _settings(run, how),
        run.held_out,
        path=lambda number: held_out_path(stage, how, number),
        seed=derive_seed(run.config.seed, "held-out", _SEEDED[how]),
        title=f"{stage.path.name}: evaluate {how}",
        base_share=0.0 if spec is None else spec.base_share,
    )


def _settings(run: Run, how: How) -> GenerationConfig:
    config = run.config.generation.untruncated(run.config.evaluation.samples_per_prompt)
    return config.greedy() if how == "greedy" else config
