"""Parts that regularizers share: importance weights from π_o to π_θ, estimators, and the output."""

from __future__ import annotations

from abc import abstractmethod
from dataclasses import dataclass
from typing import ClassVar

import torch
from torch import Tensor

from sparring.log_ratios import LogRatios
from sparring.registry import require_one_of, require_positive
from sparring.types import ObjectiveOutput, Regularizer

LARGEST_CLIP = 30.0
"""At this clip the product of two weights e^30 and a squared log ratio of 1e4 nats still fits into fp32."""


def check(weight: float, clip: float) -> None:
    """Raises ValueError unless `weight` and `clip` are positive and e^clip squared fits into fp32."""
    require_positive("weight", weight, "it scales the penalty; leave the regularizer out to have none")
    require_positive("clip", clip, "it caps exponents, in nats")
    if clip > LARGEST_CLIP:
        raise ValueError(f"clip must be at most {LARGEST_CLIP:g} nats, got {clip!r}: e^clip would overflow fp32")


def fields(value: str, *, importance: bool) -> frozenset[str]:
    """The fields that a mean of `value` over the generated samples reads: `value`, and Δ where samples are weighted."""
    return frozenset({value, "generated"} if importance else {value})


def importance_weight(ratios: LogRatios, clip: float) -> Tensor:
    """e^{min(Δ, clip)} `[B, K]`, differentiable.

    E_{π_o}[e^Δ f] = E_{π_θ}[f], and the gradient of the left side is that of the right, through the weight too.
    """
    return ratios.require("generated").clamp(max=clip).exp()


def mean_under_policy(ratios: LogRatios, value: Tensor, *, importance: bool, clip: float) -> Tensor:
    """Mean over the generated samples `[B]` of `value` `[B, K]`, with the importance weight or without."""
    return ratios.mean_over_samples(importance_weight(ratios, clip) * value if importance else value)


def reference_over_opponent(ratios: LogRatios, clip: float) -> Tensor:
    """π_ref/π_o as e^{min(Δ − δ, clip)} `[B, K]`; it does not depend on the policy."""
    return (ratios.require("generated") - ratios.require("reference_generated")).clamp(max=clip).exp()


def inverse_ratio(ratios: LogRatios, *, importance: bool, clip: float) -> Tensor:
    """The control variate of k3: the mean over the generated samples `[B]` of e^{−δ}, whose mean under π_θ is 1.

    With the importance weight it is `reference_over_opponent`, which has no gradient. Without, it is continued by its
    tangent above −δ = clip, so that the sample still has a gradient there.
    """
    if importance:
        return ratios.mean_over_samples(reference_over_opponent(ratios, clip))
    return ratios.mean_over_samples(exponential(-ratios.require("reference_generated"), clip))


def penalty(name: str, weight: float, value: Tensor) -> ObjectiveOutput:
    """Weight × value per prompt `[B]`, and the value as the metric."""
    return ObjectiveOutput(loss=weight * value, metrics={f"regularizer/{name}": value.detach()})


def exponential(t: Tensor, tangent_from: float) -> Tensor:
    """e^t, continued by its tangent above `tangent_from`: finite, and its gradient never vanishes there."""
    inside = t.clamp(max=tangent_from)
    return torch.exp(inside) * (1.0 + (t - inside))


@dataclass(frozen=True, kw_only=True)
class LikelihoodPenalty(Regularizer):
    """A penalty on how unlikely some responses are: weight × −log π_θ, as a sum or a mean over a response's tokens.

    Attributes:
        weight: λ.
        length_normalized: Whether to divide by a response's length.

    Raises:
        ValueError: λ is not a finite positive number.
    """

    weight: float
    length_normalized: bool = False

    def __post_init__(self) -> None:
        require_positive("weight", self.weight, "it scales the penalty; leave the regularizer out to have none")

    def reads(self, side: str) -> frozenset[str]:
        """The fields that `log_likelihood` reads."""
        return frozenset({f"policy_{side}", f"{side}_length"} if self.length_normalized else {f"policy_{side}"})

    def log_likelihood(self, ratios: LogRatios, side: str) -> Tensor:
        """Log π_θ of the responses of a side, "expert" or "generated", in the shape of its field."""
        value = ratios.require(f"policy_{side}")
        return value / ratios.require(f"{side}_length") if self.length_normalized else value


@dataclass(frozen=True, kw_only=True)
class PolicyDivergence(Regularizer):
    """A penalty on a divergence of π_θ from π_ref, by one of several estimators: weight × mean_k w_k k(δ_k).

    Attributes:
        weight: λ.
        estimator: Its name, among `estimators`.
        importance: Whether samples are weighted by w = e^{min(Δ, clip)}; else w = 1.
        clip: Cap of the exponents, nats.
        estimators: The names to choose from. k3 has the control variate e^{−δ}, whose mean under π_θ is 1.
    """

    weight: float
    estimator: str
    importance: bool
    clip: float = 10.0

    estimators: ClassVar[tuple[str, ...]]

    def __post_init__(self) -> None:
        check(self.weight, self.clip)
        require_one_of("estimator", self.estimator, self.estimators)

    @property
    def weighs_draws(self) -> bool:
        """See `importance`."""
        return self.importance

    @property
    def requires(self) -> frozenset[str]:
        """δ of the generated samples, and their Δ with the importance weight."""
        return fields("reference_generated", importance=self.importance)

    @abstractmethod
    def estimate(self, log_ratio: Tensor) -> Tensor:
        """k(δ) `[B, K]`, elementwise; for k3 without its control variate."""
        ...

    def __call__(self, ratios: LogRatios) -> ObjectiveOutput:
        """Weight × value per prompt `[B]`."""
        value = self.estimate(ratios.require("reference_generated"))
        mean = mean_under_policy(ratios, value, importance=self.importance, clip=self.clip)
        if self.estimator == "k3":
            mean = mean + inverse_ratio(ratios, importance=self.importance, clip=self.clip)
        return penalty(self.name, self.weight, mean)
