"""The settings of the warm-up."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from typing import Any, Literal, Self

from pydantic import BaseModel, ConfigDict, Field, model_validator

from sparring.examples import EncodedExample

# The defaults of training until a plateau. The rate is constant, since a decaying one would depend on a number of
# epochs that is not reached. The limit of epochs ends a warm-up whose likelihood creeps up for ever. The run's own
# `max_steps` is for an iteration, and does not count here.
_UNTIL_PLATEAU = {"lr_scheduler_type": "constant", "num_train_epochs": 20, "max_steps": -1}
# The same share and limit as the default of `data.held_out`.
_SHARE, _MOST = 5, 32
_OF_A_PLATEAU = ("validation", "patience", "every")


class WarmupConfig(BaseModel):
    """Supervised fine-tuning before the first iteration.

    Self-play should start from a model that can already produce the expert's format: with a reward bound R, an
    iteration moves the log ratio by R/β nats at most.

    Attributes:
        until: "end" trains as long as `training` says. "plateau" trains until the log-likelihood of the experts of
            validation prompts no longer grows, and takes the policy where it was highest; the rate is constant and the
            limit 20 epochs, unless `training` here says otherwise.
        validation: The number of prompts with an expert's response that are set apart to find the plateau; None takes a
            fifth of them, at most 32. The warm-up does not train on them, but the iterations play on them as on the
            others. The held-out prompts are not used for it, so estimates on them are not biased by the choice.
        patience: The number of looks in a row without a new best after which it ends.
        every: Epochs between two looks; less than 1 for data whose epoch is long.
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
        """Fields of `TrainingArguments` for the warm-up: `own`, those of the run, with the warm-up's in their place."""
        return {**own, **(_UNTIL_PLATEAU if self.until == "plateau" else {}), **self.training}

    def split(self, examples: Iterable[EncodedExample]) -> tuple[list[EncodedExample], list[EncodedExample]]:
        """The examples with an expert's response, divided into training and validation examples.

        The validation examples are the last, in an order that was drawn with the seed; no prompt is in both parts.
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
