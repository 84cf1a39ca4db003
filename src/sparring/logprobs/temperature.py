"""A model's log-probs at another temperature than 1."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

from torch import Tensor, nn

from sparring.logprobs.head import logit_cap
from sparring.logprobs.layout import layout_of
from sparring.logprobs.whole import TEMPERATURES
from sparring.logprobs.wrappers import unwrap


@contextmanager
def tempered(model: Any, temperature: float) -> Iterator[None]:
    """While it is open, log-probs are those of sampling at this temperature: of softmax(logits / T) at each token.

    The head's output is divided by T, so whatever a family does to logits after the head must be linear; a cap is not.
    Where the head is unknown, the final logits are divided.

    Args:
        model: A causal language model of transformers, bare or wrapped, that is not trained meanwhile.
        temperature: T > 0; at 1 nothing is changed.

    Raises:
        ValueError: The model caps its logits.
    """
    if temperature == 1.0:
        yield
        return
    core = unwrap(model)
    if layout_of(model).rows == "whole":
        TEMPERATURES[core] = temperature
        try:
            yield
        finally:
            del TEMPERATURES[core]
        return
    if caps_logits(core.config):
        raise ValueError("a model that caps its logits has no temperature here: the cap comes after the head")
    head = core.get_output_embeddings()
    core.set_output_embeddings(_Tempered(head, temperature))
    try:
        yield
    finally:
        core.set_output_embeddings(head)


def caps_logits(config: Any) -> bool:
    """Whether a model's configuration says that its logits are capped by a tanh."""
    return logit_cap(config.get_text_config()) is not None


class _Tempered(nn.Module):
    """A head whose logits are divided by T; `token_log_probs` calls it, since it is no plain linear layer."""

    def __init__(self, head: Any, temperature: float) -> None:
        super().__init__()
        self.head, self.temperature = head, temperature

    @property
    def weight(self) -> Tensor:
        """The weight of the head."""
        weight: Tensor = self.head.weight
        return weight

    def forward(self, hidden: Tensor) -> Tensor:
        return self.head(hidden) / self.temperature  # type: ignore[no-any-return]
