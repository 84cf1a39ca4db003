"""The weights of an engine, and the proof that they are the policy's.

An engine has its own copy of the weights, which can be stale without any error: on a CPU vLLM, for example, goes on
using the packed copy of the old output head after new weights were loaded. So after every change of weights the
engine's log-probs of a short probe are compared with the policy's own.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Protocol

from torch import Tensor

from sparring.errors import RunError

_PROBE_TOKENS = 48

LogProbs = Callable[[Sequence[Sequence[int]], Sequence[Sequence[Sequence[int]]]], list[list[Tensor]]]
"""Log π of every token of each response to each prompt, `[T]` nats."""


class Swappable(Protocol):
    """A sampler whose weights can be changed: vLLM in a child process, or an endpoint."""

    @property
    def where(self) -> str:
        """Its name in errors."""
        ...

    def load(self, folder: Path | None) -> None:
        """Loads the adapter or model in `folder`, or the base model if it is None."""
        ...

    def token_log_probs(self, ids: Sequence[int]) -> list[float]:
        """Log π(id_i | id_1 … id_{i−1}) for i = 2 …, nats, at temperature 1."""
        ...


@dataclass(frozen=True, kw_only=True)
class Weights:
    """The weights of the active policy, with a probe that identifies them.

    Attributes:
        folder: The folder that they are saved in; None for the base model.
        probe: The token ids of a short text.
        log_probs: The policy's own log-prob of each token of the probe but the first, nats.
    """

    folder: Path | None
    probe: tuple[int, ...]
    log_probs: tuple[float, ...]

    @classmethod
    def of(cls, folder: Path | None, text: Sequence[int], log_probs: LogProbs) -> Weights:
        """The weights of the policy that computes `log_probs`; the probe is the end of `text`."""
        probe = tuple(text[-_PROBE_TOKENS:])
        ((scores,),) = log_probs([probe[:1]], [[probe[1:]]])
        return cls(folder=folder, probe=probe, log_probs=tuple(float(score) for score in scores))

    def distance(self, engine: Swappable) -> float:
        """Largest difference of a probe token's log-prob between the engine and the policy, nats."""
        found = engine.token_log_probs(self.probe)
        differences = [abs(one - other) for one, other in zip(found, self.log_probs, strict=True)]
        return math.inf if any(map(math.isnan, differences)) else max(differences)


def swap(engine: Swappable, weights: Weights, *, tolerance: float) -> float:
    """Loads `weights` into an engine, and checks its log-probs of the probe.

    Returns:
        The largest difference of a probe token's log-prob, nats.

    Raises:
        RunError: Its log-probs are still those of other weights.
    """
    engine.load(weights.folder)
    distance = weights.distance(engine)
    if distance > tolerance:
        name = "the base model" if weights.folder is None else str(weights.folder)
        raise RunError(
            f"{engine.where} was given the weights of {name}, but a token's log-prob there is {distance:.3g} nats from "
            f"the policy's own (tolerance {tolerance:g}): it plays stale or other weights\n"
            "  fix: check that it serves the base model, on a CPU with the worker extension of docs/generators.md; "
            "restart it and run `sparring resume RUN`; where it computes in a narrower number format than the policy, "
            "raise generation.tolerance"
        )
    return distance
