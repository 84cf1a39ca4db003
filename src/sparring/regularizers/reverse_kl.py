"""KL(π_θ‖π_ref): the leash of most preference optimisation, and of RSPO."""

from __future__ import annotations

from dataclasses import dataclass
from typing import ClassVar

from torch import Tensor

from sparring.regularizers.estimation import PolicyDivergence


@dataclass(frozen=True, kw_only=True)
class ReverseKl(PolicyDivergence):
    """Penalises the reverse KL from the reference, KL(π_θ‖π_ref), by generated samples.

    Weight × mean_k w_k k(δ_k), with k1 = δ, k2 = ½δ² or k3 = e^{−δ} − 1 + δ. Unweighted (w = 1, `importance=False`) the
    samples count as the policy's own, which they are only while π_θ = π_o. There k1 and k3 have the right value, but
    only k2 has the right gradient, E[δ ∇log π_θ]; the gradient of k1 is zero in expectation, and that of k3 is the
    gradient of the *forward* KL. k2's value is ½E[δ²], equal to the KL to second order in δ. Away from π_o all three
    are biased.

    With the importance weight w = e^{min(Δ, clip)}, k1 is exact in value and gradient wherever Δ < clip, and k3 where
    Δ − δ, the log of π_ref/π_o, is below it too; k2 is then the value and gradient of ½E_{π_θ}[δ²], right near π_ref
    only. Large weights have a large variance.

    Hence the default: unweighted k2 holds `sppo` at the equilibrium of the regularised game (log
    π*/π_ref = P(·≻π*)/τ + const, τ = λ/η), with a gradient that grows no faster than δ; unweighted k3 settles at the
    equilibrium of the forward KL. Take k3 with `importance=True` to read the KL off the metric.

    Source: the estimators are J. Schulman's, "Approximating KL divergence" (2020); as a regularizer of self-play RSPO,
    arXiv 2503.00030. What is said of gradients is derived here.

    Degenerate cases: at π_θ = π_ref the value is zero, and so is the gradient of k2 and k3. Above −δ = clip, unweighted
    k3 goes on by its tangent. Above Δ = clip the weight is constant.

    Attributes:
        weight: λ.
        estimator: `k1`, `k2` or `k3`.
        importance: Whether samples are weighted by e^Δ.
        clip: Cap of the exponents, nats.

    Raises:
        ValueError: λ or clip is out of range, or the estimator is unknown.
    """

    estimator: str = "k2"
    importance: bool = False

    name: ClassVar[str] = "reverse-kl"
    estimators: ClassVar[tuple[str, ...]] = ("k1", "k2", "k3")

    def estimate(self, log_ratio: Tensor) -> Tensor:
        """δ, ½δ², or δ − 1."""
        return {"k1": log_ratio, "k2": 0.5 * log_ratio.square(), "k3": log_ratio - 1.0}[self.estimator]
