"""DPO: logistic regression on who won, with the margin of two log ratios as the log odds."""

from __future__ import annotations

from dataclasses import dataclass

from torch import Tensor
from torch.nn.functional import softplus

from sparring.log_ratios import LogRatios
from sparring.objectives.pairs import PairObjective
from sparring.objectives.rewards import require_stake


@dataclass(frozen=True, kw_only=True)
class Dpo(PairObjective):
    """Logistic regression on which of two samples the judge prefers: log(1 + e^{−β(Δ_w − Δ_l)}), averaged over pairs.

    w is the chosen sample of a pair, l the rejected one. Against the opponent `base`, Δ is the log ratio to the
    reference: iterative DPO. Against `previous` it is the log ratio to the last policy, so that nothing holds the
    policy near the base model.

    With `pairs="all"` and preferences of Bradley–Terry form, P_ij = σ(s_i − s_j), the exact minimiser is
    π ∝ π_o e^{s/β}: played once it is the KL-regularised optimum of the score s, and repeated against `previous` it
    puts all its mass on the best response. Preferences that are no such form (cycles) are fitted as if they were.

    Source: DPO, arXiv 2305.18290, equation 7; pairs of the policy's own samples as in iterative DPO.

    Degenerate cases: where one sample always beats another, no finite margin is enough: `best-worst`, and `all` with
    verdicts of 0 and 1 that form no cycle, have no minimiser, and only stopping early ends an iteration. Where all
    samples tie the loss holds their Δ equal; at Δ = 0 its gradient is zero.

    Attributes:
        beta: β, the scale of the implicit reward βΔ. The default 0.1 is the published one.
        pairs: `best-worst` takes the samples with the highest and the lowest P(y ≻ π_o); `all` every pair, weighted
            by P_ij, where a sample against itself counts as an even pair.

    Raises:
        ValueError: β is not a finite positive number, or `pairs` is unknown.
    """

    beta: float = 0.1

    def __post_init__(self) -> None:
        super().__post_init__()
        require_stake(self.beta)

    def reward(self, ratios: LogRatios) -> Tensor:
        """βΔ."""
        return self.beta * ratios.require("generated")

    def link(self, margin: Tensor) -> Tensor:
        """log(1 + e^−t)."""
        return softplus(-margin)
