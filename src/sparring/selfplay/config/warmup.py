"""The settings of the warm-up."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from typing import Any, Literal, Self

from pydantic import BaseModel, ConfigDict, Field, model_validator

from sparring.examples import EncodedExample

# How far a decaying rate had come down would hang on a limit that the plateau comes before, so it stays as it is. The
# limit itself ends a warm-up whose likelihood creeps up for ever; the run's own steps are those of an iteration.
_UNTIL_PLATEAU = {"lr_scheduler_type": "constant", "num_train_epochs": 20, "max_steps": -1}
# As `data.held_out` takes by itself.
_SHARE, _MOST = 5, 32
_OF_A_PLATEAU = ("validation", "patience", "every")


class WarmupConfig(BaseModel):
    """Supervised fine-tuning before the first iteration.

    Self-play starts from a model that can already produce the expert's format: with reward bound R the log ratio
    moves R/β nats an iteration, no more.

    Attributes:
        until: "end" trains as long as `training` says. "plateau" trains until the experts of validation prompts grow no
            likelier, and takes the policy that found them likeliest. At a constant rate and for 20 epochs at most,
            unless `training` here says otherwise.
        validation: How many prompts with an expert's response are set apart to tell the plateau by; None takes a fifth
            of them, at most 32. The warm-up trains on none of them. The held-out prompts have no part in it, so what is
            measured on them owes nothing to the choice; the iterations play on the validation prompts as on the others.
        patience: After how many looks in a row without a new best it ends.
        every: Epochs between two looks; less than 1 for data of which one epoch is long.
        training: Fields of `TrainingArguments` that differ from the run's own `training`.
    """

    model_config = ConfigDict(extra="forbid", frozen=True)

    until: Literal["end", "plateau"] = "end"
    validation: int | None = Field(default=None, ge=1)
    patience: int = Field(default=2, ge=1)
    every: float = Field(default=1.0, gt=0.0, allow_inf_nan=False)
    training: dict[str, Any] = Field(default_factory=dict)

    @model_validator(mode="after")
    def _of_use(self) -> Self:
        for name in _OF_A_PLATEAU if self.until == "end" else ():
            if getattr(self, name) != type(self).model_fields[name].default:
                raise ValueError(f"{name} is for until: plateau; set that, or remove it")
        return self

    def fields(self, own: Mapping[str, Any]) -> dict[str, Any]:
        """Fields of `TrainingArguments` for the warm-up of a run whose own are `own`."""
        return {**own, **(_UNTIL_PLATEAU if self.until == "plateau" else {}), **self.training}

    def split(self, examples: Iterable[EncodedExample]) -> tuple[list[EncodedExample], list[EncodedExample]]:
        """The examples with an expert's response: those that are trained on, and those that tell the plateau by.

        The latter are the last of them, in an order that was drawn with the seed; no prompt is among both.
        """
        known = [item for item in examples if item.response is not None]
        if self.until == "end":
            return known, []
        prompts = [*dict.fromkeys(tuple(item.prompt_ids) for item in known)]
        apart = {*prompts[-(self.validation or min(_MOST, max(1, len(prompts) // _SHARE))) :]}
        sides: tuple[list[EncodedExample], list[EncodedExample]] = ([], [])
        for item in known:
            sides[tuple(item.prompt_ids) in apart].append(item)
        return sides
