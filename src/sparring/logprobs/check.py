"""Proof that log-probs here are the model's own."""

from __future__ import annotations

from typing import Any

from sparring.logprobs.layout import layout_of


def check_log_probs(model: Any) -> None:
    """Proves on short texts that this package scores as the model's own forward pass does, and by which layout.

    It guards against a head that is followed by a step we do not know, against rows of a batch that see each other or
    their padding, and against models that are not autoregressive.

    Args:
        model: As for `sequence_log_probs`.

    Raises:
        InputError: No layout does.
    """
    layout_of(model)
