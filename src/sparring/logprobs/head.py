"""From hidden states to token log-probs, without a tensor of the shape [batch, length, vocabulary]."""

from __future__ import annotations

from collections import deque
from collections.abc import Callable, Sequence
from typing import Any

import torch
from torch import Tensor, nn
from torch.autograd.function import once_differentiable
from torch.utils.checkpoint import checkpoint

# Logits computed at once: 2²⁴ fp32 numbers are 64 MiB.
_LOGITS_AT_ONCE = 2**24
# Token probabilities that one call keeps for the weight's gradient: 2²⁷ fp32 numbers are 512 MiB; any more are computed
# again.
_PROBABILITIES_KEPT = 2**27


def token_log_probs(model: Any, hidden: Tensor, targets: Tensor) -> Tensor:
    """Log π(target | hidden) for N positions.

    The head is applied to a chunk of positions at a time, so the peak memory is that of one chunk, however large N is.

    Args:
        model: The causal language model that owns the head (not wrapped).
        hidden: `[N, d]` last hidden states at the positions that predict the targets.
        targets: `[N]` token ids.

    Returns:
        `[N]` log-probs, nats, in fp32 or the model's dtype if that is wider.
    """
    head: Any = model.get_output_embeddings()
    chunk = _chunk(model.config.get_text_config().vocab_size)
    # Only a plain linear layer: one that an adapter or a quantisation has replaced computes something else.
    if type(head) is nn.Linear and [*dict(head.named_parameters())] == ["weight"] and not _transforms(model):
        hidden, weight = _as_autocast(hidden, head.weight)
        # A function's own forward pass cannot see whether gradients are wanted.
        result: Tensor = _LinearLogProbs.apply(hidden, weight, targets, chunk, torch.is_grad_enabled())
        return result
    return read_in_chunks(model, hidden, targets, own_log_probs)


def read_in_chunks(model: Any, hidden: Tensor, targets: Tensor, read: Callable[[Tensor, Tensor], Tensor]) -> Tensor:
    """`read(logits, targets)` at N positions, a chunk at a time; the backward pass computes the logits again.

    Args:
        model: See `token_log_probs`.
        hidden: `[N, d]` last hidden states.
        targets: `[N, …]` token ids, split into chunks with the hidden states.
        read: Takes logits `[n, V]`, in fp32 at least, and targets `[n, …]`, and returns `[n, …]`.
    """
    # Autograd holds several copies of the logits.
    head, chunk = model.get_output_embeddings(), _chunk(4 * model.config.get_text_config().vocab_size)

    def read_chunk(states: Tensor, ids: Tensor) -> Tensor:
        logits = _transform(model, head(states))
        return read(logits.to(torch.promote_types(logits.dtype, torch.float32)), ids)

    parts = []
    for states, ids in zip(hidden.split(chunk), targets.split(chunk), strict=True):
        if torch.is_grad_enabled():
            parts.append(checkpoint(read_chunk, states, ids, use_reentrant=False, preserve_rng_state=False))
        else:
            parts.append(read_chunk(states, ids))
    return torch.cat(parts)


def head_bytes(calls: Sequence[int], *, vocabulary: int, element: int, trained: bool) -> int:
    """Peak bytes of the logits and probabilities of `token_log_probs`, up to the backward pass.

    Args:
        calls: The N of each call whose result goes into one loss, or the largest that it may be.
        vocabulary: V.
        element: Bytes of a number in the dtype in which the head multiplies.
        trained: Whether the head's weight has a gradient.
    """
    computed = 4 * vocabulary * min(max(calls), _chunk(vocabulary))
    kept = element * sum(min(n * vocabulary, _PROBABILITIES_KEPT) for n in calls) if trained else 0
    return computed + kept


def _chunk(vocabulary: int) -> int:
    """Positions whose logits are computed at once."""
    return max(1, _LOGITS_AT_ONCE // vocabulary)


def _as_autocast(hidden: Tensor, weight: Tensor) -> tuple[Tensor, Tensor]:
    """Both in the dtype in which autocast would multiply them, since it does not reach into an autograd function."""
    kind = hidden.device.type
    dtype = torch.get_autocast_dtype(kind) if torch.is_autocast_enabled(kind) else weight.dtype
    return hidden.to(dtype), weight.to(dtype)


class _LinearLogProbs(torch.autograd.Function):
    """The log-prob log softmax(h Wᵀ)[target] of each row h.

    With p = softmax(h Wᵀ), the gradient ∂/∂h = (e_target − p) W is as small as h, and the forward pass computes it
    while p is at hand. ∂/∂W = Σ_i (e_target − p)_i h_iᵀ needs the p of all rows, which are kept up to
    `_PROBABILITIES_KEPT` numbers, and computed again beyond. To save time, the sum that normalises p and the incoming
    gradient are multiplied into rows of h's length, not into rows of the vocabulary's.
    """

    @staticmethod
    def forward(  # noqa: PLR0917 - autograd passes them by position
        ctx: Any, hidden: Tensor, weight: Tensor, targets: Tensor, chunk: int, differentiate: bool
    ) -> Tensor:
        needs_hidden, needs_weight = (differentiate and needed for needed in ctx.needs_input_grad[:2])
        kept_rows = _PROBABILITIES_KEPT // len(weight) if needs_weight else 0
        log_probs = hidden.new_empty(len(targets), dtype=torch.promote_types(hidden.dtype, torch.float32))
        of_hidden = torch.empty_like(hidden) if needs_hidden else None
        kept: deque[tuple[Tensor, Tensor]] = deque()
        for rows in _chunks(len(targets), chunk):
            log_probs[rows], errors, total = _log_probs_and_errors(hidden[rows], weight, targets[rows])
            if not (needs_hidden or needs_weight):
                continue
            errors = errors.to(weight.dtype)
            if of_hidden is not None:
                of_hidden[rows] = errors @ weight / total.to(weight.dtype)
            if rows.stop <= kept_rows:
                kept.append((errors, total))
        ctx.save_for_backward(hidden, weight, targets, of_hidden)
        ctx.chunk, ctx.kept = chunk, kept
        return log_probs

    @staticmethod
    @once_differentiable
    def backward(ctx: Any, gradient: Tensor) -> tuple[Tensor | None, Tensor | None, None, None, None]:
        hidden, weight, targets, of_hidden = ctx.saved_tensors
        gradient = gradient[:, None]
        of_weight: Tensor | None = None
        if ctx.needs_input_grad[1]:
            for rows in _chunks(len(targets), ctx.chunk):
                if ctx.kept:
                    # Popped, to free them: the context lives until the end of the backward pass.
                    errors, total = ctx.kept.popleft()
                else:
                    _, errors, total = _log_probs_and_errors(hidden[rows], weight, targets[rows])
                scaled = (hidden[rows] * (gradient[rows] / total)).to(weight.dtype)
                of_weight = _accumulate(of_weight, errors.to(weight.dtype).t(), scaled)
            of_weight = None if of_weight is None else of_weight.to(weight.dtype)
        return None if of_hidden is None else of_hidden * gradient.to(of_hidden.dtype), of_weight, None, None, None


def _log_probs_and_errors(hidden: Tensor, weight: Tensor, targets: Tensor) -> tuple[Tensor, Tensor, Tensor]:
    """`[N]` log p[target], `[N, V]` z (e_target − p), and `[N, 1]` z = −Σ e^{l − max l}, of the logits l = h Wᵀ."""
    logits = (hidden @ weight.t()).to(torch.promote_types(hidden.dtype, torch.float32))
    target = targets[:, None]
    chosen, largest = logits.gather(-1, target), logits.amax(dim=-1, keepdim=True)
    exponentials = logits.sub_(largest).exp_()
    total = exponentials.sum(dim=-1, keepdim=True)
    # Not log_softmax, which is biased by 1e-5 a token on CPU: that adds up over a sequence.
    log_probs = (chosen - largest - total.log()).squeeze(-1)
    errors = exponentials.scatter_add_(-1, target, -total)
    return log_probs, errors, -total


def _accumulate(total: Tensor | None, left: Tensor, right: Tensor) -> Tensor:
    """`total` + left · right, in fp32 at least, since the sum over many chunks would lose digits in 16 bits."""
    wide = torch.promote_types(left.dtype, torch.float32)
    if total is None:
        return (left @ right).to(wide)
    return total.addmm_(left, right) if left.dtype == wide else total.add_(left @ right)


def _chunks(length: int, chunk: int) -> list[slice]:
    return [slice(start, min(start + chunk, length)) for start in range(0, length, chunk)]


def own_log_probs(logits: Tensor, targets: Tensor) -> Tensor:
    """`[N]` log softmax(logits)[target], nats, from logits `[N, V]`."""
    return logits.gather(-1, targets.unsqueeze(-1)).squeeze(-1) - logits.logsumexp(dim=-1)


def _transforms(model: Any) -> bool:
    """Whether the model changes its logits after the head."""
    probe = torch.linspace(-1.0, 1.0, 4)
    return not torch.equal(_transform(model, probe), probe)


def _transform(model: Any, logits: Tensor) -> Tensor:
    """The logits as some families change them after the head; `layout_of` proves that no change is missed."""
    config = model.config.get_text_config()
    if (scaling := getattr(config, "logits_scaling", None)) is not None:
        # HyperCLOVA X multiplies by it, Granite divides.
        logits = logits * scaling if config.model_type == "hyperclovax" else logits / scaling
    if (scale := getattr(model, "logit_scale", None)) is not None:  # Cohere
        logits = logits * scale
    if (scale := getattr(config, "lm_head_multiplier", None)) is not None:  # Falcon-H1
        logits = logits * scale
    if (cap := logit_cap(config)) is not None:
        logits = cap * torch.tanh(logits / cap)
    return logits


def logit_cap(config: Any) -> float | None:
    """The cap c of a model whose logits are c · tanh(logits / c), from its text configuration; None without a cap."""
    # Gemma, RecurrentGemma, xLSTM.
    names = ("final_logit_softcapping", "logits_soft_cap", "output_logit_soft_cap")
    return next((cap for name in names if (cap := getattr(config, name, None)) is not None), None)
