"""A tokenizer is what its file says, whichever class a folder names for it."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest
from tokenizers import Tokenizer, decoders, models, pre_tokenizers
from transformers import AutoTokenizer, PreTrainedTokenizerFast

from sparring.models import ModelConfig, load_tokenizer
from tiny import tiny_model

TEXT = "Count 12 of 345:\n\n  so é\tfar"
BYTES = pre_tokenizers.ByteLevel(add_prefix_space=False)
DIGITS = pre_tokenizers.Sequence([pre_tokenizers.Digits(individual_digits=True), BYTES])


def saved(folder: Path, splitter: Any, *, unknown: bool = True, **settings: Any) -> Path:
    """A model and its tokenizer, which knows "12" as one token, with other settings in tokenizer_config.json."""
    tiny_model().save_pretrained(folder)
    tokens = ["<unk>" if unknown else "<pad>", "<s>", "</s>", *sorted(pre_tokenizers.ByteLevel.alphabet())[:255]]
    vocabulary = {token: index for index, token in enumerate([*tokens, "12"])}
    tokenizer = Tokenizer(models.BPE(vocab=vocabulary, merges=[("1", "2")], unk_token="<unk>" if unknown else None))
    tokenizer.pre_tokenizer, tokenizer.decoder = splitter, decoders.ByteLevel()
    special = {"bos_token": "<s>", "eos_token": "</s>"} | ({"unk_token": "<unk>"} if unknown else {})
    PreTrainedTokenizerFast(tokenizer_object=tokenizer, **special).save_pretrained(folder)
    path = folder / "tokenizer_config.json"
    path.write_text(json.dumps(json.loads(path.read_text()) | settings))
    return folder


@pytest.mark.parametrize(
    ("splitter", "name", "wrong"),
    [
        (BYTES, "LlamaTokenizerFast", True),
        (DIGITS, "GPT2Tokenizer", True),
        (BYTES, "GPT2Tokenizer", False),
        (DIGITS, "PreTrainedTokenizerFast", False),
    ],
)
def test_another_class_loses_nothing(
    tmp_path: Path, splitter: Any, name: str, wrong: bool, capfd: pytest.CaptureFixture[str]
) -> None:
    folder = saved(tmp_path / "model", splitter, tokenizer_class=name)
    expected = Tokenizer.from_file(str(folder / "tokenizer.json")).encode(TEXT).ids
    given = AutoTokenizer.from_pretrained(folder)(TEXT)["input_ids"]
    assert (given != expected) is wrong
    tokenizer = load_tokenizer(ModelConfig(name=str(folder)))
    assert tokenizer(TEXT)["input_ids"] == expected
    assert (tokenizer.bos_token, tokenizer.eos_token, tokenizer.decode(expected)) == ("<s>", "</s>", TEXT)
    load_tokenizer(ModelConfig(name=str(folder)))
    assert " ".join(capfd.readouterr().err.split()).count("is taken as tokenizer.json has it; as") == wrong
    tokenizer.save_pretrained(tmp_path / "again")
    assert AutoTokenizer.from_pretrained(tmp_path / "again")(TEXT)["input_ids"] == expected


def test_a_class_that_cannot_write_a_text_is_another_too(tmp_path: Path) -> None:
    folder = saved(tmp_path / "model", BYTES, unknown=False, tokenizer_class="GemmaTokenizerFast")
    with pytest.raises(Exception, match="Unk token `<unk>` not found in the vocabulary"):
        AutoTokenizer.from_pretrained(folder)(TEXT)
    tokenizer = load_tokenizer(ModelConfig(name=str(folder)))
    assert tokenizer.decode(tokenizer(TEXT)["input_ids"]) == TEXT


def test_a_space_before_the_first_word_is_a_matter_of_the_settings(tmp_path: Path) -> None:
    folder = saved(tmp_path / "model", BYTES, tokenizer_class="GPT2Tokenizer", add_prefix_space=True)
    tokenizer = load_tokenizer(ModelConfig(name=str(folder)))
    assert tokenizer.convert_ids_to_tokens(tokenizer(TEXT)["input_ids"])[:2] == ["Ġ", "C"]
