"""The objective of an iteration, measured on the held-out prompts."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from typing import Any

import torch

from sparring.log_ratios import (
    OPPONENT_FIELDS,
    PREFERENCE_FIELDS,
    REFERENCE_FIELDS,
    TEAM_FIELDS,
    TOKEN_FIELDS,
    LogRatios,
)
from sparring.metrics import Estimate, reward_agreement
from sparring.policies import BASE, TEACHER, Drawn
from sparring.regularizers import split_regularizers
from sparring.selfplay.phases import Phase
from sparring.selfplay.run import Run
from sparring.selfplay.stages.held_out import Turns, held_out_experts, held_out_samples, held_out_scores, held_out_turns
from sparring.selfplay.stages.score import Scores, opponent_scores
from sparring.shard_files import write_shard
from sparring.shards import held_out_rewards_path, log_ratios_path, read_rewards
from sparring.types import Objective, OpponentSpec, Variational
from sparring.work import processes


def game_on_held_out(run: Run, iteration: int) -> dict[str, Estimate]:
    """The objective and its metrics after an iteration, on the held-out prompts.

    The generated responses are held-out ones of the opponent's generators, which take turns as in training. The log
    ratios to the opponent are kept as a shard. Nothing is measured where no expert's response is held out.
    """
    phase = run.phase(iteration)
    turns = held_out_turns(run, iteration)
    if not turns or not _is_read(phase):
        return {}
    spec = phase.opponent.spec(iteration)
    by_scorer = {scorer: _on_turn(run, scorer, turns) for scorer in phase.scorers(iteration)}
    policy = _on_turn(run, iteration + 1, turns)
    fields = _sides("policy_", policy, run) | _sides("", _lengths(run, turns), run, suffix="_length")
    requires, found = phase.objective.requires, dict[str, Estimate]()
    if requires & OPPONENT_FIELDS:
        ratios = _sides("", _minus(policy, opponent_scores(run, iteration, by_scorer)), run)
        _keep_log_ratios(run, iteration, ratios)
        fields |= ratios
        found = _agreement(run, iteration, ratios)
    if not _is_measured(phase):
        return found
    if requires & TEAM_FIELDS:
        fields |= _team(run, iteration)
    if requires & REFERENCE_FIELDS:
        fields |= _sides("reference_", _minus(policy, by_scorer[BASE]), run)
    samples = range(run.config.evaluation.samples_per_prompt)
    for name, drawn in _others(phase).items():
        fields[name] = _column(held_out_scores(run, iteration + 1, drawn)[drawn], run, samples)
    output = phase.objective(LogRatios(**fields))
    values = {"objective": output.loss} | output.metrics
    if run.teacher is not None and "divergence_estimate" in output.metrics and spec.base_share == 0.0:
        divergence = _true_divergence(run, phase.objective, spec, turns)
        values |= {} if divergence is None else {"truth/divergence": divergence}
    return found | {name: Estimate.of(value.tolist()) for name, value in values.items()}


def _agreement(run: Run, iteration: int, ratios: Mapping[str, torch.Tensor]) -> dict[str, Estimate]:
    """How far the implicit reward and the explicit one, where it was learnt, rank the same responses alike."""
    path = held_out_rewards_path(run.directory.iteration(iteration))
    if not path.exists():
        return {}
    rewards = {(row["index"], row["sample"]): row["reward"] for row in read_rewards(path)}
    explicit = _sides("", rewards, run)
    return reward_agreement(
        *(torch.cat([side["expert"][:, None], side["generated"]], dim=1).tolist() for side in (ratios, explicit))
    )


def responses_in_game(run: Run, iteration: int) -> list[Drawn]:
    """Whose held-out responses `game_on_held_out` reads besides the expert's; the iteration's policy scores them all.

    Where there is nothing to measure, none.
    """
    phase, players = run.phase(iteration), list(dict.fromkeys(held_out_turns(run, iteration).values()))
    if not players or not _is_read(phase):
        return []
    if not _is_measured(phase):
        return players
    members = phase.team(iteration) if phase.objective.requires & TEAM_FIELDS else ()
    return [*players, *(Drawn(member, "sampled") for member in members), *_others(phase).values()]


def _is_read(phase: Phase) -> bool:
    """Whether anything is made of the opponent's held-out responses: the objective's value, or the log ratios to it."""
    return _is_measured(phase) or bool(phase.objective.requires & OPPONENT_FIELDS)


def _is_measured(phase: Phase) -> bool:
    """Whether the objective has a value there.

    No judge compares held-out responses, and log-probs are kept as sums over a response, not token by token.
    """
    return not phase.objective.requires & (PREFERENCE_FIELDS | TOKEN_FIELDS)


def _others(phase: Phase) -> dict[str, Drawn]:
    """The responses that are neither the expert's nor the opponent's, by the field for which they are scored."""
    numbers = {"policy_initial": phase.iterations.start, "policy_reference": BASE}
    return {name: Drawn(n, "sampled") for name, n in numbers.items() if name in phase.objective.requires}


def _true_divergence(run: Run, objective: Objective, spec: OpponentSpec, turns: Turns) -> torch.Tensor | None:
    """`[B]` values whose mean is the divergence that `divergence_estimate` bounds, from the teacher's log-probs.

    The bound holds for any reward, so π_o is here the distribution of the generated responses: the mean of the policies
    that share the prompts. None where the objective does not say at which reward the bound is reached.
    """
    alone, _ = split_regularizers(objective)
    if not isinstance(alone, Variational):
        return None
    drawn = [_on_turn(run, policy, turns) for policy in spec.generators]
    mean = {key: _log_mean([scores[key] for scores in drawn]) for key in drawn[0]}
    density = LogRatios(**_sides("", _minus(_on_turn(run, TEACHER, turns), mean), run))
    return alone(alone.optimum(density)).metrics["divergence_estimate"]


def _team(run: Run, iteration: int) -> dict[str, torch.Tensor]:
    """Δ against each member of a team, with its own held-out responses: `[B, J]` and `[B, J, K]`, nats."""
    members = []
    for member in run.phase(iteration).team(iteration):
        turns = {example.index: Drawn(member, "sampled") for example in held_out_experts(run)}
        ratios = _minus(_on_turn(run, iteration + 1, turns), _on_turn(run, member, turns))
        members.append(_sides("", ratios, run))
    return {f"team_{side}": torch.stack([each[side] for each in members], dim=1) for side in ("expert", "generated")}


def _log_mean(log_probs: Sequence[float]) -> float:
    """Log of the mean of some probabilities."""
    return float(torch.tensor(log_probs, dtype=torch.float64).logsumexp(0)) - math.log(len(log_probs))


def _keep_log_ratios(run: Run, iteration: int, ratios: Mapping[str, torch.Tensor]) -> None:
    """Writes Δ of the expert's and of the generated responses to each held-out prompt, nats."""
    path = log_ratios_path(run.directory.iteration(iteration))
    columns = zip(held_out_experts(run), ratios["expert"].tolist(), ratios["generated"].tolist(), strict=True)
    rows = [{"index": each.index, "expert": expert, "generated": generated} for each, expert, generated in columns]
    processes.on_main(lambda: write_shard(path, rows))


def _minus(left: Scores, right: Scores) -> Scores:
    """The difference of two policies' log-probs, response by response, nats."""
    return {key: left[key] - right[key] for key in left}


def _lengths(run: Run, turns: Turns) -> Scores:
    """The number of tokens of the experts' responses, and of those of the generator whose turn it is."""
    lengths: Scores = {(example.index, None): float(len(example.expert_ids)) for example in held_out_experts(run)}
    for player in dict.fromkeys(turns.values()):
        for index, rows in held_out_samples(run, player).items():
            if turns.get(index) == player:
                lengths |= {(index, row["sample"]): float(len(row["response_ids"])) for row in rows}
    return lengths


def _sides(prefix: str, scores: Scores, run: Run, suffix: str = "") -> dict[str, Any]:
    """Two fields of `LogRatios`, named by what is added to "expert", `[B]`, and to "generated", `[B, K]`."""
    samples = range(run.config.evaluation.samples_per_prompt)
    return {
        f"{prefix}expert{suffix}": _column(scores, run, [None])[:, 0],
        f"{prefix}generated{suffix}": _column(scores, run, samples),
    }


def _on_turn(run: Run, policy: int, turns: Turns) -> Scores:
    """A policy's log-probs of the experts' responses, and of those of the generator whose turn it is, nats."""
    # One by one: most were scored before, together with what else was then at hand.
    scores = dict(held_out_scores(run, policy, "expert")["expert"])
    for player in dict.fromkeys(turns.values()):
        sampled = held_out_scores(run, policy, player)[player]
        scores |= {key: value for key, value in sampled.items() if turns.get(key[0]) == player}
    return scores


def _column(scores: Scores, run: Run, samples: Sequence[int | None] | range) -> torch.Tensor:
    """`[B, K]` values of K samples for each prompt with an expert; the expert's own response is the sample None."""
    return torch.tensor([[scores[example.index, sample] for sample in samples] for example in held_out_experts(run)])
