"""Merges an adapter into its base, and measures how far that moves log-probs."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import torch

from sparring.logprobs import per_token_log_probs
from sparring.models import ModelConfig
from sparring.models.config import Quantization
from sparring.models.loading import format_name, load_config, stored_dtype
from sparring.selfplay.policy import Policy

_PROBE = (
    "In a house by the river lived two players who knew",
    " only one game. Every evening they played it once, and each learned from what the other had done the evening "
    "before. After 31 days nobody in the town could beat them, and after 31 more they could not beat themselves.",
)


@dataclass(frozen=True)
class Merge:
    """The facts of a merge.

    Attributes:
        trained: Whether the adapter was trained; that of the base model is empty.
        quantization: The format that the weights were held in when it was trained.
        rounded: The number format that the run rounded the base's weights to; None if it is no narrower than that of
            their file.
        dtype: The number format of the merged weights.
        moved: The mean distance between a token's log-prob under the policy and under the merged model, nats.
        largest: The largest such distance.
        tokens: The number of tokens of the probe, a text that is the same for every model.
    """

    trained: bool
    quantization: Quantization | None
    rounded: str | None
    dtype: str
    moved: float
    largest: float
    tokens: int

    def __str__(self) -> str:
        base = "the base's weights"
        if self.quantization is not None:
            base += f" as quantised ({self.quantization}), which were rebuilt in {self.dtype},"
        elif self.rounded is not None:
            base += f" as the run held them, rounded to {self.rounded},"
        if self.trained:
            done = f"The adapter was merged into {base} and written in {self.dtype}"
        else:
            done = f"No adapter was merged: the model is {base.removesuffix(',')}, written in {self.dtype}"
        return (
            f"{done}: over {self.tokens} tokens of a probe, "
            f"log-probs moved by {self.moved:.2g} nats a token, at most by {self.largest:.2g}."
        )


def merge(policy: Policy, config: ModelConfig, dtype: torch.dtype | None = None) -> tuple[Any, Merge | None]:
    """A policy as a whole model, and the facts of the merge if it has an adapter.

    Args:
        policy: The policy, which must not be used afterwards.
        config: The settings of its base model.
        dtype: The number format of the merged weights. By default the wider one of the base's file and the run's, since
            an adapter is small beside the weights, and in 16 bits most of it may be rounded away.
    """
    if not policy.has_adapter:
        return policy.causal_lm, None
    trained = policy.folder is not None
    held: torch.dtype = policy.causal_lm.dtype
    wider = torch.promote_types(stored_dtype(load_config(config)), held)
    dtype = dtype or wider
    if config.quantization is None and dtype == torch.float32:
        # In fp32, so that only the weights differ, and not the rounding of activations.
        policy.model.to(dtype)
    prompt, response = (policy.tokenizer.encode(part, add_special_tokens=False) for part in _PROBE)
    (before,) = policy.log_probs([prompt], [[response]])[0]
    model = policy.merged(dtype).eval()
    with torch.no_grad():
        (after,) = per_token_log_probs(model, [prompt], [[response]])[0]
    distance = (before.double() - after.double()).abs()
    moved = float(distance.mean()), float(distance.max())
    rounded = None if wider == held else format_name(held)
    return model, Merge(trained, config.quantization, rounded, format_name(model.dtype), *moved, len(response))
