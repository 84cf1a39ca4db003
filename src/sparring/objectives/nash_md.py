"""Nash-MD: the mirror-descent step, fitted exactly, against an opponent whose log-probs need no normaliser."""

from __future__ import annotations

from dataclasses import dataclass
from typing import ClassVar

from sparring.log_ratios import LogRatios
from sparring.registry import require_positive
from sparring.types import Objective, ObjectiveOutput


@dataclass(frozen=True, kw_only=True)
class NashMd(Objective):
    """Regression of the log ratio on the win rate, with the normaliser left free: ½ Var_k(Δ_k − η P_k).

    P_k = P(y_k ≻ π_o | x). The step of mirror descent, π_{t+1} ∝ π_o e^{η P(·≻π_o)}, says Δ(y) = η P(y) − log Z. `sppo`
    guesses log Z = η/2; here min_c ½ mean_k (Δ_k − η P_k + c)² is the variance. So the exact minimiser *is* that step,
    and a constant that is missing from log π_o changes nothing, as the normaliser of the opponent `geometric-mixture`
    is: with it log π_{t+1} = (1 − α) log π_t + α log π_ref + η P + const, which is Nash-MD's step at α = ητ, and
    τ = α/η is the weight of KL(π‖π_ref) in the game. With `previous` it is plain multiplicative weights.

    Where P is measured against π_t, the fixed point is the regularised equilibrium for every η, and near the centre of
    rock–paper–scissors the last iterate converges for η² < 12 α(2 − α). Where responses are drawn from the mixture and
    P is measured against it, as Nash-MD does, the factor is (1 − α)√(1 + η²/12), which converges more often, but to a
    policy that differs from the equilibrium by terms of order η (derived here).

    Source: Nash-MD, arXiv 2312.00886. The paper trains by policy gradients; the regression is
    derived here.

    Degenerate cases: with one sample a prompt the variance, and so the loss, is zero: it needs K ≥ 2. Where all P_k
    are equal the loss holds the Δ equal; at Δ = 0 its gradient is zero.

    Attributes:
        eta: η, the step: one exact iteration moves the log ratio of two responses by at most η nats. The default 1
            converges, with the opponent `geometric-mixture`, for α > 0.043 on rock–paper–scissors.

    Raises:
        ValueError: η is not a finite positive number.
    """

    eta: float = 1.0

    requires: ClassVar[frozenset[str]] = frozenset({"generated", "preference"})

    def __post_init__(self) -> None:
        require_positive("eta", self.eta, "η is the step towards the preferred responses")

    def __call__(self, ratios: LogRatios) -> ObjectiveOutput:
        """The loss `[B]` and its metrics: means over the samples of Δ and of P."""
        log_ratio, preference = ratios.require("generated"), ratios.require("preference")
        residual = log_ratio - self.eta * preference
        centred = residual - ratios.mean_over_samples(residual).unsqueeze(-1)
        metrics = {
            "log_ratios/generated": ratios.mean_over_samples(log_ratio.detach()),
            "preferences/generated": ratios.mean_over_samples(preference.detach()),
        }
        return ObjectiveOutput(loss=0.5 * ratios.mean_over_samples(centred.square()), metrics=metrics)
