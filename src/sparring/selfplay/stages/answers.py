"""Answers: held-out responses of the expert and of a policy, token by token, for the report."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from itertools import accumulate, pairwise, takewhile
from pathlib import Path
from typing import Any

import numpy as np
from tokenizers.decoders import DecodeStream

from sparring.examples import EncodedExample
from sparring.metrics import Response
from sparring.selfplay.stages.score import Responses
from sparring.shards import AnswerRow, ResponseKey, read_scores


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
        own: The files of their log-probs under the policy, each with its responses.
        base: Likewise under the base model.
        examples: The prompts, by index.
        tokenizer: The tokenizer of the token ids.
        preferences: P(it beats the prompt's others) of the responses that the data compare.

    Returns:
        `text`, with special tokens; `ends`, where in it each token ends, in characters; `log_ratios`, log
        π(token) − log π_base(token), nats; `log_prob`, log π(y|x); `right`, the verifier's verdict; `earlier`, where a
        prompt has system or other turns before it.
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

    A character whose bytes several tokens share is added by the last of them. A character that was cut off is "�".
    """
    backend = getattr(tokenizer, "backend_tokenizer", None)
    if backend is None:
        # A tokenizer in Python decodes whole sequences only; decoding token by token comes close.
        return [tokenizer.decode([token]) for token in ids]
    stream = DecodeStream(skip_special_tokens=False)
    try:
        steps = [stream.step(backend, token) for token in ids]
    except Exception:  # noqa: BLE001 - what tokenizers raises where a later token changes the text of earlier ones
        return _grown_texts(tokenizer, ids)
    return [*(piece or "" for piece in steps[:-1]), *("�" if piece is None else piece for piece in steps[-1:])]


def _grown_texts(tokenizer: Any, ids: Sequence[int]) -> list[str]:
    """The text by which each token extends the agreement with the whole text; quadratic in the number of tokens."""
    whole = tokenizer.decode(ids)
    lengths = [_agreement(whole, tokenizer.decode(ids[: n + 1])) for n in range(len(ids))]
    ends = [0, *accumulate(lengths, max)]
    return [whole[start:end] for start, end in pairwise(ends)]


def _agreement(left: str, right: str) -> int:
    return sum(1 for _ in takewhile(lambda pair: pair[0] == pair[1], zip(left, right, strict=False)))


def _token_log_probs(parts: Mapping[Path, Responses]) -> dict[ResponseKey, np.ndarray]:
    return {
        (row["index"], row["sample"]): np.array(row["token_log_probs"], dtype=np.float32)
        for path in parts
        for row in read_scores(path)
    }
