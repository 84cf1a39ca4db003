"""Turns off the randomness in a model's own layers, which self-play has no use for."""

from __future__ import annotations

import re
from typing import Any

from torch.nn.modules.dropout import _DropoutNd
from transformers import PreTrainedConfig

_NAMES = re.compile(r"drop|jitter")


def without_noise(model: Any) -> None:
    """Turns off the dropout and the router's jitter that a model came with, in its layers and its configuration.

    Responses are sampled, and the opponent's log π(y | x) is computed, without them. If the policy were trained with
    them, its log ratio to the opponent would be noise even before it has learned anything: dropout of 0.3 in a GPT-2 of
    two layers moved the log-prob of a response of ten tokens by six nats. The dropout of an adapter is the user's
    choice, and is added later.

    Args:
        model: A model of transformers; changed in place.
    """
    for module in model.modules():
        if isinstance(module, _DropoutNd):
            module.p = 0.0
        config = getattr(module, "config", None)
        # Some layers keep a rate as a number of their own, others look it up in the configuration at every step.
        for owner in (module, config) if isinstance(config, PreTrainedConfig) else (module,):
            for name, value in vars(owner).items():
                if isinstance(value, float) and value and _NAMES.search(name):
                    setattr(owner, name, 0.0)
