"""Models of random weights from their sizes alone, so that a benchmark needs no network."""

from __future__ import annotations

from pathlib import Path
from typing import Any

SHAPES: dict[str, dict[str, Any]] = {
    # 3 million parameters, nearly all of them SmolLM2's vocabulary: to try a benchmark in seconds.
    "random-tiny": {
        "vocab_size": 49152,
        "hidden_size": 64,
        "intermediate_size": 128,
        "num_hidden_layers": 2,
        "num_attention_heads": 4,
        "num_key_value_heads": 2,
        "tie_word_embeddings": True,
    },
    # 0.55 billion, with SmolLM2's vocabulary.
    "random-0.5b": {
        "vocab_size": 49152,
        "hidden_size": 1280,
        "intermediate_size": 4352,
        "num_hidden_layers": 24,
        "num_attention_heads": 20,
        "num_key_value_heads": 4,
        "tie_word_embeddings": True,
    },
    # 1.24 billion, as Llama 3.2 1B.
    "random-1b": {
        "vocab_size": 128256,
        "hidden_size": 2048,
        "intermediate_size": 8192,
        "num_hidden_layers": 16,
        "num_attention_heads": 32,
        "num_key_value_heads": 8,
        "tie_word_embeddings": True,
    },
    # 6.74 billion, as Llama 2 7B.
    "random-7b": {
        "vocab_size": 32000,
        "hidden_size": 4096,
        "intermediate_size": 11008,
        "num_hidden_layers": 32,
        "num_attention_heads": 32,
        "num_key_value_heads": 32,
        "tie_word_embeddings": False,
    },
}


def write(name: str, folder: Path, *, device: str = "cpu", seed: int = 0) -> Path:
    """Writes a shape in bf16 with SmolLM2's tokenizer, unless it is there; returns its folder."""
    import torch
    from transformers import GenerationConfig, LlamaConfig, LlamaForCausalLM

    from sparring.models import ModelConfig, load_tokenizer

    path = folder / name
    if not path.exists():
        tokenizer = load_tokenizer(ModelConfig())
        ends = {"pad_token_id": tokenizer.pad_token_id, "eos_token_id": tokenizer.eos_token_id}
        torch.manual_seed(seed)
        with torch.device(device):
            model = LlamaForCausalLM(LlamaConfig(max_position_embeddings=4096, **SHAPES[name], **ends))
        model.generation_config = GenerationConfig(**ends)
        model.to(torch.bfloat16).save_pretrained(path)
        tokenizer.save_pretrained(path)
    return path
