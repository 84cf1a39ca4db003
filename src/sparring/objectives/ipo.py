"""IPO: least squares on the log ratio's margin, with a finite target."""

from __future__ import annotations

from dataclasses import dataclass

from torch import Tensor

from sparring.log_ratios import LogRatios
from sparring.objectives.pairs import PairObjective
from sparring.registry import require_positive


@dataclass(frozen=True, kw_only=True)
class Ipo(PairObjective):
    """Least squares on the margin between the chosen and the rejected sample of a pair: (Δ_w − Δ_l − 1/(2τ))².

    w is the chosen sample, l the rejected one. With `pairs="all"` the exact minimiser is π_{t+1} ∝ π_o e^{P(·≻π_t)/τ}
    (derived here: the expected loss is, up to a constant, that of regressing Δ_i − Δ_j on (P_ij − P_ji)/(2τ)):
    multiplicative weights with step 1/τ, without the approximation of log Z that `sppo` makes. Against `previous` it
    cycles where preferences do; against `base` it repeats the answer of the reference to the last policy, whose fixed
    point is the equilibrium of the game that is regularised by τ KL(π‖π_ref). Near the centre of rock–paper–scissors
    that converges for τ > 1/√12.

    Source: IPO, arXiv 2310.12036, equation 17.

    Degenerate cases: `best-worst` has the target 1/(2τ) however slight the preference; it says nothing of samples that
    are neither best nor worst. Where all samples tie, the loss holds their Δ equal; at Δ = 0 its gradient is zero.

    Attributes:
        tau: τ; the target of a margin is 1/(2τ) nats. The default 1 makes it ½ nat, which an iteration can reach.
        pairs: `best-worst` takes the samples with the highest and the lowest P(y ≻ π_o); `all` every pair, weighted
            by P_ij, where a sample against itself counts as an even pair.

    Raises:
        ValueError: τ is not a finite positive number, or `pairs` is unknown.
    """

    tau: float = 1.0

    def __post_init__(self) -> None:
        super().__post_init__()
        require_positive("tau", self.tau, "the target of a margin is 1/(2τ)")

    def reward(self, ratios: LogRatios) -> Tensor:
        """Δ."""
        return ratios.require("generated")

    def link(self, margin: Tensor) -> Tensor:
        """(t − 1/(2τ))²."""
        return (margin - 1.0 / (2.0 * self.tau)).square()
