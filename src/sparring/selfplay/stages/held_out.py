"""Held-out responses and their log-probs, each sampled or scored once and kept for later stages."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping, Sequence
from pathlib import Path
from typing import Literal

from sparring.examples import EncodedExample
from sparring.generation import GenerationConfig
from sparring.policies import TEACHER, Drawn, How, is_start
from sparring.seeding import derive_seed
from sparring.selfplay.run import Run
from sparring.selfplay.stages.generate import sample_shards
from sparring.selfplay.stages.score import Responses, Scores, score_files
from sparring.shards import ResponseKey, SampleRow, held_out_path, held_out_scores_path, read_samples

By = Drawn | Literal["expert", "data"]
"""The author of held-out responses: the expert, a policy, or whoever wrote those that the data compare."""

Turns = Mapping[int, Drawn]
"""The generator whose responses to a held-out prompt are the generated ones, by prompt index."""

# The word from which each seed is derived.
_SEEDED = {"sampled": "sampled", "greedy": "greedy", "mixture": "mixed"}


def held_out_samples(run: Run, drawn: Drawn) -> dict[int, list[SampleRow]]:
    """A policy's responses to the held-out prompts, by prompt index; missing ones are sampled."""
    return read_samples(_sample(run, drawn))


def held_out_turns(run: Run, iteration: int) -> Turns:
    """The opponent's generators, which share the held-out prompts as they share those of training."""
    spec = run.phase(iteration).opponent.spec(iteration)
    players = [Drawn(policy, "mixture" if spec.base_share else "sampled") for policy in spec.generators]
    return {example.index: players[n % len(players)] for n, example in enumerate(run.held_out)}


def held_out_responses(run: Run, turns: Turns) -> Responses:
    """The expert's response to each held-out prompt, and after it those of the generator whose turn it is."""
    drawn = {player: _merged(_drawn_batch(shard) for shard in _sample(run, player)) for player in {*turns.values()}}
    known = _merged(_written_batches(run, _expert)) | _merged(
        {key: tokens for key, tokens in part.items() if turns[key[0]] == player} for player, part in drawn.items()
    )
    return dict(sorted(known.items(), key=lambda item: (item[0][0], -1 if item[0][1] is None else item[0][1])))


def held_out_scores(run: Run, policy: int, by: By) -> Scores:
    """Log-probs of held-out responses under a policy; missing ones are computed."""
    by_start = isinstance(by, str) or is_start(by.policy)
    return score_files(
        run,
        policy,
        score_files_of(run, policy, by),
        title=f"{run.directory.stage(policy).path.name}: score {_title(by)}",
        per_token=True,
        shared=is_start(policy) and by_start,
    )


def score_files_of(run: Run, policy: int, by: By) -> dict[Path, Responses]:
    """The files of these log-probs, each with its responses."""
    if isinstance(by, Drawn):
        batches = [_drawn_batch(shard) for shard in _sample(run, by)]
    else:
        batches = _written_batches(run, _expert if by == "expert" else _compared)
    if policy == TEACHER and run.teacher is not None:
        prompts = run.teacher.held_out_ids
        batches = [{key: (prompts[key[0]], answer) for key, (_, answer) in batch.items()} for batch in batches]
    stage = run.directory.stage(policy)
    return {held_out_scores_path(stage, by, number): batch for number, batch in enumerate(batches)}


def expert_log_probs(run: Run, policy: int) -> list[float]:
    """Log-probs of the held-out expert responses under a policy that was evaluated, nats, in their order."""
    scores = held_out_scores(run, policy, "expert")
    return [scores[example.index, None] for example in run.held_out if example.expert_ids]


def _title(by: By) -> str:
    return f"the {by}'s responses" if isinstance(by, str) else str(by)


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


def _expert(item: EncodedExample) -> Responses:
    return {(item.index, None): (item.prompt_ids, item.expert_ids)} if item.expert_ids else {}


def _compared(item: EncodedExample) -> Responses:
    return {(item.index, k): (item.prompt_ids, ids) for k, ids in enumerate(item.compared_ids)}


def _written_batches(run: Run, of: Callable[[EncodedExample], Responses]) -> list[Responses]:
    size = run.config.generation.batch_size
    written = [responses for item in run.held_out if (responses := of(item))]
    parts = [written[start : start + size] for start in range(0, len(written), size)]
    return [{key: ids for responses in part for key, ids in responses.items()} for part in parts]


def _merged(parts: Iterable[Responses]) -> dict[ResponseKey, tuple[Sequence[int], Sequence[int]]]:
    return {key: tokens for part in parts for key, tokens in part.items()}


def _drawn_batch(shard: Path) -> Responses:
    return {
        (index, row["sample"]): (row["prompt_ids"], row["response_ids"])
        for index, rows in read_samples([shard]).items()
        for row in rows
    }
