"""What is read off the logits at the positions that predict the tokens of responses."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any, ClassVar

import torch
from torch import Tensor

from sparring.logprobs.head import own_log_probs, read_in_chunks, token_log_probs


@dataclass(frozen=True)
class Readout:
    """The log-prob of each token itself.

    A layout finds out the hidden states or logits of some responses' tokens and has them read here. `targets` are these
    N tokens, and `numbers` the places of these responses among all responses of the call, in the same order.

    Attributes:
        alike: Whether the same is read wherever one token follows the same tokens, so that it may be read once.
    """

    alike: ClassVar[bool] = True

    def of_hidden(self, model: Any, hidden: Tensor, targets: Tensor, _numbers: Sequence[int]) -> Tensor:
        """`[N]` nats, from hidden states `[N, d]`."""
        return token_log_probs(model, hidden, targets)

    def of_logits(self, logits: Tensor, targets: Tensor, _numbers: Sequence[int]) -> Tensor:
        """The same from logits `[N, V]`, in fp32 at least."""
        return own_log_probs(logits, targets)


OWN = Readout()


@dataclass(frozen=True)
class Likeliest(Readout):
    """The likeliest next tokens, and their log-probs; without gradients.

    Attributes:
        count: n, how many.
        vocabulary: The tokens to choose from are those below this number.
    """

    count: int
    vocabulary: int

    def of_hidden(self, model: Any, hidden: Tensor, targets: Tensor, _numbers: Sequence[int]) -> Tensor:
        """`[N, 2n + 1]`: n token ids, which fp32 holds exactly below 2²⁴; their log-probs and that of all others."""
        return read_in_chunks(model, hidden, targets, self._read)

    def of_logits(self, logits: Tensor, targets: Tensor, _numbers: Sequence[int]) -> Tensor:
        """The same."""
        return self._read(logits, targets)

    def _read(self, logits: Tensor, _targets: Tensor) -> Tensor:
        ids = logits[:, : self.vocabulary].topk(self.count, dim=-1).indices
        classes = _classes(logits, ids)
        return torch.cat([ids.to(classes.dtype), classes - classes.logsumexp(dim=-1, keepdim=True)], dim=-1)


@dataclass(frozen=True)
class At(Readout):
    """The log-prob of each token itself, and those of n other tokens at its place.

    Attributes:
        ids: For each response of the call `[T, n]` different token ids.
    """

    ids: Sequence[Tensor]

    alike: ClassVar[bool] = False

    def of_hidden(self, model: Any, hidden: Tensor, targets: Tensor, numbers: Sequence[int]) -> Tensor:
        """`[N, n + 2]`: of the token itself, of the n tokens, and of all others than these n together."""
        return read_in_chunks(model, hidden, self._wanted(targets, numbers), _read_at)

    def of_logits(self, logits: Tensor, targets: Tensor, numbers: Sequence[int]) -> Tensor:
        """The same."""
        return _read_at(logits, self._wanted(targets, numbers))

    def _wanted(self, targets: Tensor, numbers: Sequence[int]) -> Tensor:
        return torch.cat([targets.unsqueeze(-1), torch.cat([self.ids[n] for n in numbers]).to(targets.device)], dim=-1)


@dataclass(frozen=True)
class Errors(Readout):
    """The gradient of each token's log-prob with respect to the hidden state that predicts it."""

    def of_hidden(self, model: Any, hidden: Tensor, targets: Tensor, _numbers: Sequence[int]) -> Tensor:
        """`[N, d]` ∂ log π(target | hidden)/∂hidden, in fp32."""
        with torch.enable_grad():
            leaf = hidden.detach().requires_grad_()
            (gradient,) = torch.autograd.grad(read_in_chunks(model, leaf, targets, own_log_probs).sum(), leaf)
        return gradient.float()

    def of_logits(self, logits: Tensor, targets: Tensor, numbers: Sequence[int]) -> Tensor:
        """Never: logits do not tell the hidden states."""
        raise NotImplementedError


def _read_at(logits: Tensor, wanted: Tensor) -> Tensor:
    classes = _classes(logits, wanted[:, 1:])
    both = torch.cat([logits.gather(-1, wanted[:, :1]), classes], dim=-1)
    return both - classes.logsumexp(dim=-1, keepdim=True)


def _classes(logits: Tensor, ids: Tensor) -> Tensor:
    """`[N, n + 1]` log of Σ e^logit over each class: the n tokens one by one, and all others together.

    The others' sum is a sum, not what is missing to one, which has no digits where the n tokens hold nearly all.
    """
    others = logits.scatter(-1, ids, float("-inf")).logsumexp(dim=-1, keepdim=True)
    return torch.cat([logits.gather(-1, ids), others], dim=-1)
