"""What is read of each response token, from the hidden state or the logits that predict it."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any, ClassVar

import torch
from torch import Tensor

from sparring.logprobs.head import own_log_probs, read_in_chunks, token_log_probs


@dataclass(frozen=True)
class Readout:
    """The log-prob of each token; other readouts derive from this class.

    A layout computes the hidden states or logits that predict the N tokens of some responses, and calls a readout with
    them, with these tokens as `targets`, and with the numbers of these responses among all responses of the call.

    Attributes:
        alike: Whether the readout depends on nothing but the token and the tokens before it, so that a layout may read
            it once where several responses share them.
    """

    alike: ClassVar[bool] = True

    def of_hidden(self, model: Any, hidden: Tensor, targets: Tensor, _numbers: Sequence[int]) -> Tensor:
        """`[N]` nats, from hidden states `[N, d]`."""
        return token_log_probs(model, hidden, targets)

    def of_logits(self, logits: Tensor, targets: Tensor, _numbers: Sequence[int]) -> Tensor:
        """`of_hidden` from logits `[N, V]`, in fp32 at least."""
        return own_log_probs(logits, targets)


OWN = Readout()


@dataclass(frozen=True)
class Likeliest(Readout):
    """The likeliest next tokens, and their log-probs; without gradients.

    Attributes:
        count: The number of tokens, n.
        vocabulary: The likeliest are sought among the token ids below this number.
    """

    count: int
    vocabulary: int

    def of_hidden(self, model: Any, hidden: Tensor, targets: Tensor, _numbers: Sequence[int]) -> Tensor:
        """`[N, 2n + 1]`: n token ids, which fp32 holds exactly below 2²⁴; their log-probs; and that of all others."""
        return read_in_chunks(model, hidden, targets, self._read)

    def of_logits(self, logits: Tensor, targets: Tensor, _numbers: Sequence[int]) -> Tensor:
        """`of_hidden` from logits `[N, V]`."""
        return self._read(logits, targets)

    def _read(self, logits: Tensor, _targets: Tensor) -> Tensor:
        ids = logits[:, : self.vocabulary].topk(self.count, dim=-1).indices
        classes = _classes(logits, ids)
        return torch.cat([ids.to(classes.dtype), classes - classes.logsumexp(dim=-1, keepdim=True)], dim=-1)


@dataclass(frozen=True)
class At(Readout):
    """The log-prob of each token, and the log-probs of n given tokens in its place.

    Attributes:
        ids: For each response of the call, `[T, n]` token ids, all different at each place.
    """

    ids: Sequence[Tensor]

    alike: ClassVar[bool] = False

    def of_hidden(self, model: Any, hidden: Tensor, targets: Tensor, numbers: Sequence[int]) -> Tensor:
        """`[N, n + 2]` log-probs: of the token, of each of the n given tokens, and of all tokens but these n."""
        return read_in_chunks(model, hidden, self._wanted(targets, numbers), _read_at)

    def of_logits(self, logits: Tensor, targets: Tensor, numbers: Sequence[int]) -> Tensor:
        """`of_hidden` from logits `[N, V]`."""
        return _read_at(logits, self._wanted(targets, numbers))

    def _wanted(self, targets: Tensor, numbers: Sequence[int]) -> Tensor:
        return torch.cat([targets.unsqueeze(-1), torch.cat([self.ids[n] for n in numbers]).to(targets.device)], dim=-1)


@dataclass(frozen=True)
class Errors(Readout):
    """The gradient of each token's log-prob with respect to the hidden state that predicts it."""

    def of_hidden(self, model: Any, hidden: Tensor, targets: Tensor, _numbers: Sequence[int]) -> Tensor:
        """`[N, d]` gradients ∂ log π(target | hidden)/∂hidden, in fp32."""
        with torch.enable_grad():
            leaf = hidden.detach().requires_grad_()
            (gradient,) = torch.autograd.grad(read_in_chunks(model, leaf, targets, own_log_probs).sum(), leaf)
        return gradient.float()

    def of_logits(self, logits: Tensor, targets: Tensor, numbers: Sequence[int]) -> Tensor:
        """Not possible, since the hidden states are not known from logits."""
        raise NotImplementedError


def _read_at(logits: Tensor, wanted: Tensor) -> Tensor:
    classes = _classes(logits, wanted[:, 1:])
    both = torch.cat([logits.gather(-1, wanted[:, :1]), classes], dim=-1)
    return both - classes.logsumexp(dim=-1, keepdim=True)


def _classes(logits: Tensor, ids: Tensor) -> Tensor:
    """`[N, n + 1]` log Σ e^logit of n + 1 classes: each of the n tokens, and all other tokens together.

    The last is summed. As one minus the other probabilities it would lose all digits where the n tokens hold nearly
    all of the probability.
    """
    others = logits.scatter(-1, ids, float("-inf")).logsumexp(dim=-1, keepdim=True)
    return torch.cat([logits.gather(-1, ids), others], dim=-1)
