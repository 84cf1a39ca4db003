"""Score: computes the log-probs of responses under the opponent's policies, once, and stores them."""

from __future__ import annotations

import hashlib
import math
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from itertools import groupby
from pathlib import Path
from typing import Any

import torch

from sparring.errors import RunError
from sparring.log_ratios import OPPONENT_FIELDS, REFERENCE_FIELDS
from sparring.policies import BASE, words
from sparring.selfplay.phases import Phase
from sparring.selfplay.run import Run
from sparring.selfplay.stages.generate import generate_reference
from sparring.shards import ResponseKey, SampleRow, ScoreRow, read_samples, read_scores, samples_of, scores_path
from sparring.trainer.triples import Round, Triple
from sparring.work.fill import Work
from sparring.work.job import Rows, Shards

Scores = dict[ResponseKey, float]
"""The log-prob log π(y|x) of each response, nats."""

Responses = Mapping[ResponseKey, tuple[Sequence[int], Sequence[int]]]
"""The token ids of each response's prompt and of the response."""

Parts = Mapping[Shards, Sequence[Responses]]
"""Shards of log-probs that are computed together, each group with the responses of each of its shards."""

OVERFLOW_CURE = "compute in float32 (model.dtype, without fp16), or start a new run with a lower learning rate"
"""The fix if a policy's log-prob of a response is not finite."""


def score(run: Run, iteration: int, shards: Sequence[Path]) -> list[Triple]:
    """Scores the responses under each scorer of an iteration, and joins them into training triples."""
    phase, stage = run.phase(iteration), run.directory.iteration(iteration)
    experts = {item.index: item.expert_ids for item in run.prompts(iteration)} if phase.reads_expert else {}
    responses = {shard: responses_of(shard, experts) for shard in shards}
    by_scorer = {
        policy: joined(
            score_files(
                run,
                policy,
                {(scores_path(stage, shard, policy),): [part] for shard, part in responses.items()},
                title=f"iteration {iteration}: score under {words(policy)}",
                shared=iteration == 0,
            ).values()
        )
        for policy in phase.scorers(iteration)
    }
    return _triples(run, iteration, shards, by_scorer, experts)


def log_ratios_to_base(run: Run, iteration: int, shard: Path) -> Scores:
    """Log π_t − log π_ref of the responses of a sample shard that `score` has scored under both, nats."""
    stage = run.directory.iteration(iteration)
    policy, base = (
        {(row["index"], row["sample"]): row["log_prob"] for row in read_scores(scores_path(stage, shard, scorer))}
        for scorer in (iteration, BASE)
    )
    return {key: log_prob - base[key] for key, log_prob in policy.items()}


def score_files(
    run: Run,
    policy: int,
    parts: Parts,
    *,
    title: str,
    per_token: bool = False,
    shared: bool = False,
) -> dict[Path, Scores]:
    """Log-probs of responses under one policy, by shard: read from the shards, or computed and written there.

    Each is stored with a digest of its tokens, so a score of other tokens is never used; if `per_token`, also with the
    log-prob of every token. If `shared`, they are kept for other runs too.
    """
    responses = {path: part for shards, of_each in parts.items() for path, part in zip(shards, of_each, strict=True)}
    lengths = {tokens_digest(*tokens): len(tokens[1]) for part in responses.values() for tokens in part.values()}
    run.fill(
        Scoring(policy, per_token),
        Work(
            pieces=parts,
            missing=lambda path: _stored(path, responses[path], per_token=per_token) is None,
            tokens=lambda rows: sum(lengths[row["digest"]] for row in rows),
            title=title,
            shared=shared,
        ),
    )
    scores: dict[Path, Scores] = {}
    for path, part in responses.items():
        stored = _stored(path, part, per_token=per_token)
        if stored is None:
            raise RunError(f"{path} holds scores of other responses; delete it, then `sparring resume`")
        scores[path] = stored
    return scores


def joined(parts: Iterable[Scores]) -> Scores:
    """The scores of several shards of one author's responses."""
    return {key: log_prob for part in parts for key, log_prob in part.items()}


@dataclass(frozen=True)
class Scoring:
    """The job that scores responses under a policy.

    Attributes:
        policy: The policy's number.
        per_token: Whether to keep the log-prob of every token too.
    """

    policy: int
    per_token: bool

    @contextmanager
    def open(self, run: Run) -> Iterator[Callable[[Sequence[Responses]], list[Rows]]]:
        """Loads the policy, and yields the function from the responses of some shards to the rows of each."""
        run.activate(self.policy)
        yield lambda parts: _score_rows(run, self, parts)

    def origin(self, run: Run) -> dict[str, Any]:
        """See `Job`."""
        return run.origin(self.policy) | {"work": "score", "policy": self.policy, "per_token": self.per_token}


def _score_rows(run: Run, job: Scoring, parts: Sequence[Responses]) -> list[Rows]:
    # The responses to a prompt are scored together, whatever their shards, so that the prompt is read once.
    groups: dict[int, list[tuple[int, ResponseKey]]] = {}
    for number, part in enumerate(parts):
        for key in part:
            groups.setdefault(key[0], []).append((number, key))
    values = run.policy.log_probs(
        [parts[number][key][0] for (number, key), *_ in groups.values()],
        [[parts[number][key][1] for number, key in group] for group in groups.values()],
        temperature=run.temperature(job.policy),
    )
    rows: list[list[ScoreRow]] = [[] for _ in parts]
    for group, of_prompt in zip(groups.values(), values, strict=True):
        for (number, key), tokens in zip(group, of_prompt, strict=True):
            rows[number].append(_score_row(job, key, tokens, tokens_digest(*parts[number][key])))
    return [*rows]


def _score_row(job: Scoring, key: ResponseKey, tokens: torch.Tensor, digest: str) -> ScoreRow:
    log_prob = float(tokens.sum())
    if not math.isfinite(log_prob):
        whose = "the expert's response" if key[1] is None else f"response {key[1]}"
        raise RunError(
            f"the log-prob of {whose} to the prompt of row {key[0]} is {log_prob}: the policy's logits overflow there\n"
            f"  fix: {OVERFLOW_CURE}"
        )
    row: ScoreRow = {
        "index": key[0],
        "sample": key[1],
        "policy": job.policy,
        "log_prob": log_prob,
        "digest": digest,
    }
    return {**row, "token_log_probs": tokens.numpy(force=True)} if job.per_token else row


def _stored(path: Path, responses: Responses, *, per_token: bool) -> Scores | None:
    """The scores in a shard; None unless they are of exactly these responses, with each token's if `per_token`."""
    rows = read_scores(path) if path.exists() else []
    digests = {key: tokens_digest(*tokens) for key, tokens in responses.items()}
    if {(row["index"], row["sample"]): row["digest"] for row in rows} != digests:
        return None
    if per_token and any(row.get("token_log_probs") is None for row in rows):
        return None
    return {(row["index"], row["sample"]): row["log_prob"] for row in rows}


def tokens_digest(prompt_ids: Sequence[int], response_ids: Sequence[int]) -> str:
    """The digest of a response and its prompt, which is stored beside everything that is computed of them."""
    return hashlib.sha256(f"{list(prompt_ids)}{list(response_ids)}".encode()).hexdigest()[:16]


def by_prompt(responses: Responses) -> dict[int, list[ResponseKey]]:
    """The responses by prompt index; those of a prompt follow each other in `responses`."""
    return {index: list(keys) for index, keys in groupby(responses, key=lambda key: key[0])}


def opponent_scores(run: Run, iteration: int, by_scorer: Mapping[int, Scores]) -> Scores:
    """The opponent's log-probs, log π_o, combined from those under its scorers."""
    opponent = run.phase(iteration).opponent
    scorers = opponent.spec(iteration).scorers
    keys = list(by_scorer[scorers[0]])
    tensors = {
        policy: torch.tensor([by_scorer[policy][key] for key in keys], dtype=torch.float64) for policy in scorers
    }
    return dict(zip(keys, opponent.combine(iteration, tensors).tolist(), strict=True))


def responses_of(
    shard: Path, experts: Mapping[int, Sequence[int]]
) -> dict[ResponseKey, tuple[Sequence[int], Sequence[int]]]:
    """The responses of a sample shard; those to a prompt come after its expert's response, if it has one."""
    responses: dict[ResponseKey, tuple[Sequence[int], Sequence[int]]] = {}
    for index, rows in read_samples([shard]).items():
        if index in experts:
            responses[index, None] = (rows[0]["prompt_ids"], experts[index])
        responses |= {(index, row["sample"]): (row["prompt_ids"], row["response_ids"]) for row in rows}
    return responses


def _triples(
    run: Run,
    iteration: int,
    shards: Sequence[Path],
    by_scorer: Mapping[int, Scores],
    experts: Mapping[int, Sequence[int]],
) -> list[Triple]:
    phase = run.phase(iteration)
    requires = phase.objective.requires
    samples = read_samples(shards)
    initial = read_samples(_first_shards(run, phase)) if "policy_initial" in requires else {}
    reference = read_samples(generate_reference(run)) if "policy_reference" in requires else {}
    opponent = opponent_scores(run, iteration, by_scorer) if requires & OPPONENT_FIELDS else None
    base = by_scorer[BASE] if requires & REFERENCE_FIELDS else None
    rounds = [_round(run, member, experts) for member in phase.team(iteration)[1:]]
    triples = []
    for example in run.prompts(iteration):
        index, rows = example.index, samples[example.index]
        scores: dict[str, Any] = {}
        for player, known in (("opponent", opponent), ("reference", base)):
            if known is not None:
                scores[f"{player}_expert"] = known.get((index, None))
                scores[f"{player}_generated"] = tuple(known[index, row["sample"]] for row in rows)
        triples.append(
            Triple(
                prompt_ids=example.prompt_ids,
                expert_ids=experts.get(index, ()),
                generated_ids=_ids(rows),
                initial_ids=_ids(initial.get(index, [])),
                reference_ids=_ids(reference.get(index, [])),
                row=index,
                rounds=[of_member(index) for of_member in rounds],
                **scores,
            )
        )
    return triples


def _round(run: Run, member: int, experts: Mapping[int, Sequence[int]]) -> Callable[[int], Round]:
    """By prompt index, the responses that a team's member generated in its own iteration, with its scores of then."""
    stage = run.directory.iteration(member)
    shards = list(samples_of(stage))
    parts: Parts = {(scores_path(stage, shard, member),): [responses_of(shard, experts)] for shard in shards}
    scores = joined(score_files(run, member, parts, title=f"iteration {member}: score under {words(member)}").values())
    samples = read_samples(shards)

    def of_prompt(index: int) -> Round:
        rows = samples[index]
        generated = [scores[index, row["sample"]] for row in rows]
        return Round(generated_ids=_ids(rows), expert=scores[index, None], generated=generated)

    return of_prompt


def _ids(rows: Sequence[SampleRow]) -> list[list[int]]:
    return [row["response_ids"] for row in rows]


def _first_shards(run: Run, phase: Phase) -> list[Path]:
    """The sample shards of the phase's first iteration."""
    return list(samples_of(run.directory.iteration(phase.iterations.start)))
