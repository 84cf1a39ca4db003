"""Sentence embeddings from the tiny model."""

from __future__ import annotations

from pathlib import Path

import pytest
import torch
from transformers import BertConfig, BertModel

from sparring.errors import InputError
from sparring.models import ModelConfig, load_model, load_tokenizer
from sparring.models.embedder import Embedder
from tiny import tiny_tokenizer


def config(folder: Path) -> ModelConfig:
    return ModelConfig(name=str(folder), device="cpu")


def test_an_embedding_is_the_mean_hidden_state(tiny_folder: Path) -> None:
    embed = Embedder.load(config(tiny_folder))
    model, tokenizer = load_model(config(tiny_folder)), load_tokenizer(config(tiny_folder))
    (found,) = embed(["seven"])
    ids = torch.tensor([tokenizer("seven").input_ids])
    with torch.no_grad():
        states = model(ids, output_hidden_states=True).hidden_states[-1][0]
    assert found == pytest.approx(states.mean(0).tolist(), abs=1e-6)


def test_an_empty_text_has_none_and_a_long_one_is_cut(tiny_folder: Path) -> None:
    embed = Embedder.load(config(tiny_folder))
    empty, long, longer = embed(["", "a" * 512, "a" * 512 + "b" * 100])
    assert empty == [0.0] * 32
    assert longer == long != empty


def test_an_encoder_may_lack_its_pooler_and_nothing_else(tmp_path: Path) -> None:
    settings = {"vocab_size": 259, "hidden_size": 16, "num_hidden_layers": 1, "num_attention_heads": 2}
    settings |= {"intermediate_size": 16, "max_position_embeddings": 64}
    BertModel(BertConfig(**settings), add_pooling_layer=False).save_pretrained(tmp_path)
    tiny_tokenizer().save_pretrained(tmp_path)
    assert [len(vector) for vector in Embedder.load(config(tmp_path))(["a", "b" * 99])] == [16, 16]
    BertConfig(**settings | {"num_hidden_layers": 2}, architectures=["BertModel"]).save_pretrained(tmp_path)
    with pytest.raises(InputError, match="weights are missing"):
        Embedder.load(config(tmp_path))
