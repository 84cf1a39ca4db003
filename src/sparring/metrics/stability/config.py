"""The limits at which a reading becomes a warning or an alarm."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any, Self

from pydantic import BaseModel, ConfigDict, Field, ValidationInfo, field_validator, model_validator

from sparring.metrics.stability.history import Finding, Reading


class Limits(BaseModel):
    """The limits of a check.

    Attributes:
        warn: The reading at which it warns.
        alarm: The reading at which it raises the alarm.
    """

    model_config = ConfigDict(extra="forbid", frozen=True)

    warn: float = Field(ge=0.0, allow_inf_nan=False)
    alarm: float = Field(ge=0.0, allow_inf_nan=False)

    @model_validator(mode="after")
    def _in_order(self) -> Self:
        if self.alarm < self.warn:
            raise ValueError(f"alarm ({self.alarm:g}) must not be below warn ({self.warn:g}): more is worse")
        return self

    def judge(self, check: str, iteration: int, reading: Reading) -> Finding:
        """A reading as a finding; NaN is an alarm."""
        status = "ok" if reading.value < self.warn else "warn" if reading.value < self.alarm else "alarm"
        threshold = self.alarm if status == "alarm" else self.warn
        return Finding(
            check=check,
            iteration=iteration,
            status=status,
            value=reading.value,
            threshold=threshold,
            text=reading.text,
        )


class StabilityConfig(BaseModel):
    """The limits of every check of `CHECKS`; of two limits, one may be left out.

    Attributes:
        oscillation: Share of a step that the next one takes back. Independent noise gives a half, so it warns above
            that; at 1 nothing is left of a step.
        reward_bound: Share of rewards beyond ±R. A few may stray beyond the bound; if half of them do, R is no bound.
        displacement: Log-likelihood that the expert's responses lose for each nat of margin. Above 1 they lose more
            than the margin grows.
        entropy: Share of the entropy a token that was lost since play began. Half is much even for a policy that learns
            a narrow expert; with a fifth left it has collapsed.
        diversity: Share of distinct word pairs that was lost since play began.
        length: Factor by which the mean length is outside the range between the first policy's and the expert's.
    """

    model_config = ConfigDict(extra="forbid", frozen=True)

    oscillation: Limits = Limits(warn=0.75, alarm=0.95)
    reward_bound: Limits = Limits(warn=0.25, alarm=0.5)
    displacement: Limits = Limits(warn=0.25, alarm=1.0)
    entropy: Limits = Limits(warn=0.5, alarm=0.8)
    diversity: Limits = Limits(warn=0.3, alarm=0.6)
    length: Limits = Limits(warn=1.5, alarm=2.5)

    @field_validator("*", mode="before")
    @classmethod
    def _filled_up(cls, value: Any, info: ValidationInfo) -> Any:
        """A limit that is left out is the default one."""
        default: Limits = cls.model_fields[str(info.field_name)].default
        return {**default.model_dump(), **value} if isinstance(value, Mapping) else value
