"""A language model that is trained from nothing in a minute: sums of a number below 100 and one below 10.

It is a model like any other, with weights and a tokenizer in a folder, but a run with it takes seconds, so a campaign
can afford many: every weight of every regularizer, several seeds.
"""

from __future__ import annotations

import random
from pathlib import Path

import torch
from tokenizers import Tokenizer, decoders, models, pre_tokenizers
from transformers import LlamaConfig, LlamaForCausalLM, PreTrainedTokenizerFast

import problems

_SPECIAL = ("<pad>", "<s>", "</s>")
_CHARACTERS = "0123456789+="
_HELD_OUT = 200


def data(folder: Path, seed: int) -> tuple[str, ...]:
    """Writes the problems, all 1000 in two parts, and says where they are, as overrides of a configuration."""
    rows = [(f"{a}+{b}=", str(a + b)) for a in range(100) for b in range(10)]
    random.Random(seed).shuffle(rows)
    paths = problems.write(folder, {"held_out": rows[:_HELD_OUT], "train": rows[_HELD_OUT:]})
    return problems.overrides(paths["train"], paths["held_out"], count=_HELD_OUT, max_response_tokens=6)


def untrained(folder: Path, seed: int) -> Path:
    """Half a million random weights, one token a character."""
    vocabulary = {token: number for number, token in enumerate((*_SPECIAL, *_CHARACTERS))}
    tokenizer = Tokenizer(models.BPE(vocab=vocabulary, merges=[]))
    tokenizer.pre_tokenizer = pre_tokenizers.ByteLevel(add_prefix_space=False)
    tokenizer.decoder = decoders.ByteLevel()
    pad, start, end = _SPECIAL
    PreTrainedTokenizerFast(tokenizer_object=tokenizer, pad_token=pad, bos_token=start, eos_token=end).save_pretrained(
        folder
    )
    torch.manual_seed(seed)
    config = LlamaConfig(
        vocab_size=len(vocabulary),
        hidden_size=128,
        intermediate_size=384,
        num_hidden_layers=3,
        num_attention_heads=4,
        max_position_embeddings=64,
        tie_word_embeddings=True,
        pad_token_id=0,
        bos_token_id=1,
        eos_token_id=2,
    )
    LlamaForCausalLM(config).save_pretrained(folder)
    return folder
