"""A model at a temperature, as sampling has it."""

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
    """Inside, `sequence_log_probs` is of the law that sampling at this temperature has: softmax(logits / T) each token.

    The head's output is divided, so what a family does to logits after the head must be linear; a cap is not. Where the
    head is unknown, it is the final logits that are divided.

    Args:
        model: A causal language model of transformers, bare or wrapped, that no optimizer trains meanwhile.
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
    """Whether a model's configuration says that its logits go through a tanh."""
    return logit_cap(config.get_text_config()) is not None


class _Tempered(nn.Module):
    """A head whose logits are divided by T; no plain linear layer, so that it is called rather than multiplied."""

    def __init__(self, head: Any, temperature: float) -> None:
        super().__init__()
        self.head, self.temperature = head, temperature

    @property
    def weight(self) -> Tensor:
        """The head's own."""
        weight: Tensor = self.head.weight
        return weight

    def forward(self, hidden: Tensor) -> Tensor:
        return self.head(hidden) / self.temperature  # type: ignore[no-any-return]
