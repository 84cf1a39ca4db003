"""The section `stop`: the conditions that end a run before it collapses."""

from __future__ import annotations

from typing import Literal

from pydantic import BaseModel, ConfigDict, Field, field_validator

from sparring.metrics.stability import CHECKS
from sparring.registry import require_one_of


class StopConfig(BaseModel):
    """The conditions that end a run before it collapses.

    Attributes:
        enabled: Whether to watch at all.
        metric: The held-out metric to watch; higher is better. "auto" is greedy accuracy if the data have a verifier,
            else the win rate over the base model if a judge compares the two, else the expert's log-likelihood a token,
            else the accuracy on the data's preferences.
        max_drop: How far a policy may fall below the best one so far: a difference of accuracies or of win rates (0.1
            is ten points) or of nats a token. A fall within two standard errors of the difference counts as noise.
        alarms: Checks of the stability monitor, from `CHECKS`, whose alarm also ends the run. By default none does: a
            run that oscillates, say, may still end with a better policy than it began with.
    """

    model_config = ConfigDict(extra="forbid", frozen=True)

    enabled: bool = True
    metric: Literal[
        "auto",
        "accuracy/greedy",
        "accuracy/sampled",
        "win_rate/base",
        "log_likelihood/token",
        "preference/accuracy",
    ] = "auto"
    max_drop: float = Field(default=0.1, ge=0.0, allow_inf_nan=False)
    alarms: tuple[str, ...] = ()

    @field_validator("alarms")
    @classmethod
    def _known_checks(cls, alarms: tuple[str, ...]) -> tuple[str, ...]:
        for name in alarms:
            require_one_of("check", name, CHECKS)
        return alarms
