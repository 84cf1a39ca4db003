"""INPO: online mirror descent in the game that is regularised towards the reference."""

from __future__ import annotations

from dataclasses import dataclass
from typing import ClassVar

from torch import Tensor

from sparring.log_ratios import LogRatios
from sparring.objectives.pairs import PairObjective
from sparring.registry import require_positive


@dataclass(frozen=True, kw_only=True)
class Inpo(PairObjective):
    """Least squares on the margin of a log ratio that is measured from the last policy and the reference, mixed.

    (h_w − h_l − 1/(2η))² over the chosen sample w and the rejected l of a pair, h = (1 − τ/η)Δ + (τ/η)δ. Against
    `previous`, h(y) = log π_θ − (τ/η) log π_ref − (1 − τ/η) log π_t: the regression that fits the mirror-descent step
    of the game with penalty τ KL(π‖π_ref). With `pairs="all"` the exact minimiser is log π_{t+1} = (1 − τ/η) log
    π_t + (τ/η) log π_ref + P(·≻π_t)/η + const; up to a constant the expected loss is (h_i − h_j − (P_ij − P_ji)/(2η))².
    Its fixed point is the regularised equilibrium log π* − log π_ref = P(·≻π*)/τ + const for every η, and the *last*
    iterate converges to it where η is large enough: near the centre of rock–paper–scissors for η > (τ² + 1/12)/(2τ)
    (derived here).

    It is `ipo` with τ := η against the opponent `geometric-mixture` with α = τ/η; INPO needs no other opponent than
    `previous`.

    Source: INPO, arXiv 2407.00617, with the hard target 1/(2η) for the pair that was chosen.

    Degenerate cases: at τ = η it is a regression against the reference alone. `best-worst` has the target 1/(2η)
    however slight the preference. Where all samples tie, the loss holds their h equal.

    Attributes:
        eta: η, the inverse of the step: the target of a margin is 1/(2η) nats. The default 1 makes it ½ nat, which an
            iteration can reach.
        tau: τ, the weight of KL(π‖π_ref) in the game, at most η. At the default ½ the last iterate converges on
            rock–paper–scissors for η > ⅓.
        pairs: `best-worst` takes the samples with the highest and the lowest P(y ≻ π_o); `all` every pair, weighted
            by P_ij, where a sample against itself counts as an even pair.

    Raises:
        ValueError: η or τ is not a finite positive number, τ > η, or `pairs` is unknown.
    """

    eta: float = 1.0
    tau: float = 0.5

    reads: ClassVar[frozenset[str]] = frozenset({"generated", "reference_generated"})

    def __post_init__(self) -> None:
        super().__post_init__()
        require_positive("eta", self.eta, "the target of a margin is 1/(2η)")
        require_positive("tau", self.tau, "at τ = 0 nothing holds the policy near the reference; that is `ipo`")
        if self.tau > self.eta:
            raise ValueError(
                f"tau must be at most eta, got τ = {self.tau!r} and η = {self.eta!r}: "
                "the last policy's share of the opponent is 1 − τ/η"
            )

    def reward(self, ratios: LogRatios) -> Tensor:
        """The mixed log ratio h."""
        share = self.tau / self.eta
        return (1.0 - share) * ratios.require("generated") + share * ratios.require("reference_generated")

    def link(self, margin: Tensor) -> Tensor:
        """(t − 1/(2η))²."""
        return (margin - 1.0 / (2.0 * self.eta)).square()
