"""The objective of an iteration and its metrics, computed on the held-out prompts."""

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


def objective_on_held_out(run: Run, iteration: int) -> dict[str, Estimate]:
    """The objective and its metrics after an iteration, on the held-out prompts that have an expert's response.

    The generated responses are the held-out samples of the opponent's generators, which share the prompts as in
    training. The log ratios to the opponent are written to a shard. The result is empty where no such prompt is held
    out, or where the objective reads neither these responses nor those log ratios.
    """
    phase, turns = run.phase(iteration), held_out_turns(run, iteration)
    if not turns or not _is_read(phase):
        return {}
    by_scorer = {scorer: _log_probs(run, scorer, turns) for scorer in phase.scorers(iteration)}
    policy = _log_probs(run, iteration + 1, turns)
    fields = _fields(run, policy, prefix="policy_") | _fields(run, _lengths(run, turns), suffix="_length")
    agreement = dict[str, Estimate]()
    if phase.objective.requires & OPPONENT_FIELDS:
        ratios = _fields(run, _difference(policy, opponent_scores(run, iteration, by_scorer)))
        _keep_log_ratios(run, iteration, ratios)
        fields |= ratios
        agreement = _agreement(run, iteration, ratios)
    if not _is_measured(phase):
        return agreement
    if phase.objective.requires & REFERENCE_FIELDS:
        fields |= _fields(run, _difference(policy, by_scorer[BASE]), prefix="reference_")
    fields |= _team_fields(run, iteration) | _further_fields(run, iteration)
    output = phase.objective(LogRatios(**fields))
    values = {"objective": output.loss} | output.metrics
    spec = phase.opponent.spec(iteration)
    if run.teacher is not None and "divergence_estimate" in output.metrics and spec.base_share == 0.0:
        divergence = _true_divergence(run, phase.objective, spec, turns)
        values |= {} if divergence is None else {"truth/divergence": divergence}
    return agreement | {name: Estimate.of(value.tolist()) for name, value in values.items()}


def authors_read(run: Run, iteration: int) -> list[Drawn]:
    """Whose held-out responses `objective_on_held_out` reads, the expert apart; policy t + 1 scores them all."""
    phase, players = run.phase(iteration), list(dict.fromkeys(held_out_turns(run, iteration).values()))
    if not players or not _is_read(phase):
        return []
    if not _is_measured(phase):
        return players
    members = phase.team(iteration) if phase.objective.requires & TEAM_FIELDS else ()
    return [*players, *(Drawn(member, "sampled") for member in members), *_further_authors(phase).values()]


def _is_read(phase: Phase) -> bool:
    """Whether the held-out responses of a phase's opponent are used: by its objective, or for the log ratios to it."""
    return _is_measured(phase) or bool(phase.objective.requires & OPPONENT_FIELDS)


def _is_measured(phase: Phase) -> bool:
    """Whether a phase's objective can be computed on the held-out prompts.

    Not if it reads preferences, for no judge compares the opponent's held-out responses; nor if it reads single tokens,
    for held-out log-probs are kept as sums over a response.
    """
    return not phase.objective.requires & (PREFERENCE_FIELDS | TOKEN_FIELDS)


def _further_authors(phase: Phase) -> dict[str, Drawn]:
    """By the field of `LogRatios` that holds them, the further policies whose responses a phase's objective reads."""
    policies = {"policy_initial": phase.iterations.start, "policy_reference": BASE}
    return {field: Drawn(n, "sampled") for field, n in policies.items() if field in phase.objective.requires}


def _further_fields(run: Run, iteration: int) -> dict[str, torch.Tensor]:
    """`[B, K]` log-probs under policy t + 1 of the responses of `_further_authors`, nats."""
    samples = range(run.config.evaluation.samples_per_prompt)
    authors = _further_authors(run.phase(iteration))
    scores = {field: held_out_scores(run, iteration + 1, author)[author] for field, author in authors.items()}
    return {field: _tensor(run, of_author, samples) for field, of_author in scores.items()}


def _team_fields(run: Run, iteration: int) -> dict[str, torch.Tensor]:
    """Δ against each member of a team, with its own held-out responses: `[B, J]` and `[B, J, K]`, nats."""
    phase = run.phase(iteration)
    if not phase.objective.requires & TEAM_FIELDS:
        return {}
    members = []
    for member in phase.team(iteration):
        turns = {example.index: Drawn(member, "sampled") for example in held_out_experts(run)}
        ratios = _difference(_log_probs(run, iteration + 1, turns), _log_probs(run, member, turns))
        members.append(_fields(run, ratios))
    return {f"team_{side}": torch.stack([each[side] for each in members], dim=1) for side in ("expert", "generated")}


def _agreement(run: Run, iteration: int, ratios: Mapping[str, torch.Tensor]) -> dict[str, Estimate]:
    """How often the log ratio ranks responses as the learnt reward does; empty where no reward is learnt."""
    path = held_out_rewards_path(run.directory.iteration(iteration))
    if not path.exists():
        return {}
    rewards = {(row["index"], row["sample"]): row["reward"] for row in read_rewards(path)}
    explicit = _fields(run, rewards)
    return reward_agreement(
        *(torch.cat([side["expert"][:, None], side["generated"]], dim=1).tolist() for side in (ratios, explicit))
    )


def _true_divergence(run: Run, objective: Objective, spec: OpponentSpec, turns: Turns) -> torch.Tensor | None:
    """`[B]` values whose mean is the divergence that `divergence_estimate` bounds, from the teacher's log-probs.

    The bound holds for any reward, so π_o is here the distribution of the generated responses: the mean of the policies
    that share the prompts. None where the objective does not say at which reward the bound is reached.
    """
    alone, _ = split_regularizers(objective)
    if not isinstance(alone, Variational):
        return None
    drawn = [_log_probs(run, policy, turns) for policy in spec.generators]
    mean = {key: _log_mean([scores[key] for scores in drawn]) for key in drawn[0]}
    density = LogRatios(**_fields(run, _difference(_log_probs(run, TEACHER, turns), mean)))
    return alone(alone.optimum(density)).metrics["divergence_estimate"]


def _log_mean(log_probs: Sequence[float]) -> float:
    """Log of the mean of some probabilities."""
    return float(torch.tensor(log_probs, dtype=torch.float64).logsumexp(0)) - math.log(len(log_probs))


def _keep_log_ratios(run: Run, iteration: int, ratios: Mapping[str, torch.Tensor]) -> None:
    """Writes Δ of the expert's and of the generated responses to each held-out prompt, nats."""
    path = log_ratios_path(run.directory.iteration(iteration))
    columns = zip(held_out_experts(run), ratios["expert"].tolist(), ratios["generated"].tolist(), strict=True)
    rows = [{"index": each.index, "expert": expert, "generated": generated} for each, expert, generated in columns]
    processes.on_main(lambda: write_shard(path, rows))


def _log_probs(run: Run, policy: int, turns: Turns) -> Scores:
    """A policy's log-probs of the experts' responses, and of those of the generator whose turn it is, nats."""
    # Author by author: most were scored before, each together with others.
    scores = dict(held_out_scores(run, policy, "expert")["expert"])
    for player in dict.fromkeys(turns.values()):
        sampled = held_out_scores(run, policy, player)[player]
        scores |= {key: value for key, value in sampled.items() if turns.get(key[0]) == player}
    return scores


def _lengths(run: Run, turns: Turns) -> Scores:
    """The lengths in tokens of the responses whose log-probs `_log_probs` gives."""
    lengths: Scores = {(example.index, None): float(len(example.expert_ids)) for example in held_out_experts(run)}
    for player in dict.fromkeys(turns.values()):
        for index, rows in held_out_samples(run, player).items():
            if turns.get(index) == player:
                lengths |= {(index, row["sample"]): float(len(row["response_ids"])) for row in rows}
    return lengths


def _difference(left: Scores, right: Scores) -> Scores:
    """The difference of two policies' log-probs, response by response, nats."""
    return {key: left[key] - right[key] for key in left}


def _fields(run: Run, values: Scores, *, prefix: str = "", suffix: str = "") -> dict[str, Any]:
    """Two fields of `LogRatios`: {prefix}expert{suffix}, `[B]`, and {prefix}generated{suffix}, `[B, K]`."""
    return {
        f"{prefix}expert{suffix}": _tensor(run, values, [None])[:, 0],
        f"{prefix}generated{suffix}": _tensor(run, values, range(run.config.evaluation.samples_per_prompt)),
    }


def _tensor(run: Run, values: Scores, samples: Sequence[int | None] | range) -> torch.Tensor:
    """`[B, K]` values of K samples for each prompt with an expert; the expert's own response is the sample None."""
    return torch.tensor([[values[example.index, sample] for sample in samples] for example in held_out_experts(run)])
