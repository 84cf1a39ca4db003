"""Tokens for which the model has no embedding."""

from __future__ import annotations

import pytest

from sparring.errors import InputError
from sparring.models.vocabulary import check_tokens
from tiny import tiny_model, tiny_tokenizer


def test_tokens_beyond_the_embedding_are_refused_with_both_sizes_and_the_cure() -> None:
    tokenizer, config = tiny_tokenizer(), tiny_model().config
    tokenizer.add_tokens(["<one>", "<two>"])
    assert (len(tokenizer), config.vocab_size) == (261, 259)
    with pytest.raises(InputError) as caught:
        check_tokens(config, tokenizer, [5, 260, 2, 260])
    assert caught.value.where == "model.name"
    assert "knows 261 tokens and the model's embedding has 259 rows" in caught.value.problem
    assert "'<two>' (260)" in caught.value.problem
    assert "resize_token_embeddings(261)" in str(caught.value.fix)


def test_tokens_that_nothing_uses_are_no_problem() -> None:
    tokenizer, config = tiny_tokenizer(), tiny_model().config
    tokenizer.add_tokens(["<one>"])
    check_tokens(config, tokenizer, range(259))
    check_tokens(config, tokenizer, [])


def test_many_are_counted() -> None:
    tokenizer, config = tiny_tokenizer(), tiny_model(vocab_size=200).config
    with pytest.raises(InputError, match="and 7 more"):
        check_tokens(config, tokenizer, range(195, 210))
