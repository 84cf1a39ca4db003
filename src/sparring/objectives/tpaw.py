"""TPAW: SPIN against a team of earlier policies, with adaptive weights."""

from __future__ import annotations

from dataclasses import dataclass
from typing import ClassVar

from torch.nn import functional

from sparring.log_ratios import LogRatios
from sparring.objectives.rewards import require_stake, reward_metrics
from sparring.registry import require_positive
from sparring.types import Objective, ObjectiveOutput


@dataclass(frozen=True, kw_only=True)
class Tpaw(Objective):
    """Tells the expert's response from those of several earlier policies: Σ_j w_j mean_k ℓ(a_j P_j(y) − P_j(y_jk)).

    P_j = βΔ_j is the reward against member j of the team, whose own samples y_jk are, and ℓ(t) = log(1 + e^−t). Two
    weights adapt, and are held fixed in the gradient. The guard a_j is η where P_j(y) ≤ 0, that is where the expert's
    response is no likelier than under that member, else 1: it pulls back an expert's response that is about to be lost.
    The weight w = softmax_j(−γ(P_j(y) − mean_k P_j(y_jk))) turns to the members that are told apart least.

    Source: TPAW, arXiv 2605.09922, from notes that write its equation down, with K = 1, η = 6, γ = 0.5 and a team of
    three; β is λ there. The analysis is derived here.

    There is no stability number. With η = 1 the team is one more way of averaging: to first order the exact iteration
    is e_{t+1} = (1 − 1/β) mean_j e_j, as with `fictitious-play`, which converges for β > 1/(J+1). With η > 1 the loss
    has a kink where a response keeps its probability: mass moves from outcome b to a only where π_E(a)/π_o(a) exceeds η
    times π_E(b)/π_o(b). So every policy whose ratios to the expert are within a factor η of each other is a fixed point
    of the exact game, and the iteration ends there, not at the expert. A language model that raises all experts'
    responses at once, at the cost of what nobody wrote, does not meet that limit.

    Degenerate case: with one member and η = 1 it is `spin` with the logistic link.

    Attributes:
        beta: β, the scale of the reward. The published value is not known; the default is that of `spin` here.
        guard: η ≥ 1, the factor on the expert's reward where that is not above zero. 1 leaves the guard out.
        sharpness: γ ≥ 0, how much the weights favour members that are hard to tell apart. 0 weighs all alike.

    Raises:
        ValueError: β is not a finite positive number, η is below 1, or γ negative; or one is not finite.
    """

    beta: float = 1.0
    guard: float = 6.0
    sharpness: float = 0.5

    requires: ClassVar[frozenset[str]] = frozenset({"team_expert", "team_generated"})

    def __post_init__(self) -> None:
        require_stake(self.beta)
        require_positive("guard", self.guard, "η multiplies the expert's reward; 1 leaves it as it is")
        if self.guard < 1:
            raise ValueError(f"guard must be at least 1, got {self.guard!r}: below, a lost response is given up")
        if self.sharpness != 0:
            require_positive("sharpness", self.sharpness, "γ turns to the members that are told apart least; 0 to none")

    def __call__(self, ratios: LogRatios) -> ObjectiveOutput:
        """The loss `[B]` and its metrics.

        The rewards are those against the newest member. `team/guarded` is the share of members at which the guard
        holds, `team/newest` the weight of the newest.
        """
        expert = self.beta * ratios.require("team_expert")
        generated = self.beta * ratios.require("team_generated")
        guarded = expert.detach() <= 0
        margin = (expert - ratios.mean_over_team(generated)).detach()
        weight = (-self.sharpness * margin).softmax(dim=-1)
        lifted = expert * (1.0 + (self.guard - 1.0) * guarded.to(expert.dtype))
        loss = ratios.mean_over_team(functional.softplus(generated - lifted.unsqueeze(-1)))
        share = None if ratios.team_weight is None else ratios.team_weight[:, 0]
        newest = LogRatios(generated=generated[:, 0], generated_weight=share)
        metrics = reward_metrics(newest, expert[:, 0], generated[:, 0]) | {
            "team/guarded": guarded.to(expert.dtype).mean(dim=-1),
            "team/newest": weight[:, 0],
        }
        return ObjectiveOutput(loss=(weight * loss).sum(dim=-1), metrics=metrics)
