"""Proof that log-probs here are the model's own."""

from __future__ import annotations

from typing import Any

from sparring.logprobs.layout import layout_of


def check_log_probs(model: Any) -> None:
    """Checks on short texts that some layout gives the log-probs of the model's own forward pass.

    It guards against an unknown step after the head, against rows of a batch that see each other or their padding, and
    against models that are not autoregressive.

    Args:
        model: As for `sequence_log_probs`.

    Raises:
        InputError: No layout gives them.
    """
    layout_of(model)
