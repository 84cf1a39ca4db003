"""The data that the stability checks read, and their readings and findings."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass
from typing import Any

from sparring.metrics.held_out import Estimate


@dataclass(frozen=True, kw_only=True)
class History:
    """A run up to the end of an iteration.

    Attributes:
        evaluations: By policy, from 0 to the one that the last iteration made: its estimates on the held-out set.
        training: By iteration, the values that training logged at its steps, by name; the loss is `objective`.
        expert_log_probs: By policy, log π(y_E|x) of every held-out expert response, nats, in the same order.
        phase_start: The first iteration that was played with the last one's objective.
    """

    evaluations: Mapping[int, Mapping[str, Estimate]]
    training: Mapping[int, Mapping[str, Estimate]]
    expert_log_probs: Mapping[int, Sequence[float]]
    phase_start: int = 0

    @property
    def iteration(self) -> int:
        """The last iteration."""
        return max(self.training)

    def now(self, name: str) -> Estimate | None:
        """A held-out estimate of the policy that the last iteration made."""
        return self.evaluations[self.iteration + 1].get(name)

    def at_start(self, name: str) -> Estimate | None:
        """A held-out estimate of policy 0."""
        return self.evaluations[0].get(name)

    def of_game(self, name: str, iteration: int) -> Estimate | None:
        """A metric of an iteration's objective: on held-out prompts if it was computed there, else in training."""
        return self.evaluations[iteration + 1].get(name) or self.training[iteration].get(name)


def greatest(*values: float) -> float:
    """The greatest of some values; NaN if one of them is NaN, which `max` may miss."""
    return math.nan if any(math.isnan(value) for value in values) else max(values)


@dataclass(frozen=True, kw_only=True)
class Reading:
    """The result of a check.

    Attributes:
        value: A number; the higher, the worse.
        text: Its meaning in plain words.
    """

    value: float
    text: str


@dataclass(frozen=True, kw_only=True)
class Finding:
    """A reading, compared with its limits.

    Attributes:
        check: The check's name.
        iteration: The iteration after which it was made.
        status: "ok", "warn" or "alarm".
        value: As in `Reading`.
        threshold: The limit that decided the status.
        text: As in `Reading`; unless the status is "ok", with the meaning and the advice in brackets.
    """

    check: str
    iteration: int
    status: str
    value: float
    threshold: float
    text: str

    def to_json(self) -> dict[str, Any]:
        """The finding as plain values."""
        return asdict(self)
