"""Models: found by their names, loaded and checked.

`ModelConfig` names a model; `load_config`, `load_tokenizer` and `load_model` load its parts. The default is a small
real model that installs as a Python package, so that everything runs without a network (see `smollm2`).

Importing this package is cheap: torch and transformers are imported when a function is first accessed.
"""

from __future__ import annotations

import importlib
from typing import TYPE_CHECKING, Any

from sparring.models.config import EMBEDDED, ModelConfig

if TYPE_CHECKING:
    from sparring.models.context import context_length, longest_input, reading_changes_at
    from sparring.models.folder import content_digest
    from sparring.models.loading import (
        fingerprint,
        load_config,
        load_encoder,
        load_model,
        load_reward_model,
        load_tokenizer,
        local_folder,
        resolve,
        tokenizer_of,
        torch_device,
    )

__all__ = [
    "EMBEDDED",
    "ModelConfig",
    "content_digest",
    "context_length",
    "fingerprint",
    "load_config",
    "load_encoder",
    "load_model",
    "load_reward_model",
    "load_tokenizer",
    "local_folder",
    "longest_input",
    "reading_changes_at",
    "resolve",
    "tokenizer_of",
    "torch_device",
]

_ELSEWHERE = {
    "content_digest": "folder",
    **dict.fromkeys(("context_length", "longest_input", "reading_changes_at"), "context"),
}


def __getattr__(name: str) -> Any:
    if name not in __all__:
        raise AttributeError(f"module '{__name__}' has no attribute '{name}'")
    return getattr(importlib.import_module(f"sparring.models.{_ELSEWHERE.get(name, 'loading')}"), name)
