"""A response is written as what follows its prompt, by tokenizers that mark where a text begins too."""

from __future__ import annotations

from typing import Any

import pytest
from tokenizers import AddedToken, Tokenizer, decoders, models, normalizers, pre_tokenizers
from transformers import PreTrainedTokenizerFast

from sparring.data import DataConfig, encode
from sparring.examples import Example
from sparring.following import following
from sparring.trainer.triples import triples_from
from tiny import tiny_tokenizer

END = "</s>"
NEW_LINE = (
    "{% for m in messages %}{{ m['role'] + ':\n' + m['content'] + eos_token }}{% endfor %}"
    "{% if add_generation_prompt %}assistant:\n{% endif %}"
)
SPACE = (
    "{% for m in messages %}{% if m['role'] == 'user' %}[{{ m['content'] }}]"
    "{% else %} {{ m['content'] + eos_token }}{% endif %}{% endfor %}"
)
TOKEN = (
    "{% for m in messages %}<{{ m['role'] }}>{{ m['content'] + eos_token }}{% endfor %}"
    "{% if add_generation_prompt %}<assistant>{% endif %}"
)
CLOSED = NEW_LINE.replace("+ eos", "+ '\\n' + eos")
KINDS = ("first", "always", "normalizer")


def sentencepiece(template: str | None, kind: str) -> Any:
    """A tokenizer as SentencePiece's are converted: of characters, and of the word Yes with and without a space."""
    texts = ["<unk>", "<s>", END, "<user>", "<assistant>", *(f"<0x{byte:02X}>" for byte in range(256)), "▁", "\n"]
    texts += [*map(chr, range(33, 127)), "Ye", "Yes", "▁Yes"]
    merges = [("Y", "e"), ("Ye", "s"), ("▁", "Yes")]
    vocabulary = {text: index for index, text in enumerate(texts)}
    backend = Tokenizer(models.BPE(vocab=vocabulary, merges=merges, unk_token="<unk>", byte_fallback=True))
    if kind == "normalizer":
        backend.normalizer = normalizers.Sequence([normalizers.Prepend("▁"), normalizers.Replace(" ", "▁")])
    else:
        backend.pre_tokenizer = pre_tokenizers.Metaspace(prepend_scheme=kind, split=False)
    backend.decoder = decoders.Sequence([decoders.Replace("▁", " "), decoders.ByteFallback(), decoders.Fuse()])
    tokenizer = PreTrainedTokenizerFast(
        tokenizer_object=backend, unk_token="<unk>", bos_token="<s>", eos_token=END, pad_token=END
    )
    tokenizer.add_special_tokens({"additional_special_tokens": ["<user>", "<assistant>"]})
    tokenizer.chat_template = template
    return tokenizer


@pytest.mark.parametrize("kind", KINDS)
@pytest.mark.parametrize("template", [NEW_LINE, SPACE, TOKEN, CLOSED, SPACE.replace("+ eos", "+ ' ' + eos")])
def test_a_response_is_written_as_in_the_whole_conversation(template: str, kind: str) -> None:
    tokenizer = sentencepiece(template, kind)
    turns = [{"role": "user", "content": "Why?"}, {"role": "assistant", "content": "Yes."}]
    whole = tokenizer.apply_chat_template(turns, return_dict=False)
    config = DataConfig(source="x.jsonl", max_response_tokens=20)
    found = encode([Example(index=0, prompt="Why?", response="Yes.")], tokenizer, config, context_length=100)
    (row,) = found.examples
    ours = [*row.prompt_ids, *row.expert_ids]
    assert ours == whole[: len(ours)]
    assert found.findings == ()
    (triple,) = triples_from(
        [{"chosen": turns, "rejected": [turns[0], {**turns[1], "content": "Yes!"}]}], tokenizer
    ).items
    assert [*triple.prompt_ids, *triple.expert_ids] == ours
    assert triple.generated_ids[0][0] == triple.expert_ids[0]


@pytest.mark.parametrize("kind", KINDS)
def test_plain_text_is_written_as_one_text(kind: str) -> None:
    tokenizer = sentencepiece(None, kind)
    config = DataConfig(source="x.jsonl", max_response_tokens=20)
    for response in ("Yes.", " Yes.", "<s>Yes"):
        example = Example(index=0, prompt="Is it so?\nA:", response=response)
        (row,) = encode([example], tokenizer, config, context_length=100).examples
        text = "".join(tokenizer.convert_ids_to_tokens([*row.prompt_ids, *row.expert_ids[:-1]]))
        assert text == f"▁Is▁it▁so?\nA:{response.replace(' ', '▁')}"


def test_a_tokenizer_that_marks_nothing_writes_a_text_as_ever() -> None:
    tokenizer = tiny_tokenizer()
    assert following(tokenizer, ["Yes.", " Yes."], [2, 70]) == [tokenizer.encode("Yes."), tokenizer.encode(" Yes.")]
    assert following(tokenizer, [], []) == []


def test_white_space_that_a_special_token_swallows_stays() -> None:
    tokenizer = sentencepiece(None, "first")
    swallows = AddedToken("<say>", rstrip=True, special=True)
    tokenizer.add_special_tokens({"additional_special_tokens": [swallows]})
    ids = following(tokenizer, ["\nYes"], [tokenizer.convert_tokens_to_ids("<say>")])
    assert "\nYes" in tokenizer.decode(ids[0])
