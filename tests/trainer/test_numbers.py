"""Numbers that a row brings along, and token ids: what is none is told with its row, before anything is computed."""

from __future__ import annotations

from typing import Any

import datasets
import numpy as np
import pandas as pd
import pytest

from sparring.errors import InputError
from sparring.objectives import OBJECTIVES
from sparring.trainer.checks import check_fields
from sparring.trainer.triples import triples_from
from tiny import tiny_tokenizer

TWO = {"prompt_ids": [5, 6], "expert_ids": [7, 2], "generated_ids": [[8, 2], [9, 2]]}


def scores(expert: Any, generated: Any) -> dict[str, Any]:
    return {"opponent_expert_log_prob": expert, "opponent_generated_log_probs": generated}


@pytest.mark.parametrize(
    ("given", "problem"),
    [
        # A loss, its sign turned, is no log-prob.
        (scores(11.0, [-2.0, -3.0]), r"opponent_expert_log_prob: 11\.0 is no log-prob"),
        (scores(-1.0, [-2.0, 22.0]), r"opponent_generated_log_probs: 22\.0 is no log-prob"),
        (scores(float("nan"), [-2.0, -3.0]), "opponent_expert_log_prob: nan is no log-prob"),
        (scores(-1.0, [-2.0, float("-inf")]), "opponent_generated_log_probs: -inf is no log-prob"),
        (scores("-1", [-2.0, -3.0]), "opponent_expert_log_prob: '-1' is no log-prob"),
        (scores(-1.0, -2.0), "opponent_generated_log_probs: must be a list, got float"),
        ({"preference": 0.9}, "preference: must be a list, got float"),
        ({"preference": "90"}, "preference: must be a list, got str"),
        ({"preference": [5, -3]}, "preference: 5 is no probability"),
        ({"preference": ["0.9", "0.1"]}, "preference: '0.9' is no probability"),
        ({"pairwise": [[0.5, 0.9], [0.9, 0.5]]}, "pairwise: P of 1 against 0 is 0.9, and of 0 against 1 0.9"),
        ({"pairwise": [[1.0, 0.9], [0.1, 0.5]]}, "pairwise: P of 0 against 0 is 1"),
        ({"pairwise": [[0.5, 0.9], 0.1]}, "pairwise: must be a list, got float"),
    ],
)
def test_what_is_no_such_number(given: dict[str, Any], problem: str) -> None:
    with pytest.raises(InputError, match=f"row 1.*{problem}"):
        triples_from([TWO, TWO | given], None)


def test_a_row_without_a_generated_response_is_for_objectives_that_read_none() -> None:
    triples = triples_from([TWO | {"generated_ids": []}] * 2, None)
    check_fields(triples, OBJECTIVES["sft"](), "train_dataset")
    with pytest.raises(InputError, match="there is no generated response") as caught:
        check_fields(triples, OBJECTIVES["spin"](), "train_dataset")
    assert caught.value.where == "train_dataset row 0"


def test_whole_numbers_will_do() -> None:
    (triple,) = triples_from(
        [TWO | scores(-1, [-2, 0]) | {"preference": [1, 0], "pairwise": [[0.5, 1], [0, 0.5]]}], None
    )
    assert triple.opponent_generated == [-2.0, 0.0]
    assert (triple.preference, triple.pairwise) == ([1.0, 0.0], [[0.5, 1.0], [0.0, 0.5]])
    assert all(type(number) is float for number in (triple.opponent_expert, *triple.preference))


@pytest.mark.parametrize("turns", [False, True], ids=["text", "chat"])
def test_a_text_that_holds_its_end_already_gets_no_second_one(turns: bool) -> None:
    def row(chosen: str) -> dict[str, Any]:
        if not turns:
            return {"prompt": "q", "chosen": chosen, "rejected": "bad"}
        return {
            "prompt": [{"role": "user", "content": "q"}],
            "chosen": [{"role": "assistant", "content": chosen}],
            "rejected": [{"role": "assistant", "content": "bad"}],
        }

    once, ended = (triples_from([row(text)], tiny_tokenizer()).items[0] for text in ("good", "good<|im_end|>"))
    assert ended.expert_ids == once.expert_ids
    assert once.expert_ids[-2:].count(2) == 1


@pytest.mark.parametrize("kind", ["torch", "numpy"])
def test_data_sets_of_another_format_hold_the_same_rows(kind: str) -> None:
    scored = [TWO | scores(-1.0, [-2.0, -3.0]) | {"preference": [0.75, 0.25]}] * 2
    texts = [
        {"prompt": "q", "expert": "good", "generated": ["bad", "worse"]},
        {"prompt": "r", "expert": "a", "generated": ["b", "c"]},
    ]
    turn = [{"role": "user", "content": "q"}], [{"role": "assistant", "content": "a"}]
    chats = [{"prompt": turn[0], "chosen": turn[1], "rejected": turn[1]}] * 2
    ragged = [TWO, TWO | {"generated_ids": [[8, 2], [9, 9, 9, 2]]}]
    for rows in (scored, texts, chats, ragged):
        boxed = datasets.Dataset.from_list(rows).with_format(kind)
        assert triples_from(boxed, tiny_tokenizer()).items == triples_from(rows, tiny_tokenizer()).items
    assert all(
        type(token) is int
        for token in triples_from([{**TWO, "prompt_ids": np.array([5, 6])}], None).items[0].prompt_ids
    )


@pytest.mark.parametrize("rows", [pd.DataFrame([TWO]), [("q", "a", "b")]], ids=["frame", "tuples"])
def test_rows_that_are_no_mappings_are_told(rows: Any) -> None:
    with pytest.raises(InputError, match=r"row 0: must map columns to values, got .*\n.*to_dict\('records'\)"):
        triples_from(rows, None)
