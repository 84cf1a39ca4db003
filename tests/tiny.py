"""A real tokenizer and a real Llama, small enough for a test to train: byte-level vocabulary, ChatML template."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import Any

import torch
from tokenizers import Tokenizer, decoders, models, pre_tokenizers
from transformers import LlamaConfig, LlamaForCausalLM, PreTrainedTokenizerFast, TrainingArguments

from sparring.examples import EncodedExample

CHATML = (
    "{% for message in messages %}<|im_start|>{{ message['role'] }}\n{{ message['content'] }}<|im_end|>\n"
    "{% endfor %}{% if add_generation_prompt %}<|im_start|>assistant\n{% endif %}"
)


def tiny_tokenizer(*, chat_template: str | None = CHATML) -> PreTrainedTokenizerFast:
    """One token a byte, after three special tokens; pad is not eos, unlike SmolLM2."""
    special = ["<|pad|>", "<|im_start|>", "<|im_end|>"]
    alphabet = sorted(pre_tokenizers.ByteLevel.alphabet())
    vocabulary = {token: index for index, token in enumerate(special + alphabet)}
    tokenizer = Tokenizer(models.BPE(vocab=vocabulary, merges=[]))
    tokenizer.pre_tokenizer = pre_tokenizers.ByteLevel(add_prefix_space=False)
    tokenizer.decoder = decoders.ByteLevel()
    fast = PreTrainedTokenizerFast(
        tokenizer_object=tokenizer, pad_token="<|pad|>", eos_token="<|im_end|>", bos_token="<|im_start|>"
    )
    fast.chat_template = chat_template
    return fast


def tiny_model(*, seed: int = 0, **overrides: object) -> LlamaForCausalLM:
    """Two layers, 32 hidden units, 259 tokens, fp32, random weights from `seed`."""
    settings: dict[str, object] = {
        "vocab_size": 259,
        "hidden_size": 32,
        "intermediate_size": 64,
        "num_hidden_layers": 2,
        "num_attention_heads": 4,
        "num_key_value_heads": 2,
        "max_position_embeddings": 512,
        "tie_word_embeddings": True,
        "pad_token_id": 0,
        "bos_token_id": 1,
        "eos_token_id": 2,
        "initializer_range": 0.2,
    }
    with torch.random.fork_rng():
        torch.manual_seed(seed)
        return LlamaForCausalLM(LlamaConfig(**(settings | overrides))).eval()


def save_tiny(folder: Path, *, seed: int = 0, chat_template: str | None = CHATML) -> Path:
    """Writes the tiny model and tokenizer as a folder that `from_pretrained` loads."""
    tiny_model(seed=seed).save_pretrained(folder)
    tiny_tokenizer(chat_template=chat_template).save_pretrained(folder)
    return folder


def move(model: torch.nn.Module, seed: int) -> None:
    """As training would: moves what is trained."""
    torch.manual_seed(seed)
    with torch.no_grad():
        for weight in model.parameters():
            if weight.requires_grad:
                weight.add_(0.05 * torch.randn_like(weight))


def as_prompts(ids: Sequence[Sequence[int]]) -> list[EncodedExample]:
    """Token ids as prompts, each with an expert's response of one token."""
    return [
        EncodedExample(index=number, prompt_ids=list(each), expert_ids=[5], prompt="", response="")
        for number, each in enumerate(ids)
    ]


def quiet_arguments(folder: Path, **settings: Any) -> TrainingArguments:
    """Arguments of a training on the CPU that shows and keeps nothing."""
    quiet = {"use_cpu": True, "report_to": "none", "disable_tqdm": True, "save_strategy": "no"}
    return TrainingArguments(output_dir=str(folder), **{**quiet, "dataloader_pin_memory": False, **settings})
