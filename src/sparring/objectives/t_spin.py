"""T-SPIN: a triplet of expert, generated and first responses, judged by the policy's likelihood itself."""

from __future__ import annotations

from dataclasses import dataclass

from torch.nn import functional

from sparring.log_ratios import LogRatios
from sparring.objectives.rewards import require_stake, reward_metrics
from sparring.registry import require_positive
from sparring.types import Objective, ObjectiveOutput


@dataclass(frozen=True, kw_only=True)
class TSpin(Objective):
    """Tells the expert's response from generated ones, and these from the first policy's, by the likelihood alone.

    ℓ(r_E − mean_k r_k) + b ℓ(mean_k r_k − mean_k r⁰_k), with r = a log π_θ and ℓ(t) = log(1 + e^−t). The first term
    tells the expert's response from the generated ones, as in SPIN; the second tells the generated ones from responses
    y⁰ that the first policy gave, so that there is something to learn even where the first has vanished. The reward is
    the likelihood itself, without an opponent to divide by: no log-prob is ever stored.

    The published b is 0 at iteration 0 and 0.1 after. Here b is the same in every iteration: at iteration 0 the
    generated responses are the first policy's, so the second term is the constant b log 2, without a gradient.

    Source: T-SPIN, arXiv 2601.08198, confirmed from its text (a is α there, b is β; K = 1). The analysis is derived
    here.

    There is no stability number: the exact fixed point is not the expert, for at π_o = π_E nothing tells the two
    apart and the reward wants to be constant, that is the policy uniform. Near the uniform distribution, with u, w and
    v the logs of expert, first policy and opponent, the exact iteration (all samples at once) is
    v ← (2/a)[u − b w − (1 − b) v]: with b = 1 it stands still after one step, with b = 0 it oscillates and, for a < 2,
    diverges. There is no `divergence_estimate` either: with the mean over k inside ℓ the loss certifies no divergence.

    Attributes:
        beta: a, the scale of the reward. The default, the published 1, makes it the likelihood.
        history_weight: b. The default 0.1 is the published one; 1 is where the exact iteration does not oscillate; 0
            leaves the second term out.

    Raises:
        ValueError: a is not a finite positive number, or b is negative or not finite.
    """

    beta: float = 1.0
    history_weight: float = 0.1

    def __post_init__(self) -> None:
        require_stake(self.beta, "the reward β log π_θ")
        if self.history_weight != 0:
            require_positive("history_weight", self.history_weight, "it weighs the second term; 0 leaves that out")

    @property
    def requires(self) -> frozenset[str]:
        """Log π_θ of the expert's and the generated responses, and of the first ones unless b = 0."""
        needed = {"policy_expert", "policy_generated"}
        return frozenset(needed | {"policy_initial"} if self.history_weight > 0 else needed)

    def __call__(self, ratios: LogRatios) -> ObjectiveOutput:
        """The loss `[B]` and its metrics; see the class."""
        expert = self.beta * ratios.require("policy_expert")
        generated = self.beta * ratios.require("policy_generated")
        mean_generated = ratios.mean_over_samples(generated)
        loss = functional.softplus(mean_generated - expert)
        metrics = reward_metrics(ratios, expert, generated)
        if self.history_weight > 0:
            gain = mean_generated - self.beta * ratios.mean_over_initial(ratios.require("policy_initial"))
            loss = loss + self.history_weight * functional.softplus(-gain)
            metrics["rewards/historical_margins"] = gain.detach()
        return ObjectiveOutput(loss=loss, metrics=metrics)
