"""Score token by token: a scorer's next-token distributions at the generated responses, computed once and stored."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import numpy as np
import torch

from sparring.errors import RunError
from sparring.policies import TEACHER, words
from sparring.selfplay.run import Run
from sparring.selfplay.stages.score import OVERFLOW_CURE, Responses, by_prompt, tokens_digest
from sparring.shards import NextTokenRow, ResponseKey, next_tokens_path, read_next_tokens, read_samples
from sparring.tokens import LikelyTokens
from sparring.trainer.triples import Triple
from sparring.work.fill import Work
from sparring.work.job import Rows

_LikelyTokens = dict[ResponseKey, LikelyTokens]


def with_next_tokens(run: Run, iteration: int, shards: Sequence[Path], triples: Sequence[Triple]) -> list[Triple]:
    """The triples with the scorer's next-token distributions at their generated responses, if the phase has a scorer.

    They are read from the iteration's shards, or computed and written there. The mean probability of all tokens that
    are not among the scorer's candidates is logged.
    """
    phase, stage = run.phase(iteration), run.directory.iteration(iteration)
    scorer = phase.scorer
    if scorer is None:
        return list(triples)
    policy, prompts = scorer.number(iteration), run.prompts(iteration)
    asked = run.prepared.scorer_prompts(phase, prompts)
    parts = {next_tokens_path(stage, shard, policy): _responses(shard, asked) for shard in shards}
    lengths = {key: len(response) for part in parts.values() for key, (_, response) in part.items()}
    vocabulary = run.prepared.model_config.get_text_config().vocab_size
    job = NextTokens(policy, scorer.candidates, vocabulary)
    run.fill(
        job,
        Work(
            pieces={(path,): part for path, part in parts.items()},
            missing=lambda path: _stored(path, parts[path], job) is None,
            tokens=lambda rows: sum(lengths[row["index"], row["sample"]] for row in rows),
            title=f"iteration {iteration}: score tokens under {words(policy)}",
            # A teacher's log-probs depend on more than a shared shard would record, so only this run reuses them.
            shared=iteration == 0 and policy != TEACHER,
        ),
    )
    known: _LikelyTokens = {}
    for path, part in parts.items():
        stored = _stored(path, part, job)
        if stored is None:
            raise RunError(f"{path} holds next tokens of other responses; delete it, then `sparring resume`")
        known |= stored
    run.log({"stage": "score", "iteration": iteration, "scorer/others": _others(known)})
    return [
        replace(triple, likely_tokens=tuple(known[item.index, k] for k in range(len(triple.generated_ids))))
        for item, triple in zip(prompts, triples, strict=True)
    ]


@dataclass(frozen=True)
class NextTokens:
    """The job that finds a policy's likeliest next tokens at each token of some responses.

    Attributes:
        policy: The policy's number.
        count: The number of tokens at each place.
        vocabulary: The size of the vocabulary of the policy in training, to which they belong.
    """

    policy: int
    count: int
    vocabulary: int

    @contextmanager
    def open(self, run: Run) -> Iterator[Callable[[Responses], list[Rows]]]:
        """Loads the policy, and yields the function from responses to the rows of their shard."""
        run.activate(self.policy)
        yield lambda responses: [_rows(run, self, responses)]

    def origin(self, run: Run) -> dict[str, Any]:
        """See `Job`."""
        settings = {"policy": self.policy, "count": self.count, "vocabulary": self.vocabulary}
        return run.origin(self.policy) | {"work": "next tokens"} | settings


def _rows(run: Run, job: NextTokens, responses: Responses) -> list[NextTokenRow]:
    groups = list(by_prompt(responses).values())
    values = run.policy.likely_tokens(
        [responses[keys[0]][0] for keys in groups],
        [[responses[key][1] for key in keys] for keys in groups],
        count=job.count,
        vocabulary=job.vocabulary,
        temperature=run.temperature(job.policy),
    )
    return [
        _row(job, key, tokens, tokens_digest(*responses[key]))
        for keys, of_prompt in zip(groups, values, strict=True)
        for key, tokens in zip(keys, of_prompt, strict=True)
    ]


def _row(job: NextTokens, key: ResponseKey, tokens: LikelyTokens, digest: str) -> NextTokenRow:
    if not bool(tokens.log_probs.isfinite().all()):
        raise RunError(
            f"the scorer's log-probs of response {key[1]} to the prompt of row {key[0]} are not finite numbers\n"
            f"  fix: {OVERFLOW_CURE}"
        )
    return {
        "index": key[0],
        "sample": key[1],
        "policy": job.policy,
        "digest": digest,
        "ids": tokens.ids.to(torch.int32).flatten().numpy(force=True),
        "log_probs": tokens.log_probs.float().flatten().numpy(force=True),
    }


def _responses(shard: Path, asked: Mapping[int, Sequence[int]]) -> dict[ResponseKey, tuple[Sequence[int], list[int]]]:
    """The responses of a sample shard, each with its prompt in the form that the scorer reads."""
    return {
        (index, row["sample"]): (asked[index], row["response_ids"])
        for index, rows in read_samples([shard]).items()
        for row in rows
    }


def _stored(path: Path, responses: Responses, job: NextTokens) -> _LikelyTokens | None:
    """The rows of a shard; None unless they are of exactly these responses, with as many tokens of the vocabulary."""
    rows = read_next_tokens(path) if path.exists() else []
    digests = {key: tokens_digest(*tokens) for key, tokens in responses.items()}
    if {(row["index"], row["sample"]): row["digest"] for row in rows} != digests:
        return None
    found: _LikelyTokens = {}
    for row in rows:
        key, ids, log_probs = (row["index"], row["sample"]), row["ids"], row["log_probs"]
        length = len(responses[key][1])
        if ids.size != length * job.count or log_probs.size != length * (job.count + 1):
            return None
        if ids.min() < 0 or ids.max() >= job.vocabulary or not np.isfinite(log_probs).all():
            return None
        found[key] = LikelyTokens(
            ids=torch.from_numpy(ids.reshape(length, -1)), log_probs=torch.from_numpy(log_probs.reshape(length, -1))
        )
    return found


def _others(known: _LikelyTokens) -> float:
    """The mean probability of all tokens that are not among the scorer's candidates."""
    return float(torch.cat([each.log_probs[:, -1] for each in known.values()]).exp().mean())
