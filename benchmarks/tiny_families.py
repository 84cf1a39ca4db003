"""Every causal language model of the installed transformers, built tiny, with random weights strong enough to tell."""

from __future__ import annotations

import math
from typing import Any

import torch
import transformers
from transformers import CONFIG_MAPPING
from transformers.models.auto.modeling_auto import MODEL_FOR_CAUSAL_LM_MAPPING_NAMES

FAMILIES: dict[str, str] = dict(MODEL_FOR_CAUSAL_LM_MAPPING_NAMES)
"""Model type, and its class."""

_LARGEST = 4_000_000
_ALWAYS = {"pad_token_id": 0, "bos_token_id": 1, "eos_token_id": 2}
# Set where a configuration has such a field with a value.
_SIZES = {
    "vocab_size": 97,
    **dict.fromkeys(("hidden_size", "n_embd", "d_model"), 32),
    **dict.fromkeys(("intermediate_size", "ffn_dim", "n_inner", "decoder_ffn_dim"), 48),
    **dict.fromkeys(("num_hidden_layers", "n_layer", "n_layers", "decoder_layers"), 2),
    **dict.fromkeys(("num_attention_heads", "n_head", "n_heads", "decoder_attention_heads"), 4),
    "num_key_value_heads": 2,
    "head_dim": 8,
    **dict.fromkeys(("max_position_embeddings", "n_positions"), 128),
    **dict.fromkeys(("initializer_range", "init_std"), 0.3),
    **dict.fromkeys(("num_experts", "num_local_experts", "n_routed_experts"), 4),
    "moe_intermediate_size": 16,
    "num_experts_per_tok": 2,
    "sliding_window": 4,
    "state_size": 4,
}
_LATENT = {
    "q_lora_rank": 8,
    "kv_lora_rank": 8,
    "qk_rope_head_dim": 4,
    "qk_nope_head_dim": 8,
    "v_head_dim": 8,
    "num_key_value_heads": 4,
    "n_group": 1,
    "topk_group": 1,
    "n_shared_experts": 1,
    "first_k_dense_replace": 1,
    "head_dim": None,
}
# Many heads: with few, ties among the keys to choose would fall by chance.
_SPARSE = _LATENT | {"index_topk": 4, "index_head_dim": 8, "index_n_heads": 16}
_FULL_SLIDING = {"layer_types": ["sliding_attention", "full_attention"]}
_MAMBA = {"mamba_n_heads": 8, "mamba_d_head": 8, "mamba_d_state": 4, "mamba_n_groups": 1, "mamba_chunk_size": 4}
_BERT = {"is_decoder": True, "hidden_dropout_prob": 0.0}
# What a family needs beside or instead of the sizes; None leaves a field at its default.
_OWN: dict[str, dict[str, Any]] = {
    "axk1": _LATENT,
    "axk2": _SPARSE,
    "bamba": _MAMBA | {"attn_layer_indices": [1]},
    "bert": _BERT,
    "bert-generation": _BERT,
    "camembert": _BERT,
    "data2vec-text": _BERT,
    "deepseek_v2": _LATENT | {"num_experts_per_tok": 2},
    "deepseek_v3": _LATENT,
    "deepseek_v32": _SPARSE,
    "dots1": {"n_routed_experts": 4, "n_shared_experts": 1, "num_experts_per_tok": 2, "n_group": 1, "topk_group": 1},
    "electra": _BERT | {"embedding_size": 16},
    "ernie": _BERT,
    "codegen": {"rotary_dim": 4},
    "cohere": {"logit_scale": 0.25},
    "falcon": {"head_dim": None},
    "falcon_h1": _MAMBA | {"mamba_d_ssm": 64, "lm_head_multiplier": 0.5},
    "gemma2": {"final_logit_softcapping": 1.0, "query_pre_attn_scalar": 8},
    "gptj": {"rotary_dim": 4},
    "granite": {"logits_scaling": 3.0},
    "hyperclovax": {"logits_scaling": 3.0},
    "glm4_moe_lite": _LATENT,
    "glm_moe_dsa": _SPARSE,
    "gpt_neo": {"num_layers": 2, "num_heads": 4, "attention_types": [[["global", "local"], 1]], "window_size": 4},
    "granitemoehybrid": _MAMBA | {"layer_types": ["mamba", "attention"]},
    "gemma3n_text": _FULL_SLIDING
    | {"num_kv_shared_layers": 0, "vocab_size_per_layer_input": 97, "hidden_size_per_layer_input": 8},
    "gemma4_text": {"vocab_size_per_layer_input": 97, "hidden_size_per_layer_input": 8},
    "hunyuan_v1_dense": {"head_dim": 8},
    "hunyuan_v1_moe": {"head_dim": 8},
    "jamba": {"attn_layer_period": 2, "attn_layer_offset": 1, "mamba_d_state": 4, "mamba_dt_rank": 4},
    "hy_v4": _SPARSE,
    "kimi_linear": _LATENT
    | {"layer_types": ["linear_attention", "full_attention"], "linear_head_dim": 8, "linear_num_heads": 4},
    "llama4_text": {"attention_chunk_size": 4, "no_rope_layers": [1, 0], "intermediate_size_mlp": 48},
    "lfm2": {"layer_types": ["conv", "full_attention"]},
    "lfm2_moe": {"layer_types": ["conv", "full_attention"], "num_dense_layers": 1},
    "longcat_flash": _LATENT
    | {"head_dim": 4, "num_layers": 1, "num_hidden_layers": 2, "ffn_hidden_size": 48, "expert_ffn_hidden_size": 16},
    "mamba2": {"num_heads": 8, "head_dim": 8, "n_groups": 1, "chunk_size": 4},
    "megatron-bert": _BERT,
    "minicpm3": _LATENT,
    "ministral": {"head_dim": 8},
    "minimax": {"layer_types": ["linear_attention", "full_attention"], "block_size": 4},
    "modernbert-decoder": {"local_attention": 4},
    "nemotron": {"num_key_value_heads": 2},
    "prophetnet": {"num_hidden_layers": None, "num_decoder_layers": 2, "num_decoder_attention_heads": 4},
    "qwen3_next": {
        "layer_types": ["linear_attention", "full_attention"],
        "linear_num_key_heads": 2,
        "linear_num_value_heads": 2,
        "linear_key_head_dim": 8,
        "linear_value_head_dim": 8,
    },
    "recurrent_gemma": {
        "lru_width": 32,
        "block_types": ["recurrent", "attention"],
        "attention_window_size": 8,
        "logits_soft_cap": 1.0,
    },
    "reformer": {"is_decoder": True, "axial_pos_embds": False, "attn_layers": ["local", "local"]},
    "rembert": _BERT | {"input_embedding_size": 16, "output_embedding_size": 24},
    "roberta": _BERT,
    "roberta-prelayernorm": _BERT,
    "roc_bert": _BERT | {"pronunciation_vocab_size": 9, "shape_vocab_size": 9},
    "roformer": _BERT | {"embedding_size": 16},
    "rwkv": {"context_length": 64, "attention_hidden_size": 32},
    "xlm": {"causal": True, "emb_dim": 32},
    "xlm-roberta": _BERT,
    "xlm-roberta-xl": _BERT,
    "xlnet": {"max_position_embeddings": None, "d_inner": 48},
    "xmod": _BERT | {"default_language": "en_XX"},
    "youtu": _LATENT,
    "zamba2": {"layers_block_type": ["mamba", "hybrid"], "mamba_d_state": 4, "n_mamba_heads": 8, "chunk_size": 4},
    "zaya": {"num_experts_per_tok": 1},
    "zamba": {"layers_block_type": ["mamba", "hybrid"], "n_mamba_heads": 2, "mamba_dt_rank": 4},
}
for _name in ("qwen3_5_text", "qwen3_5_moe_text", "qwen4_exp_text"):
    _OWN[_name] = _OWN["qwen3_next"]


def build(family: str) -> Any:
    """A model of a family, in evaluation mode.

    Raises:
        ValueError: It would be large, for its sizes go by other names, or it wants images or sounds.
    """
    kind = CONFIG_MAPPING[family]
    default = kind()
    sizes = {name: value for name, value in _SIZES.items() if _set(default, name)}
    settings = {name: value for name, value in (_ALWAYS | sizes | _OWN.get(family, {})).items() if value is not None}
    config = kind(**settings)
    model_class = getattr(transformers, FAMILIES[family])
    with torch.device("meta"):
        size = sum(math.prod(weight.shape) for weight in model_class(config).parameters())
    if size > _LARGEST:
        raise ValueError(f"{size / 1e6:.0f} million weights at these sizes")
    with torch.random.fork_rng():
        torch.manual_seed(1)
        return model_class(config).eval()


def _set(config: Any, name: str) -> bool:
    try:
        return getattr(config, name, None) is not None
    except Exception:  # noqa: BLE001 - a field that varies by layer
        return False
