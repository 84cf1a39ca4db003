"""What a sample says."""

from __future__ import annotations

from tokenizers import Tokenizer, decoders, models, pre_tokenizers
from transformers import PreTrainedTokenizerFast

from sparring.examples import EncodedExample
from sparring.generation.batches import as_sample

PIECES = ["<unk>", "</s>", "▁a", "▁!", "=", "▁b", "▁,", "▁'", "▁n't"]


def unigram() -> PreTrainedTokenizerFast:
    """As XGLM's, whose own configuration tidies up white space."""
    tokenizer = Tokenizer(models.Unigram([(piece, -1.0) for piece in PIECES], unk_id=0))
    tokenizer.pre_tokenizer = pre_tokenizers.Metaspace()
    tokenizer.decoder = decoders.Metaspace()
    special = {"eos_token": "</s>", "unk_token": "<unk>"}
    return PreTrainedTokenizerFast(tokenizer_object=tokenizer, clean_up_tokenization_spaces=True, **special)


def test_white_space_is_not_tidied_up() -> None:
    tokenizer = unigram()
    prompt = EncodedExample(index=0, prompt_ids=[2], expert_ids=[], prompt="a")
    ids = [2, 3, 4, 5, 6, 7, 8]
    assert tokenizer.decode(ids) == "a!= b,'n't"
    for drawn, stopped in ((ids, False), ([*ids, 1], True)):
        sample = as_sample(prompt, 0, drawn, stopped=stopped, tokenizer=tokenizer, generator="any", seed=0)
        assert (sample.text, sample.response_ids) == ("a != b , ' n't", drawn)
