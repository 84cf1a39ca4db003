"""Ready triples: what is refused, and that one trainer's scores stay its own."""

from __future__ import annotations

from dataclasses import replace
from typing import Any

import pytest
from tokenizers.processors import TemplateProcessing

from sparring.errors import InputError
from sparring.trainer.collation import Counts, collate
from sparring.trainer.triples import Triple, Triples, triples_from
from tiny import tiny_tokenizer

ROW: dict[str, Any] = {"prompt_ids": [3], "expert_ids": [4, 2], "generated_ids": [[5], [6, 2]]}
SCORES: dict[str, Any] = {"opponent_expert_log_prob": -1.0, "opponent_generated_log_probs": [-2.0, -3.0]}


@pytest.mark.parametrize(
    ("rows", "message"),
    [
        ([], "the training set is empty"),
        ([ROW | {"expert_ids": []}], "row 0, expert: is not a list of token ids, or is empty"),
        ([ROW | {"generated_ids": [5, 6]}], "row 0, generated response 0: is not a list of token ids"),
        ([ROW, ROW | {"generated_ids": [[5]]}], r"different numbers of generated responses: \[1, 2\]"),
        ([ROW | {"expert_ids": None}], "the field 'expert_ids' is null"),
        ([ROW | SCORES | {"opponent_generated_log_probs": [-2.0]}], "1 log-probs are given for 2 generated responses"),
        ([ROW | {"opponent_expert_log_prob": -1.0}], "only one of the opponent's log-probs is given"),
        ([ROW | SCORES, ROW], "some rows have the opponent's log-probs and some do not"),
        ([ROW | {"preference": [1.0, 0.0]}, ROW], "some rows have a judge's 'preference' and some do not"),
        ([ROW, ROW | {"pairwise": [[0.5, 1.0], [0.0, 0.5]]}], "some rows have a judge's 'pairwise' and some do not"),
        ([ROW | {"preference": [1.0, None]}], "row 0, preference: an entry is missing"),
        ([ROW | {"pairwise": [[0.5, 1.0], None]}], "row 0, pairwise: an entry is missing"),
        ([{"prompt": "a", "expert": "b", "generated": "c"}], "text needs a tokenizer"),
    ],
)
def test_what_is_refused(rows: list[dict[str, Any]], message: str) -> None:
    with pytest.raises(InputError, match=message):
        triples_from(rows, None)


def test_scores_that_are_given_are_kept() -> None:
    triple = triples_from([ROW | SCORES], None).items[0]
    assert (triple.opponent_expert, triple.opponent_generated) == (-1.0, [-2.0, -3.0])
    assert triple.scored


def test_a_trainer_gets_its_own_copy() -> None:
    shared = triples_from([ROW], None)
    first = triples_from(shared, None)
    first.items[0] = first.items[0].with_scores([-1.0, -2.0, -3.0])
    assert isinstance(first, Triples)
    assert not shared.scored


def test_an_expert_response_is_there_for_all_or_for_none() -> None:
    bare = Triple(prompt_ids=[3], generated_ids=[[5], [6, 7]])
    batch = collate([bare, bare])
    assert batch["responses"] == [[[5], [6, 7]]] * 2
    assert batch["counts"] == Counts(expert=0, generated=2, initial=0, reference=0, team=0)
    with pytest.raises(InputError, match="some rows have an expert response and some do not"):
        Triples([bare, replace(bare, expert_ids=[4])])


@pytest.mark.parametrize("prompt", ["Hi", "<bos>Hi", "<bos><bos>Hi", [{"role": "user", "content": "Hi"}]])
def test_a_prompt_has_one_first_token_and_no_last_one(prompt: Any) -> None:
    tokenizer = tiny_tokenizer(chat_template="<bos>{{ bos_token }}{{ messages[0]['content'] }}")
    tokenizer.add_special_tokens({"bos_token": "<bos>", "eos_token": "<eos>"})
    bos, eos = tokenizer.bos_token_id, tokenizer.eos_token_id
    tokenizer.backend_tokenizer.post_processor = TemplateProcessing(
        single="<bos> $A <eos>", special_tokens=[("<bos>", bos), ("<eos>", eos)]
    )
    (triple,) = triples_from([{"prompt": prompt, "expert": "a", "generated": "b"}], tokenizer)
    hi = tokenizer("Hi", add_special_tokens=False).input_ids
    assert triple.prompt_ids == [bos, *hi]


def test_a_response_to_a_chat_ends_as_the_template_has_it_be_it_a_text_or_a_message() -> None:
    tokenizer = tiny_tokenizer()
    tokenizer.eos_token = "<|pad|>"
    chat, end, eos = [{"role": "user", "content": "Hi"}], 2, 0
    message = [{"role": "assistant", "content": "a"}]
    rows: list[dict[str, Any]] = [
        {"prompt": chat, "expert": "a", "generated": ["b", "c"]},
        {"prompt": chat, "expert": message, "generated": ["b", "c"]},
        {"prompt": "Hi", "expert": "a", "generated": ["b", "c"]},
    ]
    text, turns, plain = triples_from(rows, tokenizer).items
    assert text == replace(turns, row=0)
    assert [ids[-1] for ids in text.responses] == [end] * 3
    assert [ids[-1] for ids in plain.responses] == [eos] * 3


@pytest.mark.parametrize("refused", [None, "{{ raise_exception('No system turns.') }}"])
def test_a_chat_that_the_template_refuses_is_told_by_its_row(refused: str | None) -> None:
    chat = [{"role": "system", "content": "s"}, {"role": "user", "content": "Hi"}]
    rows = [{"prompt": "Hi", "expert": "a", "generated": "b"}, {"prompt": chat, "expert": "a", "generated": "b"}]
    with pytest.raises(InputError, match=r"^train_dataset row 1: the chat template fails \(") as caught:
        triples_from(rows, tiny_tokenizer(chat_template=refused))
    assert "set the tokenizer's chat_template" in str(caught.value)


def test_contents_in_parts_are_texts() -> None:
    def parts(role: str, *texts: str) -> list[dict[str, Any]]:
        return [{"role": role, "content": [{"type": "text", "text": text} for text in texts]}]

    rows: list[dict[str, Any]] = [
        {"prompt": [{"role": "user", "content": "Hi you"}], "expert": "a", "generated": ["b", "c"]},
        {"prompt": parts("user", "Hi", " you"), "expert": "a", "generated": ["b", "c"]},
        {
            "prompt": parts("user", "Hi", " you"),
            "expert": [*parts("user", "Hi you"), *parts("assistant", "a")],
            "generated": [parts("assistant", "b"), "c"],
        },
    ]
    first, *others = triples_from(rows, tiny_tokenizer()).items
    assert [replace(each, row=0) for each in others] == [first, first]
    image: dict[str, Any] = {"role": "user", "content": [{"type": "image"}, {"type": "text", "text": "What?"}]}
    with pytest.raises(InputError, match=r"row 0: a message holds a part that is no text \(image\)"):
        triples_from([{"prompt": [image], "expert": "a", "generated": "b"}], tiny_tokenizer())
