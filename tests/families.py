"""Small models of several families, with settings strong enough that what a family does shows."""

from __future__ import annotations

from typing import Any

import torch
import transformers

SHAPE: dict[str, Any] = {
    "vocab_size": 97,
    "hidden_size": 32,
    "intermediate_size": 48,
    "num_hidden_layers": 2,
    "num_attention_heads": 4,
    "num_key_value_heads": 2,
    "head_dim": 8,
    "max_position_embeddings": 128,
    "initializer_range": 0.3,
    "pad_token_id": 0,
    "bos_token_id": 1,
    "eos_token_id": 2,
}
_GPT2 = {
    "vocab_size": 97,
    "n_embd": 32,
    "n_layer": 2,
    "n_head": 4,
    "n_positions": 128,
    "initializer_range": 0.3,
    "bos_token_id": 1,
    "eos_token_id": 2,
}
# Class prefix in transformers, and its settings. The caps and scales are strong enough that to miss one shows.
FAMILIES: dict[str, tuple[str, dict[str, Any]]] = {
    "llama": ("Llama", SHAPE),
    "gemma3-text": ("Gemma3Text", SHAPE | {"sliding_window": 4}),
    "gemma3-text-capped": ("Gemma3Text", SHAPE | {"final_logit_softcapping": 1.0}),
    "qwen3": ("Qwen3", SHAPE),
    "gpt2": ("GPT2", _GPT2),
    "mistral": ("Mistral", SHAPE | {"sliding_window": 4}),
    "gemma2": ("Gemma2", SHAPE | {"final_logit_softcapping": 1.0, "query_pre_attn_scalar": 8}),
    "granite": ("Granite", SHAPE | {"logits_scaling": 3.0, "embedding_multiplier": 2.0}),
    "cohere": ("Cohere", SHAPE | {"logit_scale": 0.25}),
}
_LINEAR = {
    "layer_types": ["linear_attention", "full_attention"],
    "linear_num_key_heads": 2,
    "linear_num_value_heads": 2,
    "linear_key_head_dim": 8,
    "linear_value_head_dim": 8,
}
_SPARSE = {
    **{name: value for name, value in SHAPE.items() if name != "head_dim"},
    "q_lora_rank": 8,
    "kv_lora_rank": 8,
    "qk_rope_head_dim": 4,
    "qk_nope_head_dim": 8,
    "v_head_dim": 8,
    "n_routed_experts": 4,
    "num_experts_per_tok": 2,
    "n_shared_experts": 1,
    "moe_intermediate_size": 16,
    "n_group": 1,
    "topk_group": 1,
    "num_key_value_heads": 4,
    "mlp_layer_types": ["dense", "sparse"],
    # Fewer keys are chosen than a probe has. A padding token without an embedding would leave ties among them.
    "index_topk": 4,
    "index_head_dim": 8,
    "index_n_heads": 16,
    "pad_token_id": None,
}
_ENCODER = {
    **{name: value for name, value in SHAPE.items() if name not in {"head_dim", "num_key_value_heads"}},
    "is_decoder": True,
    "hidden_dropout_prob": 0.0,
    "attention_probs_dropout_prob": 0.0,
}
# Families that do something else than a decoder with plain attention and a linear head; layout, and way of decoding.
UNUSUAL: dict[str, tuple[str, dict[str, Any]]] = {
    "qwen3-moe": ("Qwen3Moe", SHAPE | {"num_experts": 4, "num_experts_per_tok": 2, "moe_intermediate_size": 16}),
    "gpt-oss": ("GptOss", SHAPE | {"num_local_experts": 4, "num_experts_per_tok": 2, "sliding_window": 4}),
    "qwen3-next": ("Qwen3Next", SHAPE | _LINEAR | {"num_experts": 0, "mlp_only_layers": [0, 1]}),
    "lfm2": ("Lfm2", SHAPE | {"layer_types": ["conv", "full_attention"]}),
    "mamba": ("Mamba", {**{k: SHAPE[k] for k in ("vocab_size", "hidden_size", "num_hidden_layers")}, "state_size": 4}),
    "rwkv": ("Rwkv", {"vocab_size": 97, "hidden_size": 32, "num_hidden_layers": 2, "attention_hidden_size": 32}),
    "recurrent-gemma": (
        "RecurrentGemma",
        SHAPE
        | {
            "lru_width": 32,
            "block_types": ["recurrent", "attention"],
            "attention_window_size": 8,
            "logits_soft_cap": 1.0,
        },
    ),
    "minimax": (
        "MiniMax",
        SHAPE
        | {"layer_types": ["linear_attention", "full_attention"], "block_size": 4}
        | {"num_local_experts": 4, "num_experts_per_tok": 2},
    ),
    "deepseek-v32": ("DeepseekV32", _SPARSE),
    "glm-moe-dsa": ("GlmMoeDsa", _SPARSE),
    "llama4-text": (
        "Llama4",
        SHAPE
        | {"num_local_experts": 4, "num_experts_per_tok": 1, "intermediate_size_mlp": 48}
        | {"attention_chunk_size": 4, "no_rope_layers": [1, 0]},
    ),
    "modernbert-decoder": ("ModernBertDecoder", SHAPE | {"local_attention": 4, "cls_token_id": 1, "sep_token_id": 2}),
    "electra": ("Electra", _ENCODER | {"embedding_size": 16}),
    "hyperclovax": ("HyperCLOVAX", SHAPE | {"logits_scaling": 3.0}),
}
# Lengths are mixed; K is 3, 1, 2 and 0; id 0 is pad and 2 is eos, and both occur inside responses.
PROMPTS = [[1, 5, 9, 14, 3], [7], [1, 30, 31, 32, 33, 34, 35, 36], [4, 4]]
RESPONSES = [
    [[6, 7, 8, 2], [11], [50, 2, 51, 0, 0, 52, 2]],
    [[12, 13, 14, 15, 16, 17, 18, 19, 20, 21, 22, 2]],
    [[96, 2], [40, 41, 42, 43]],
    [],
]


_CONFIGS = {"Llama4": "Llama4TextConfig"}
_MODELS = {"GPT2": "GPT2LMHeadModel", "Gemma3Text": "Gemma3ForCausalLM"}


def build(family: str, **overrides: Any) -> Any:
    prefix, settings = (FAMILIES | UNUSUAL)[family]
    config_class = getattr(transformers, _CONFIGS.get(prefix, f"{prefix}Config"))
    model_class = getattr(transformers, _MODELS.get(prefix, f"{prefix}ForCausalLM"))
    with torch.random.fork_rng():
        torch.manual_seed(1)
        return model_class(config_class(**(settings | overrides))).eval()
