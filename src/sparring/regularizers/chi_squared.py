"""χ²(π_θ‖π_ref): a leash that tightens exponentially with the log ratio."""

from __future__ import annotations

from dataclasses import dataclass
from typing import ClassVar

from torch import Tensor

from sparring.regularizers.estimation import PolicyDivergence


@dataclass(frozen=True, kw_only=True)
class ChiSquared(PolicyDivergence):
    """Penalises the χ²-divergence from the reference, χ²(π_θ‖π_ref) = E_{π_θ}[π_θ/π_ref] − 1, by samples of π_o.

    Weight × mean_k w_k k(δ_k), with k1 = e^δ − 1 or k3 = e^δ − 2 + e^{−δ}. With the importance weight
    w = e^{min(Δ, clip)} both are exact in value and gradient wherever the exponents are below the clip. They differ
    where a few samples are used for several steps. While Δ = δ, as in the first iteration, k1 of one sample is
    e^δ(e^δ − 1), least at δ = −log 2: it takes from every sample half of its probability. k3 adds e^{−δ} − 1, whose
    mean under π_θ is zero, as in the k3 of `reverse-kl`: least, and zero, at δ = 0. It is also the less noisy one near
    π_ref, but not everywhere: see docs/regularizers.md.

    Without weights (`importance=False`, w = 1) the value is right while π_θ = π_o, but the gradient of k1 is then
    half the right one, E[e^δ ∇log π_θ], the same leash at half the weight, and that of k3 is that half and the
    gradient of the forward KL; away from π_o all are biased.

    Source: RSPO, arXiv 2503.00030, for the penalty, which is k1 there; k3 and what is said of gradients are derived
    here.

    Degenerate cases: zero at π_θ = π_ref. A sample beyond both clips, Δ and δ, has no gradient with the weight.
    Unweighted k3 goes on by its tangent above −δ = clip. e^δ of a long response spans many orders of magnitude: where δ
    may reach more than a few nats, `reverse-kl` is the safer leash.

    Attributes:
        weight: λ.
        estimator: `k1` or `k3`.
        importance: Whether samples are weighted by e^Δ; by default they are, for the right gradient.
        clip: Cap of the exponents, nats.

    Raises:
        ValueError: λ or clip is out of range, or the estimator is unknown.
    """

    estimator: str = "k3"
    importance: bool = True

    name: ClassVar[str] = "chi-squared"
    estimators: ClassVar[tuple[str, ...]] = ("k1", "k3")

    def estimate(self, log_ratio: Tensor) -> Tensor:
        """e^δ − 1, or e^δ − 2."""
        excess = log_ratio.clamp(max=self.clip).expm1()
        return {"k1": excess, "k3": excess - 1.0}[self.estimator]
