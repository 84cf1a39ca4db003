"""An objective plus weighted regularizers, which is an objective again."""

from __future__ import annotations

from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass

from sparring.log_ratios import LogRatios
from sparring.types import Objective, ObjectiveOutput, Regularizer, StabilityNumber


@dataclass(frozen=True)
class Regularized(Objective):
    """An objective with its regularizers: loss + Σ_i λ_i × regularizer_i per prompt, and the metrics of all.

    With `sppo` this is RSPO, arXiv 2503.00030.

    Attributes:
        objective: The loss that is regularized.
        regularizers: The penalties to add; each has its own weight.

    Raises:
        ValueError: A regularizer is listed twice: their metrics would overwrite each other.
    """

    objective: Objective
    regularizers: Sequence[Regularizer]

    def __post_init__(self) -> None:
        for name, count in Counter(regularizer.name for regularizer in self.regularizers).items():
            if count > 1:
                raise ValueError(f"regularizer '{name}' is listed {count} times; list it once with the summed weight")

    @property
    def requires(self) -> frozenset[str]:
        """The fields that the objective or a regularizer reads."""
        return self.objective.requires.union(*(regularizer.requires for regularizer in self.regularizers))

    @property
    def couples_prompts(self) -> bool:
        """Whether the objective couples prompts; no regularizer does."""
        return self.objective.couples_prompts

    def __call__(self, ratios: LogRatios) -> ObjectiveOutput:
        """The summed loss `[B]` and the merged metrics."""
        output = self.objective(ratios)
        loss, metrics = output.loss, dict(output.metrics)
        for regularizer in self.regularizers:
            added = regularizer(ratios)
            loss = loss + added.loss
            metrics |= added.metrics
        return ObjectiveOutput(loss=loss, metrics=metrics)

    @property
    def stability(self) -> StabilityNumber | None:
        """The objective's own number where nothing is added; None where a penalty changes the step.

        It may also move the fixed point off the expert, as a divergence from the reference does.
        """
        return None if self.regularizers else self.objective.stability


def split_regularizers(objective: Objective) -> tuple[Objective, Sequence[Regularizer]]:
    """An objective without its regularizers, and the regularizers."""
    return (objective.objective, objective.regularizers) if isinstance(objective, Regularized) else (objective, ())
