"""Log-probs token by token, for objectives that look inside a response."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import torch
from torch import Tensor


@dataclass(frozen=True, kw_only=True)
class TokenLogProbs:
    """Log-probs of the tokens of some responses, right-padded to T tokens; no model in it.

    Attributes:
        log_probs: `[…, T]` log π_θ(y_t | x, y_<t), nats. What stands where no token is may be any finite number.
        mask: `[…, T]` whether there is a token; every response has at least one.

    Raises:
        ValueError: The shapes differ, a dtype is wrong, or a response has no token.
    """

    log_probs: Tensor
    mask: Tensor

    def __post_init__(self) -> None:
        if self.log_probs.shape != self.mask.shape:
            shapes = f"{list(self.log_probs.shape)} and {list(self.mask.shape)}"
            raise ValueError(f"TokenLogProbs.log_probs and .mask must have one shape, got {shapes}")
        if not self.log_probs.is_floating_point() or self.mask.dtype != torch.bool:
            dtypes = f"{self.log_probs.dtype} and {self.mask.dtype}"
            raise ValueError(f"TokenLogProbs.log_probs must be floating point and .mask bool, got {dtypes}")
        if not bool(self.mask.any(dim=-1).all()):
            raise ValueError("TokenLogProbs.mask has a response without a token")

    @classmethod
    def of(cls, responses: Sequence[Tensor]) -> TokenLogProbs:
        """B responses `[T_b]`, as `sparring.logprobs.per_token_log_probs` gives them."""
        log_probs = torch.nn.utils.rnn.pad_sequence(list(responses), batch_first=True)
        lengths = torch.tensor([len(response) for response in responses], device=log_probs.device)
        return cls(
            log_probs=log_probs,
            mask=torch.arange(log_probs.shape[-1], device=log_probs.device) < lengths.unsqueeze(-1),
        )

    @classmethod
    def unpadded(cls, log_probs: Tensor) -> TokenLogProbs:
        """Responses `[…, T]` that all have T tokens."""
        return cls(log_probs=log_probs, mask=torch.ones_like(log_probs, dtype=torch.bool))

    def sum(self, values: Tensor) -> Tensor:
        """The sum over the tokens of each response: `[…, T]` → `[…]`."""
        return values.masked_fill(~self.mask, 0.0).sum(dim=-1)

    def mean(self, values: Tensor) -> Tensor:
        """The mean over the tokens of each response: `[…, T]` → `[…]`."""
        return self.sum(values) / self.mask.sum(dim=-1)
