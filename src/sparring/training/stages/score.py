"""Score: log-probs of responses under the policies that the opponent is built from, computed once and stored."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path

import torch

from sparring.progress import progress
from sparring.run_directory import read_shard, write_shard
from sparring.training.game import Game
from sparring.training.stages.generate import read_samples
from sparring.training.triples import Triple

EXPERT = -1
"""The sample number under which an expert response's log-prob is stored."""

# (prompt index, sample number) → log π(y|x), nats
Scores = dict[tuple[int, int], float]
Responses = Mapping[tuple[int, int], tuple[Sequence[int], Sequence[int]]]


def score(game: Game, iteration: int, shards: Sequence[Path]) -> list[Triple]:
    """Scores every expert and generated response under each scorer, and joins them into training triples."""
    scorers = game.opponent.spec(iteration).scorers
    folder = game.directory.iteration(iteration).scores
    by_scorer: dict[int, Scores] = {policy: {} for policy in scorers}
    with progress(f"iteration {iteration}: score", total=len(shards) * len(scorers)) as meter:
        for policy in scorers:
            for shard in shards:
                path = folder / f"{shard.stem}-under-{policy}.parquet"
                responses = _responses(game, shard)
                tokens = 0 if path.exists() else sum(len(answer) for _, answer in responses.values())
                by_scorer[policy] |= score_file(game, policy, responses, path)
                meter.advance(quantity=tokens)
    return _triples(game, iteration, shards, by_scorer)


def score_file(game: Game, policy: int, responses: Responses, path: Path) -> Scores:
    """Log-probs of some responses under one policy: read from `path`, or computed and written there."""
    if not path.exists():
        game.activate(policy)
        prompts = [list(prompt) for prompt, _ in responses.values()]
        values = game.policy.log_probs(prompts, [[answer] for _, answer in responses.values()])
        rows = [
            {"index": index, "sample": sample, "policy": policy, "log_prob": value}
            for (index, sample), (value,) in zip(responses, values, strict=True)
        ]
        write_shard(path, rows)
    return {(row["index"], row["sample"]): row["log_prob"] for row in read_shard(path)}


def opponent_scores(game: Game, iteration: int, by_scorer: Mapping[int, Scores]) -> Scores:
    """Log π_o of every response, combined from its log-probs under each scorer."""
    keys = list(next(iter(by_scorer.values())))
    tensors = {
        policy: torch.tensor([scores[key] for key in keys], dtype=torch.float64) for policy, scores in by_scorer.items()
    }
    return dict(zip(keys, game.opponent.combine(iteration, tensors).tolist(), strict=True))


def _responses(game: Game, shard: Path) -> dict[tuple[int, int], tuple[Sequence[int], Sequence[int]]]:
    experts = {example.index: example.expert_ids for example in game.train}
    responses: dict[tuple[int, int], tuple[Sequence[int], Sequence[int]]] = {}
    for index, rows in read_samples([shard]).items():
        responses[index, EXPERT] = (rows[0]["prompt_ids"], experts[index])
        responses |= {(index, row["sample"]): (row["prompt_ids"], row["response_ids"]) for row in rows}
    return responses


def _triples(game: Game, iteration: int, shards: Sequence[Path], by_scorer: Mapping[int, Scores]) -> list[Triple]:
    opponent = opponent_scores(game, iteration, by_scorer)
    samples = read_samples(shards)
    return [
        Triple(
            prompt_ids=example.prompt_ids,
            expert_ids=example.expert_ids,
            generated_ids=[row["response_ids"] for row in samples[example.index]],
        ).with_scores(
            opponent[example.index, EXPERT], [opponent[example.index, row["sample"]] for row in samples[example.index]]
        )
        for example in game.train
    ]
