"""KL(π_θ‖π_ref): the leash of most preference optimisation, and of RSPO."""

from __future__ import annotations

from dataclasses import dataclass
from typing import ClassVar

from sparring.registry import require_one_of
from sparring.regularizers.estimation import check, fields, inverse_ratio, mean_under_policy, penalty
from sparring.types import LogRatios, ObjectiveOutput

_ESTIMATORS = ("k1", "k2", "k3")


@dataclass(frozen=True, kw_only=True)
class ReverseKl:
    """Weight × mean_k w_k k(δ_k): KL(π_θ‖π_ref) from generated samples, k1 = δ, k2 = ½δ², k3 = e^{−δ} − 1 + δ.

    Unweighted (w = 1, `importance=False`) the samples count as the policy's own, which they are only while π_θ = π_o.
    There k1 and k3 have the right value, but only k2 has the right gradient, E[δ ∇log π_θ]; the gradient of k1 is
    zero in expectation, and that of k3 is the gradient of the *forward* KL. k2's value is ½E[δ²], equal to the KL to
    second order in δ. Away from π_o all three are biased.

    With the importance weight w = e^{min(Δ, clip)}, k1 is exact in value and gradient wherever Δ < clip, and k3 where
    Δ − δ, the log of π_ref/π_o, is below it too; k2 is then the value and gradient of ½E_{π_θ}[δ²], right near π_ref
    only. Large weights have a large variance.

    The default follows: k2, unweighted, is what holds `sppo` at the equilibrium of the regularised game
    (log π*/π_ref = P(·≻π*)/τ + const, τ = λ/η), with a gradient that grows no faster than δ, and no weights; unweighted
    k3 settles at the equilibrium of the forward KL. Take k3 with `importance=True` to read the KL off the metric.

    Source: the estimators are J. Schulman's, "Approximating KL divergence" (2020); as a regularizer of self-play RSPO,
    arXiv 2503.00030. What is said of gradients is derived here.

    Degenerate cases: at π_θ = π_ref the value is zero, and so is the gradient of k2 and k3. Above −δ = clip, unweighted
    k3 goes on by its tangent. Above Δ = clip the weight is constant.

    Args:
        weight: λ.
        estimator: `k1`, `k2` or `k3`.
        importance: Whether samples are weighted by e^Δ.
        clip: Cap of the exponents, nats.

    Raises:
        ValueError: λ or clip is out of range, or the estimator is unknown.
    """

    weight: float
    estimator: str = "k2"
    importance: bool = False
    clip: float = 10.0

    name: ClassVar[str] = "reverse-kl"

    def __post_init__(self) -> None:
        check(self.weight, self.clip)
        require_one_of("estimator", self.estimator, _ESTIMATORS)

    @property
    def requires(self) -> frozenset[str]:
        """δ of the generated samples, and their Δ with the importance weight."""
        return fields("reference_generated", importance=self.importance)

    def __call__(self, ratios: LogRatios) -> ObjectiveOutput:
        """Weight × value per prompt `[B]`."""
        log_ratio = ratios.require("reference_generated")
        value = {"k1": log_ratio, "k2": 0.5 * log_ratio.square(), "k3": log_ratio - 1.0}[self.estimator]
        mean = mean_under_policy(ratios, value, importance=self.importance, clip=self.clip)
        if self.estimator == "k3":
            mean = mean + inverse_ratio(ratios, importance=self.importance, clip=self.clip)
        return penalty(self.name, self.weight, mean)
