"""The settings of what a run keeps of its earlier iterations."""

from __future__ import annotations

from typing import Annotated, Literal

from pydantic import BaseModel, ConfigDict, Field


class KeepConfig(BaseModel):
    """What is kept of earlier iterations; by default everything.

    What a later iteration, the evaluation, the report, `sparring resume` or `sparring export` of the best policy still
    needs is never removed: the base model's and the warm-up's folders, held-out responses and log-probs, the best
    policy so far, and the policies and samples that the opponents and objectives of the iterations to come name.

    Attributes:
        models: Of how many of the last iterations the weights are kept, besides those; or "all".
        samples: Of how many of the last iterations the samples, judgements and scores are kept, besides those; or
            "all". At 0 they are removed as soon as they were trained on and the policy was measured.
    """

    model_config = ConfigDict(extra="forbid", frozen=True)

    models: Literal["all"] | Annotated[int, Field(ge=1)] = "all"
    samples: Literal["all"] | Annotated[int, Field(ge=0)] = "all"
