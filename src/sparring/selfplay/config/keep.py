"""The section `keep`: the weights and samples of earlier iterations that a run keeps."""

from __future__ import annotations

from typing import Annotated, Literal

from pydantic import BaseModel, ConfigDict, Field


class KeepConfig(BaseModel):
    """The parts of earlier iterations that are kept; by default all.

    Whatever a later iteration, the evaluation, the report, `sparring resume` or `sparring export` of the best policy
    still needs is never removed: the folders of the base model and the warm-up, held-out responses and log-probs, the
    best policy so far, and the policies and samples that opponents and objectives of later iterations need.

    Attributes:
        models: The number of last iterations whose weights are kept in addition; or "all".
        samples: The number of last iterations whose samples, judgements and scores are kept in addition; or "all". At 0
            they are removed as soon as they were trained on and the policy was measured.
    """

    model_config = ConfigDict(extra="forbid", frozen=True)

    models: Literal["all"] | Annotated[int, Field(ge=1)] = "all"
    samples: Literal["all"] | Annotated[int, Field(ge=0)] = "all"
