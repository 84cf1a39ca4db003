"""Log-probs token by token, for objectives that read single tokens of a response."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Self

import torch
from torch import Tensor


@dataclass(frozen=True, kw_only=True)
class _Tokens:
    """Values of the tokens of some responses, right-padded to T tokens.

    Attributes:
        mask: `[…, T]` whether there is a token; every response has at least one.
    """

    mask: Tensor

    def _check(self, **values: Tensor) -> None:
        """Raises ValueError where values have another shape than `[*mask.shape]`, or a dtype is wrong."""
        for name, value in values.items():
            if value.shape != self.mask.shape:
                shapes = f"{list(value.shape)} and {list(self.mask.shape)}"
                raise ValueError(f"{type(self).__name__}.{name} and .mask must have one shape, got {shapes}")
            if not value.is_floating_point() or self.mask.dtype != torch.bool:
                problem = f".{name} must be floating point and .mask bool, got {value.dtype} and {self.mask.dtype}"
                raise ValueError(type(self).__name__ + problem)
        if not bool(self.mask.any(dim=-1).all()):
            raise ValueError(f"{type(self).__name__}.mask has a response without a token")

    def sum(self, values: Tensor) -> Tensor:
        """The sum over the tokens of each response: `[…, T]` → `[…]`."""
        return values.masked_fill(~self.mask, 0.0).sum(dim=-1)

    def mean(self, values: Tensor) -> Tensor:
        """The mean over the tokens of each response: `[…, T]` → `[…]`."""
        return self.sum(values) / self.mask.sum(dim=-1)


@dataclass(frozen=True, kw_only=True)
class TokenLogProbs(_Tokens):
    """Log-probs of the tokens of some responses.

    Attributes:
        log_probs: `[…, T]` log π_θ(y_t | x, y_<t), nats; any finite number where there is no token.
        mask: `[…, T]` whether there is a token; every response has at least one.

    Raises:
        ValueError: The shapes differ, a dtype is wrong, or a response has no token.
    """

    log_probs: Tensor

    def __post_init__(self) -> None:
        self._check(log_probs=self.log_probs)

    @classmethod
    def of(cls, responses: Sequence[Tensor]) -> Self:
        """B responses `[T_b]`, as `sparring.logprobs.per_token_log_probs` gives them."""
        log_probs, mask = _padded(responses)
        return cls(log_probs=log_probs, mask=mask)

    @classmethod
    def unpadded(cls, log_probs: Tensor) -> Self:
        """Responses `[…, T]` that all have T tokens."""
        return cls(log_probs=log_probs, mask=torch.ones_like(log_probs, dtype=torch.bool))


@dataclass(frozen=True, kw_only=True)
class NextTokenLogProbs(_Tokens):
    """Next-token distributions of the policy and of a scorer at each token of some responses.

    The vocabulary is divided into N classes at each token: most are single tokens, and one may hold all other tokens.
    The probabilities of the classes sum to one, under the policy and under the scorer.

    Attributes:
        policy: `[…, T, N]` log-prob of each class under π_θ given x and y_<t, nats; any finite numbers where there is
            no token.
        scorer: `[…, T, N]` the same under the scorer, which may have read another prompt; without a gradient.
        mask: `[…, T]` whether there is a token; every response has at least one.

    Raises:
        ValueError: The shapes differ, a dtype is wrong, or a response has no token.
    """

    policy: Tensor
    scorer: Tensor

    def __post_init__(self) -> None:
        if self.policy.ndim < 2 or self.policy.shape != self.scorer.shape:
            shapes = f"{list(self.policy.shape)} and {list(self.scorer.shape)}"
            raise ValueError(f"NextTokenLogProbs.policy and .scorer must have one shape […, T, N], got {shapes}")
        self._check(policy=self.policy[..., 0], scorer=self.scorer[..., 0])

    @classmethod
    def of(cls, policy: Sequence[Sequence[Tensor]], scorer: Sequence[Sequence[Tensor]]) -> Self:
        """K responses `[T_bk, N]` to each of B prompts, as `[B, K, T, N]`."""
        shape = (len(policy), len(policy[0]))
        of_policy, mask = _padded([each for responses in policy for each in responses])
        of_scorer, _ = _padded([each for responses in scorer for each in responses])
        return cls(
            policy=of_policy.unflatten(0, shape), scorer=of_scorer.unflatten(0, shape), mask=mask.unflatten(0, shape)
        )

    @classmethod
    def unpadded(cls, policy: Tensor, scorer: Tensor) -> Self:
        """Responses `[…, T, N]` that all have T tokens."""
        return cls(policy=policy, scorer=scorer, mask=torch.ones_like(policy[..., 0], dtype=torch.bool))


@dataclass(frozen=True, kw_only=True)
class LikelyTokens:
    """The N likeliest next tokens at each of the T tokens of a response.

    Attributes:
        ids: `[T, N]` token ids, the likeliest first.
        log_probs: `[T, N + 1]` log-probs of these tokens, and last of all others together, nats.
    """

    ids: Tensor
    log_probs: Tensor


def _padded(responses: Sequence[Tensor]) -> tuple[Tensor, Tensor]:
    """Responses `[T_b, …]` as `[B, T, …]`, with a mask `[B, T]`."""
    values = torch.nn.utils.rnn.pad_sequence(list(responses), batch_first=True)
    lengths = torch.tensor([len(response) for response in responses], device=values.device)
    return values, torch.arange(values.shape[1], device=values.device) < lengths.unsqueeze(-1)
