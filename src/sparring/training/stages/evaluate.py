"""Evaluate: a policy on the held-out set, and the last iteration's game on unseen prompts."""

from __future__ import annotations

import math
from collections.abc import Sequence
from itertools import chain
from pathlib import Path
from typing import Any

import torch

from sparring.data import is_right
from sparring.files import read_json, write_json
from sparring.metrics import Estimate, HeldOut, Response, measure
from sparring.regularizers import Regularized
from sparring.run_directory import BASE, TEACHER, read_shard, shard_path, write_shard
from sparring.seeding import derive_seed
from sparring.training import processes
from sparring.training.game import Game, is_start
from sparring.training.stages.answers import answer_rows
from sparring.training.stages.compare import compare
from sparring.training.stages.generate import read_samples, sample_shards
from sparring.training.stages.score import EXPERT, Responses, Scores, opponent_scores, score_files
from sparring.types import PREFERENCES, EncodedExample, LogRatios, Objective, OpponentSpec, Variational


def evaluate(game: Game, policy: int) -> dict[str, Estimate]:
    """Measures a policy on the held-out set; the result is also the stage's `evaluation.json`.

    Greedy responses, and responses sampled from the policy itself (temperature 1, no truncation) so that the KL
    estimate is unbiased. Every policy sees the same prompts in the same batches with the same seeds.
    """
    stage = game.directory.stage(policy)
    if not processes.on_main(stage.evaluation.exists):
        estimates: dict[str, Estimate] = {}
        if game.held_out:
            held_out = _held_out(game, policy)
            _keep_answers(game, policy, held_out)
            estimates = measure(held_out)
        if policy > 0 and game.held_out:
            estimates |= _game_on_held_out(game, policy - 1)
        values = {name: estimate.to_json() for name, estimate in estimates.items()}
        processes.on_main(lambda: write_json(stage.evaluation, values))
        processes.see([stage.evaluation])
    return {name: Estimate(**value) for name, value in read_json(stage.evaluation).items()}


def expert_log_probs(game: Game, policy: int) -> list[float]:
    """Log π(y|x) of the held-out expert responses under a policy that was evaluated, nats, in their order."""
    scores = _scores(game, policy, "expert")
    return [scores[example.index, EXPERT] for example in game.held_out if example.expert_ids]


def _held_out(game: Game, policy: int) -> HeldOut:
    greedy, sampled = _samples(game, f"greedy-{policy}"), _samples(game, f"sampled-{policy}")
    # One policy after the other: to change it may mean to load weights.
    own = {kind: _scores(game, policy, what) for kind, what in _kinds(policy).items()}
    base = {kind: _scores(game, BASE, what) for kind, what in _kinds(policy).items()}
    teacher: Scores = {}
    if game.teacher is not None:
        teacher = _scores(game, TEACHER, "expert") | _scores(game, TEACHER, f"sampled-{policy}")

    def responses(kind: str, example: EncodedExample, rows: Sequence[dict[str, Any]]) -> list[Response]:
        return [
            Response(
                text=row["text"],
                tokens=len(row["response_ids"]),
                finish_reason=row["finish_reason"],
                log_prob=own[kind][example.index, row["sample"]],
                log_prob_base=base[kind][example.index, row["sample"]],
                log_prob_expert=teacher.get((example.index, row["sample"])) if kind == "sampled" else None,
                right=is_right(game.verifier, row["text"], example.response),
            )
            for row in rows
        ]

    return HeldOut(
        expert=[
            Response(
                text=example.response,
                tokens=len(example.expert_ids),
                finish_reason=game.finish_reason(example.expert_ids),
                log_prob=own["expert"][example.index, EXPERT],
                log_prob_base=base["expert"][example.index, EXPERT],
                log_prob_expert=teacher.get((example.index, EXPERT)),
            )
            for example in game.held_out
            if example.response is not None
        ],
        greedy=[responses("greedy", example, greedy[example.index])[0] for example in game.held_out],
        sampled=[responses("sampled", example, sampled[example.index]) for example in game.held_out],
        comparisons=compare(game, policy, lambda number: _samples(game, f"sampled-{number}")),
        embed=game.embed,
    )


def _kinds(policy: int) -> dict[str, str]:
    """The held-out responses that are measured for a policy, by who answered how, as `_shards` calls them."""
    return {"expert": "expert", "greedy": f"greedy-{policy}", "sampled": f"sampled-{policy}"}


def _keep_answers(game: Game, policy: int, held_out: HeldOut) -> None:
    """Writes what the report shows of the held-out set."""
    path = shard_path(game.directory.stage(policy).held_out, 0, "answers")
    if processes.on_main(path.exists):
        return
    examples = list(zip(game.held_out, held_out.greedy, held_out.sampled, strict=True))
    responses = {
        # All of them are answered by the expert, or none is.
        "expert": {(each.index, EXPERT): expert for each, expert in zip(game.held_out, held_out.expert, strict=False)},
        "greedy": {(example.index, 0): greedy for example, greedy, _ in examples},
        "sampled": {(each.index, k): answer for each, _, answers in examples for k, answer in enumerate(answers)},
    }
    prompts = {example.index: example.prompt for example in game.held_out}
    own, base = ({k: _score_parts(game, who, what) for k, what in _kinds(policy).items()} for who in (policy, BASE))

    def write() -> None:
        kinds = (
            answer_rows(kind, answers, own=own[kind], base=base[kind], prompts=prompts, tokenizer=game.policy.tokenizer)
            for kind, answers in responses.items()
        )
        write_shard(path, [*chain.from_iterable(kinds)])

    processes.on_main(write)


def _sample(game: Game, policy: int, how: str) -> list[Path]:
    """The shards of a policy's held-out responses: "greedy", "sampled", or "mixed" as iteration `policy` mixes it."""
    config = game.config.generation.untruncated(game.config.evaluation.samples_per_prompt)
    stage = game.directory.stage(policy)
    return sample_shards(
        game,
        policy,
        config.greedy() if how == "greedy" else config,
        game.held_out,
        folder=stage.held_out,
        prefix=how,
        seed=derive_seed(game.config.seed, "held-out", how),
        title=f"{stage.path.name}: evaluate {how}",
        base_share=game.phase(policy).opponent.spec(policy).base_share if how == "mixed" else 0.0,
    )


def _samples(game: Game, what: str) -> dict[int, list[dict[str, Any]]]:
    """The held-out responses "greedy-N", "sampled-N" or "mixed-N", of policy N or its mixture, by prompt index."""
    return read_samples(_shards(game, what))


def _shards(game: Game, what: str) -> list[Path]:
    how, number = what.split("-", 1)
    return _sample(game, int(number), how)


def _scores(game: Game, policy: int, what: str) -> Scores:
    """Log-probs under a policy of the held-out "expert" responses, or of others as `_samples` calls them."""
    by_start = what == "expert" or is_start(int(what.split("-", 1)[1]))
    return score_files(
        game,
        policy,
        _score_parts(game, policy, what),
        title=f"{game.directory.stage(policy).path.name}: score {what}",
        per_token=True,
        shared=is_start(policy) and by_start,
    )


def _score_parts(game: Game, policy: int, what: str) -> dict[Path, Responses]:
    """The files of these log-probs, and the responses that each is of."""
    parts: list[Responses]
    if what == "expert":
        size = game.config.generation.batch_size
        experts = [item for item in game.held_out if item.expert_ids]
        parts = [
            {(item.index, EXPERT): (item.prompt_ids, item.expert_ids) for item in experts[start : start + size]}
            for start in range(0, len(experts), size)
        ]
    else:
        parts = [
            {(row["index"], row["sample"]): (row["prompt_ids"], row["response_ids"]) for row in read_shard(shard)}
            for shard in _shards(game, what)
        ]
    if policy == TEACHER and game.teacher is not None:
        asked = game.teacher.held_out_ids
        parts = [{key: (asked[key[0]], answer) for key, (_, answer) in part.items()} for part in parts]
    folder = game.directory.stage(policy).held_out
    return {shard_path(folder, number, f"scores-{what}"): part for number, part in enumerate(parts)}


def _game_on_held_out(game: Game, iteration: int) -> dict[str, Estimate]:
    """The objective and its metrics after an iteration, on prompts that it was not trained on.

    The generated side are the held-out responses of the opponent's generators, each prompt's from the generator
    whose turn it is, as in training. The log ratios to the opponent are kept as a shard. Nothing is measured where no
    expert's response is held out.
    """
    phase = game.phase(iteration)
    if not phase.needs_samples or not all(example.expert_ids for example in game.held_out):
        return {}
    spec = phase.opponent.spec(iteration)
    players = [f"{'mixed' if spec.base_share else 'sampled'}-{policy}" for policy in spec.generators]
    turns = {example.index: players[n % len(players)] for n, example in enumerate(game.held_out)}
    by_scorer = {scorer: _on_turn(game, scorer, turns) for scorer in phase.scorers(iteration)}
    policy = _on_turn(game, iteration + 1, turns)
    fields = _sides("policy_", policy, game) | _sides("", _lengths(game, turns), game, suffix="_length")
    requires = phase.objective.requires
    if requires & {"expert", "generated"}:
        ratios = _sides("", _minus(policy, opponent_scores(game, iteration, by_scorer)), game)
        _keep_log_ratios(game, iteration, ratios)
        fields |= ratios
    # Nobody compares the opponent's held-out responses, so there the preference objectives have no value.
    if requires & PREFERENCES:
        return {}
    if requires & {"reference_expert", "reference_generated"}:
        fields |= _sides("reference_", _minus(policy, by_scorer[BASE]), game)
    samples = range(game.config.evaluation.samples_per_prompt)
    for name, number in (("policy_initial", phase.iterations.start), ("policy_reference", BASE)):
        if name in requires:
            fields[name] = _column(_scores(game, iteration + 1, f"sampled-{number}"), game, samples)
    output = phase.objective(LogRatios(**fields))
    values = {"objective": output.loss} | output.metrics
    if game.teacher is not None and "divergence_estimate" in output.metrics and spec.base_share == 0.0:
        values["truth/divergence"] = _true_divergence(game, phase.objective, spec, turns)
    return {name: Estimate.of(value.tolist()) for name, value in values.items()}


def _true_divergence(game: Game, objective: Objective, spec: OpponentSpec, turns: dict[int, str]) -> torch.Tensor:
    """`[B]` values whose mean is the divergence that `divergence_estimate` bounds, from the known ratios.

    The bound holds for any reward, so what matters is not how the opponent is scored but whom its responses are drawn
    from: the mean of the policies that share the prompts out.
    """
    drawn = [_on_turn(game, policy, turns) for policy in spec.generators]
    mean = {key: _log_mean([scores[key] for scores in drawn]) for key in drawn[0]}
    density = LogRatios(**_sides("", _minus(_on_turn(game, TEACHER, turns), mean), game))
    alone = objective.objective if isinstance(objective, Regularized) else objective
    assert isinstance(alone, Variational)  # noqa: S101 - who reports an estimate has an optimum
    return alone(alone.optimum(density)).metrics["divergence_estimate"]


def _log_mean(log_probs: Sequence[float]) -> float:
    """Log of the mean of some probabilities."""
    return float(torch.tensor(log_probs, dtype=torch.float64).logsumexp(0)) - math.log(len(log_probs))


def _keep_log_ratios(game: Game, iteration: int, ratios: dict[str, torch.Tensor]) -> None:
    """Writes Δ of the expert's and of the generated responses to each held-out prompt, nats."""
    path = shard_path(game.directory.iteration(iteration).held_out, 0, "log-ratios")
    columns = zip(game.held_out, ratios["expert"].tolist(), ratios["generated"].tolist(), strict=True)
    rows = [{"index": each.index, "expert": expert, "generated": generated} for each, expert, generated in columns]
    processes.on_main(lambda: write_shard(path, rows))


def _minus(left: Scores, right: Scores) -> Scores:
    return {key: left[key] - right[key] for key in left}


def _lengths(game: Game, turns: dict[int, str]) -> Scores:
    lengths = {(example.index, EXPERT): float(len(example.expert_ids)) for example in game.held_out}
    for player in sorted(set(turns.values())):
        for index, rows in _samples(game, player).items():
            if turns[index] == player:
                lengths |= {(index, row["sample"]): float(len(row["response_ids"])) for row in rows}
    return lengths


def _sides(prefix: str, scores: Scores, game: Game, suffix: str = "") -> dict[str, torch.Tensor]:
    samples = range(game.config.evaluation.samples_per_prompt)
    return {
        f"{prefix}expert{suffix}": _column(scores, game, [EXPERT])[:, 0],
        f"{prefix}generated{suffix}": _column(scores, game, samples),
    }


def _on_turn(game: Game, policy: int, turns: dict[int, str]) -> Scores:
    scores = dict(_scores(game, policy, "expert"))
    for player in sorted(set(turns.values())):
        sampled = _scores(game, policy, player)
        scores |= {key: value for key, value in sampled.items() if turns[key[0]] == player}
    return scores


def _column(scores: Scores, game: Game, samples: Sequence[int] | range) -> torch.Tensor:
    return torch.tensor([[scores[example.index, sample] for sample in samples] for example in game.held_out])
