"""The samples as the browser decodes them."""

from __future__ import annotations

import base64
import gzip
import json
from pathlib import Path

import numpy as np
import pytest

from reports.whole_run import EXPERTS, PROMPTS, answer, write_run
from sparring.reports.samples import packed, read_answers
from sparring.reports.summary import summarize
from sparring.shard_files import write_shard
from sparring.shards import answers_path
from sparring.stage_directory import StageDirectory


def decoded(pack: dict[str, str]) -> tuple[dict[str, list[object]], np.ndarray, np.ndarray]:
    columns = json.loads(gzip.decompress(base64.b64decode(pack["columns"])))
    tokens = gzip.decompress(base64.b64decode(pack["tokens"]))
    count = len(tokens) // 4
    return columns, np.frombuffer(tokens, "<u2", count), np.frombuffer(tokens, "<i2", count, 2 * count)


def test_every_answer_comes_back_token_by_token(tmp_path: Path) -> None:
    summary = summarize(write_run(tmp_path).path)
    answers = summary.answers()
    columns, lengths, ratios = decoded(packed(answers))
    assert columns["prompts"] == list(PROMPTS)
    assert columns["policies"] == ["base", "warm-up", "iteration 0", "iteration 1"]
    # Of each prompt four policies, and of each of these the expert's, the greedy and the sampled answer.
    assert columns["prompt"] == [prompt for prompt in range(4) for _ in range(12)]
    assert columns["kind"] == [0, 1, 2] * 16
    assert columns["right"][:6] == [None, False, False, None, True, True]
    texts = [columns["texts"][place] for place in columns["text"]]
    assert texts[:3] == [EXPERTS[0], "no idea<|im_end|>", "no idea<|im_end|>"]
    assert columns["tokens"] == [len(text) for text in texts]
    assert lengths.tolist() == [1] * sum(columns["tokens"])
    assert ratios[:5].tolist() == [-50, -25, 0, -50, -25]


def test_tokens_of_no_length_and_long_ones_and_great_ratios(tmp_path: Path) -> None:
    ratios = np.array([400.0, -0.004, -1.5], dtype=np.float32)
    rows = [
        answer("greedy", 7, "ab", ends=np.array([0, 1, 2], dtype=np.int32), log_ratios=ratios),
        answer("greedy", 3, "x" * 300, ends=np.array([300], dtype=np.int32), log_ratios=ratios[:1]),
    ]
    write_shard(answers_path(StageDirectory(tmp_path)), rows)
    columns, lengths, stored = decoded(packed(read_answers([("base", StageDirectory(tmp_path))])))
    assert columns["indices"] == [3, 7]
    assert columns["tokens"] == [1, 3]
    assert lengths.tolist() == [300, 0, 1, 1]
    # What 16 bits cannot hold is cut at their greatest number, 327.67 nats.
    assert stored.tolist() == [32767, 32767, 0, -150]


def test_a_log_prob_that_is_no_number_is_null(tmp_path: Path) -> None:
    ratios = np.array([np.nan, -np.inf, 0.5], dtype=np.float32)
    rows = [
        answer("greedy", 0, "abc", log_prob=float("nan"), log_ratios=ratios),
        answer("greedy", 1, "abc", log_prob=float("-inf")),
    ]
    write_shard(answers_path(StageDirectory(tmp_path)), rows)
    columns, _, stored = decoded(packed(read_answers([("base", StageDirectory(tmp_path))])))
    assert columns["log_prob"] == [None, None]
    assert stored[:3].tolist() == [0, -32767, 50]


def test_the_turns_before_a_prompt_come_with_it(tmp_path: Path) -> None:
    turns = ["system: Be brief.", "user: Hello", "assistant: Hi"]
    rows = [answer("greedy", 0, "a", earlier=turns), answer("greedy", 1, "b", earlier=[])]
    write_shard(answers_path(StageDirectory(tmp_path)), rows)
    columns, _, _ = decoded(packed(read_answers([("base", StageDirectory(tmp_path))])))
    assert columns["earlier"] == [turns, []]
    assert columns["prompts"] == [*PROMPTS[:2]]


def test_without_a_verifier_and_without_answers(tmp_path: Path) -> None:
    assert read_answers([("base", StageDirectory(tmp_path))]) is None
    assert packed(None) == {}
    for name, right in (("a", None), ("b", True)):
        write_shard(answers_path(StageDirectory(tmp_path / name)), [answer("greedy", 0, "x", right=right)])
    answers = read_answers([(name, StageDirectory(tmp_path / name)) for name in ("a", "b", "absent")])
    assert answers is not None
    assert answers.policies == ["a", "b"]
    assert decoded(packed(answers))[0]["right"] == [None, True]
    assert answers.values(1, "greedy", "right") == {0: [True]}


@pytest.mark.parametrize("column", ["log_prob", "right"])
def test_values_are_by_prompt(tmp_path: Path, column: str) -> None:
    summary = summarize(write_run(tmp_path).path)
    answers = summary.answers()
    assert answers is not None
    wanted = {"right": {0: [True], 1: [False], 2: [False], 3: [True]}, "log_prob": {key: [-3.0] for key in range(4)}}
    assert answers.values(1, "greedy" if column == "right" else "expert", column) == wanted[column]


def test_what_the_data_compare_stands_beside_the_policies_answers(tmp_path: Path) -> None:
    rows = [
        answer("sampled", 0, "so", preference=None),
        answer("data", 0, "yes", preference=1.0),
        answer("data", 0, "no", sample=1, preference=0.0),
    ]
    write_shard(answers_path(StageDirectory(tmp_path)), rows)
    answers = read_answers([("base", StageDirectory(tmp_path))])
    columns, _, _ = decoded(packed(answers))
    assert [columns["kinds"][kind] for kind in columns["kind"]] == ["sampled", "data", "data"]
    assert columns["preference"] == [None, 1.0, 0.0]
    assert answers is not None
    assert answers.given == ["the responses that the data compare"]
    assert answers.count == 1
