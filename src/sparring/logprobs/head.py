"""From hidden states to token log-probs, without ever holding a [batch, length, vocabulary] tensor."""

from __future__ import annotations

from typing import Any

import torch
from torch import Tensor
from torch.utils.checkpoint import checkpoint

# Logits held at once: 2²⁴ fp32 numbers are 64 MiB.
_LOGITS_AT_ONCE = 2**24


def token_log_probs(model: Any, hidden: Tensor, targets: Tensor) -> Tensor:
    """Log π(target | hidden) for N positions.

    The head is applied to a chunk of positions at a time. Where a gradient is needed a chunk's logits are
    recomputed in the backward pass rather than kept, so the peak is one chunk whatever N is.

    Args:
        model: The causal language model that owns the head (not wrapped).
        hidden: `[N, d]` last hidden states at the positions that predict the targets.
        targets: `[N]` token ids.

    Returns:
        `[N]` log-probs, nats, in fp32 or the model's dtype if that is wider.
    """
    head = model.get_output_embeddings()
    chunk = max(1, _LOGITS_AT_ONCE // model.config.get_text_config().vocab_size)
    parts = []
    for states, ids in zip(hidden.split(chunk), targets.split(chunk), strict=True):
        if torch.is_grad_enabled():
            part = checkpoint(_chunk_log_probs, model, head, states, ids, use_reentrant=False, preserve_rng_state=False)
        else:
            part = _chunk_log_probs(model, head, states, ids)
        parts.append(part)
    return torch.cat(parts)


def _chunk_log_probs(model: Any, head: Any, hidden: Tensor, targets: Tensor) -> Tensor:
    logits = _transform(model, head(hidden))
    logits = logits.to(torch.promote_types(logits.dtype, torch.float32))
    # logsumexp, not log_softmax: the latter is biased by 1e-5 a token on CPU, which adds up over a sequence.
    chosen = logits.gather(-1, targets.unsqueeze(-1)).squeeze(-1)
    return chosen - logits.logsumexp(dim=-1)


def _transform(model: Any, logits: Tensor) -> Tensor:
    """What some families do to the logits after the head; `check_log_probs` proves that none is missed."""
    config = model.config.get_text_config()
    if (scaling := getattr(config, "logits_scaling", None)) is not None:  # Granite
        logits = logits / scaling
    if (scale := getattr(model, "logit_scale", None)) is not None:  # Cohere
        logits = logits * scale
    if (cap := getattr(config, "final_logit_softcapping", None)) is not None:  # Gemma
        logits = cap * torch.tanh(logits / cap)
    return logits
