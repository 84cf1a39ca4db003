"""The requests to vLLM that are the same in a child process and behind HTTP."""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any, TypeVar

from sparring.generation.protocol import EngineModel, Request

_EntryT = TypeVar("_EntryT")

PROBING: dict[str, int] = {"max_tokens": 1, "prompt_logprobs": 0}
"""The number of `prompt_logprobs` with which vLLM returns the log-probs of the prompt's own tokens, and no others."""


def sampling(request: Request) -> dict[str, Any]:
    """The sampling parameters of a request, for vLLM."""
    return {
        "n": request.samples,
        "temperature": request.temperature,
        "top_p": request.top_p,
        "top_k": request.top_k,
        "seed": request.seed,
        "max_tokens": request.max_new_tokens,
        # Only the request's end tokens count; vLLM's own end of sequence may be none of them.
        "ignore_eos": True,
        "stop_token_ids": list(request.stop_ids),
    }


def own_log_probs(
    entries: Sequence[_EntryT], ids: Sequence[int], log_prob: Callable[[_EntryT, int], float]
) -> list[float]:
    """Log-probs of a prompt's own tokens but the first, nats, from vLLM's table of each position."""
    return [float(log_prob(entry, token)) for entry, token in zip(entries[1:], ids[1:], strict=True)]


class VllmWeights(ABC):
    """Changes the weights that a vLLM plays: whole models in place, adapters as adapters, never merged.

    Args:
        model: The model that it was started with.
    """

    def __init__(self, model: EngineModel) -> None:
        self._model = model

    def load(self, folder: Path | None) -> None:
        """Plays as the adapter or model in `folder`, or as the base model."""
        if self._model.lora_rank is not None:
            self._play_adapter(None if folder is None else folder.absolute())
            return
        path = self._model.base if folder is None else str(folder.absolute())
        self._call("reload_weights", weights_path=path)
        self._repack_head()
        self._forget_prefixes()

    def _repack_head(self) -> None:
        """Calls `HeadRepacking`, which is needed on a CPU."""
        self._call("repack_head")

    @abstractmethod
    def _call(self, method: str, **settings: str) -> None:
        """Has each of vLLM's workers call a method."""

    @abstractmethod
    def _forget_prefixes(self) -> None:
        """Empties the cache of prompts that were read with the weights before."""

    @abstractmethod
    def _play_adapter(self, folder: Path | None) -> None:
        """Plays as the adapter in a folder, or without one."""
