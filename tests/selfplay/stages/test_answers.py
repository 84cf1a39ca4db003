"""What a reader of the held-out answers gets: every token's text and log ratio."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import numpy as np
import pytest
from tokenizers import Tokenizer, decoders, models
from transformers import PreTrainedTokenizerFast

from sparring.examples import EncodedExample
from sparring.metrics import Response
from sparring.selfplay.stages.answers import answer_rows, token_texts
from sparring.shard_files import write_shard
from tiny import tiny_tokenizer

TOKENIZER = tiny_tokenizer()


def ids_of(text: str) -> list[int]:
    return TOKENIZER(text, add_special_tokens=False).input_ids


def test_pieces_join_to_the_text_and_a_character_comes_with_its_last_byte() -> None:
    ids = [*ids_of("né 4"), TOKENIZER.eos_token_id]
    assert token_texts(TOKENIZER, ids) == ["n", "", "é", " ", "4", "<|im_end|>"]


def test_a_character_that_was_cut_is_shown_as_such() -> None:
    assert token_texts(TOKENIZER, ids_of("aé")[:-1]) == ["a", "�"]


def test_a_tokenizer_without_a_stream_decodes_token_by_token() -> None:
    spelled = SimpleNamespace(decode=lambda ids: "".join(f"<{number}>" for number in ids))
    assert token_texts(spelled, [7, 8]) == ["<7>", "<8>"]


def test_a_byte_that_spoils_the_ones_before_it_is_shown_where_it_came() -> None:
    """Byte fallback turns a whole run of bytes into question marks once one of them fits no character."""
    vocabulary = {"a": 0, "<0xE2>": 1, "<0x82>": 2, "<0xAC>": 3, "<unk>": 4}
    backend = Tokenizer(models.BPE(vocabulary, [], unk_token="<unk>", byte_fallback=True))
    backend.decoder = decoders.Sequence([decoders.ByteFallback(), decoders.Fuse()])
    tokenizer = PreTrainedTokenizerFast(tokenizer_object=backend)
    for ids in ([0, 1, 2, 3, 0], [0, 1, 2, 3, 1, 0]):
        pieces = token_texts(tokenizer, ids)
        assert len(pieces) == len(ids)
        assert "".join(pieces) == tokenizer.decode(ids)


def test_rows_join_both_models_token_by_token(tmp_path: Path) -> None:
    ids, key = ids_of("hé"), (5, 1)
    parts = {}
    for name, terms in (("own", [-1.0, -2.0, -0.5]), ("base", [-1.5, -1.0, -0.5])):
        path = tmp_path / f"{name}.parquet"
        row = {"index": 5, "sample": 1, "policy": 0, "log_prob": sum(terms), "digest": ""}
        write_shard(path, [{**row, "token_log_probs": np.array(terms, dtype=np.float32)}])
        parts[name] = {path: {key: ([3], ids)}}
    response = Response(text="hé", tokens=3, finish_reason="length", log_prob=-3.5, log_prob_base=-3.0, right=False)
    asked = EncodedExample(index=5, prompt_ids=[3], expert_ids=[], prompt="Say it.")
    told: dict[str, Any] = {**parts, "tokenizer": TOKENIZER, "preferences": {}}
    (row,) = answer_rows("sampled", {key: response}, **told, examples={5: asked})
    assert row.pop("ends").tolist() == [1, 1, 2]
    assert row.pop("log_ratios").tolist() == pytest.approx([0.5, -1.0, 0.0])
    assert row == {
        "kind": "sampled",
        "index": 5,
        "sample": 1,
        "prompt": "Say it.",
        "text": "hé",
        "log_prob": -3.5,
        "finish_reason": "length",
        "right": False,
    }
    turns = ({"role": "system", "content": "Be brief."}, {"role": "user", "content": "Say it."})
    (row,) = answer_rows("sampled", {key: response}, **told, examples={5: replace(asked, messages=turns)})
    assert (row["earlier"], row["prompt"]) == (["system: Be brief."], "Say it.")
    for kind, preference in (("data", 0.25), ("sampled", None)):
        (row,) = answer_rows(kind, {key: response}, **told | {"preferences": {key: 0.25}}, examples={5: asked})
        assert row["preference"] == preference
