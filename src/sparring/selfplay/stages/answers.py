"""Answers: the held-out responses that the report shows, with the log ratio of every token."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from itertools import accumulate, chain, pairwise, takewhile
from pathlib import Path
from typing import Any

import numpy as np
from tokenizers.decoders import DecodeStream

from sparring.data import is_right
from sparring.examples import EncodedExample
from sparring.judges import Verdict
from sparring.metrics import HeldOut, Response
from sparring.policies import BASE
from sparring.selfplay.run import Run
from sparring.selfplay.stages.held_out import (
    authors_measured,
    held_out_experts,
    held_out_score_shards,
    held_out_scores,
)
from sparring.selfplay.stages.score import Responses
from sparring.shard_files import remove_damaged, write_shard
from sparring.shards import AnswerRow, ResponseKey, answers_path, read_scores
from sparring.work import processes


def keep_answers(run: Run, policy: int, held_out: HeldOut) -> None:
    """Writes the held-out responses that a policy is measured by to a shard, unless it is there already."""
    path = answers_path(run.directory.stage(policy))
    processes.on_main(lambda: remove_damaged(path))
    if processes.on_main(path.exists):
        return
    responses = _responses(run, policy, held_out)
    authors = authors_measured(run, policy)
    own, base = (
        {kind: held_out_score_shards(run, scorer, author) for kind, author in authors.items()}
        for scorer in (policy, BASE)
    )

    def write() -> None:
        told: dict[str, Any] = {
            "examples": {example.index: example for example in run.held_out},
            "tokenizer": run.policy.tokenizer,
            "preferences": _preferences(run),
        }
        rows = (answer_rows(kind, responses[kind], own=own[kind], base=base[kind], **told) for kind in authors)
        write_shard(path, chain.from_iterable(rows))

    processes.on_main(write)


def _responses(run: Run, policy: int, held_out: HeldOut) -> dict[str, dict[ResponseKey, Response]]:
    """The responses by their kind in the report, prompt index and sample number (None for the expert's)."""
    given = list(zip(run.held_out, held_out.greedy, held_out.sampled, strict=True)) if held_out.sampled else []
    experts = zip(held_out_experts(run), held_out.expert, strict=True)
    log_probs = held_out_scores(run, policy, "data")["data"]
    return {
        "expert": {(example.index, None): expert for example, expert in experts},
        "greedy": {(example.index, 0): greedy for example, greedy, _ in given},
        "sampled": {(example.index, k): answer for example, _, answers in given for k, answer in enumerate(answers)},
        "data": {
            (example.index, k): _compared(run, example, k, log_probs[example.index, k])
            for example in run.held_out
            for k in range(len(example.compared_ids))
        },
    }


def _compared(run: Run, example: EncodedExample, number: int, log_prob: float) -> Response:
    """A response that the data compare with others."""
    assert example.comparison is not None  # noqa: S101 - it has token ids
    text, ids = example.comparison.responses[number], example.compared_ids[number]
    right = is_right(run.prepared.verifier, text, example.reference_answer)
    return Response(text=text, tokens=len(ids), finish_reason=run.finish_reason(ids), log_prob=log_prob, right=right)


def _preferences(run: Run) -> dict[ResponseKey, float | None]:
    """P(it beats the other responses to its prompt) of each response that the data compare."""
    return {
        (example.index, k): rate
        for example in run.held_out
        if example.comparison is not None
        for k, rate in enumerate(Verdict(pairwise=example.comparison.pairwise).win_rates())
    }


def answer_rows(
    kind: str,
    responses: Mapping[ResponseKey, Response],
    *,
    own: Mapping[Path, Responses],
    base: Mapping[Path, Responses],
    examples: Mapping[int, EncodedExample],
    tokenizer: Any,
    preferences: Mapping[ResponseKey, float | None],
) -> list[AnswerRow]:
    """One row a response.

    Args:
        kind: "expert", "greedy", "sampled" or "data".
        responses: The responses, by prompt index and sample number (None for the expert's).
        own: The shards of their log-probs under the policy, each with the responses that it scores.
        base: The shards of their log-probs under the base model, likewise.
        examples: The prompts, by index.
        tokenizer: The tokenizer of the token ids.
        preferences: P(it beats the other responses to its prompt) of each response that the data compare.

    Returns:
        Rows with `text`, special tokens included; `ends`, the character of the text at which each token ends;
        `log_ratios`, log π(token) − log π_base(token), nats; `log_prob`, log π(y|x); `right`, the verifier's verdict;
        and `earlier`, the turns before the prompt, where any prompt has some.
    """
    chats = any(example.earlier for example in examples.values())
    ids = {key: tokens for part in own.values() for key, (_, tokens) in part.items()}
    by_policy, by_base = _token_log_probs(own), _token_log_probs(base)
    rows: list[AnswerRow] = []
    for key, response in responses.items():
        pieces = token_texts(tokenizer, ids[key])
        row: AnswerRow = {
            "kind": kind,
            "index": key[0],
            "sample": key[1],
            "prompt": examples[key[0]].prompt,
            "text": "".join(pieces),
            "ends": np.array([*accumulate(map(len, pieces))], dtype=np.int32),
            "log_ratios": by_policy[key] - by_base[key],
            "log_prob": response.log_prob,
            "finish_reason": response.finish_reason,
            "right": response.right,
        }
        if chats:
            row["earlier"] = examples[key[0]].earlier
        if preferences:
            row["preference"] = preferences.get(key) if kind == "data" else None
        rows.append(row)
    return rows


def token_texts(tokenizer: Any, ids: Sequence[int]) -> list[str]:
    """The text that each token adds, special tokens included.

    A character whose bytes are spread over several tokens is added by the last of them. A character that was cut off
    is "�".
    """
    backend = getattr(tokenizer, "backend_tokenizer", None)
    if backend is None:
        # A tokenizer written in Python decodes whole sequences only; token by token comes close.
        return [tokenizer.decode([token]) for token in ids]
    stream = DecodeStream(skip_special_tokens=False)
    try:
        steps = [stream.step(backend, token) for token in ids]
    except Exception:  # noqa: BLE001 - tokenizers raises it where a later token changes the text of earlier ones
        return _grown_texts(tokenizer, ids)
    return [*(piece or "" for piece in steps[:-1]), *("�" if piece is None else piece for piece in steps[-1:])]


def _grown_texts(tokenizer: Any, ids: Sequence[int]) -> list[str]:
    """The part of the whole text that each further token settles; takes time quadratic in the number of tokens."""
    whole = tokenizer.decode(ids)
    lengths = [_agreeing(whole, tokenizer.decode(ids[: n + 1])) for n in range(len(ids))]
    ends = [0, *accumulate(lengths, max)]
    return [whole[start:end] for start, end in pairwise(ends)]


def _agreeing(left: str, right: str) -> int:
    """The number of characters with which both texts begin."""
    return sum(1 for _ in takewhile(lambda pair: pair[0] == pair[1], zip(left, right, strict=False)))


def _token_log_probs(parts: Mapping[Path, Responses]) -> dict[ResponseKey, np.ndarray]:
    return {
        (row["index"], row["sample"]): np.array(row["token_log_probs"], dtype=np.float32)
        for path in parts
        for row in read_scores(path)
    }
