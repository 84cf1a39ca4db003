"""A tokenizer is what its file says, whichever class a folder names for it."""

from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from tokenizers import AddedToken, Tokenizer, decoders, models, normalizers, pre_tokenizers
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


def normal(form: Any) -> Callable[[Tokenizer], None]:
    return lambda tokenizer: setattr(tokenizer, "normalizer", form)


@pytest.mark.parametrize(
    ("name", "change", "text"),
    [
        ("LlamaTokenizerFast", lambda tokenizer: tokenizer.enable_padding(length=64), TEXT),
        ("LlamaTokenizerFast", lambda tokenizer: tokenizer.enable_truncation(4), TEXT),
        ("GPT2Tokenizer", normal(normalizers.NFC()), "cafe\u0301"),
        ("Qwen2Tokenizer", lambda _: None, "cafe\u0301"),
        ("GPT2Tokenizer", normal(normalizers.NFKC()), "ﬁt"),
        ("GPT2Tokenizer", normal(normalizers.Lowercase()), "Hello World"),
    ],
    ids=["padded", "cut", "composed", "not composed", "compatible", "small letters"],
)
def test_what_a_class_changes_or_splits_otherwise_is_seen(
    tmp_path: Path, name: str, change: Callable[[Tokenizer], None], text: str
) -> None:
    folder = saved(tmp_path / "model", BYTES, tokenizer_class=name)
    tokenizer = Tokenizer.from_file(str(folder / "tokenizer.json"))
    change(tokenizer)
    tokenizer.save(str(folder / "tokenizer.json"))
    tokenizer.no_padding()
    tokenizer.no_truncation()
    expected = tokenizer.encode(text).ids
    assert AutoTokenizer.from_pretrained(folder)(text)["input_ids"] != expected, "the class should set the trap"
    assert load_tokenizer(ModelConfig(name=str(folder)))(text)["input_ids"] == expected


def test_added_tokens_that_tokenizer_config_does_not_know_are_kept(tmp_path: Path) -> None:
    known = {"1": {"content": "<s>", "special": True, "lstrip": False, "rstrip": False, "normalized": False}}
    folder = saved(tmp_path / "model", BYTES, tokenizer_class="GPT2Tokenizer", added_tokens_decoder=known)
    tokenizer = Tokenizer.from_file(str(folder / "tokenizer.json"))
    tokenizer.add_tokens([AddedToken("<call>", special=False, normalized=False)])
    tokenizer.save(str(folder / "tokenizer.json"))
    expected = tokenizer.encode("a<call>b").ids
    assert AutoTokenizer.from_pretrained(folder)("a<call>b")["input_ids"] != expected, "the class should set the trap"
    assert load_tokenizer(ModelConfig(name=str(folder)))("a<call>b")["input_ids"] == expected
