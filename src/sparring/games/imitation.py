"""The imitation game on n outcomes: every iteration the exact population best response."""

from __future__ import annotations

from dataclasses import dataclass

import torch
from torch import Tensor

from sparring.games.players import Play, play_rounds
from sparring.games.simplex import chi_squared, distribution, kl_divergence, log_error, total_variation
from sparring.log_ratios import LogRatios
from sparring.tokens import NextTokenLogProbs, TokenLogProbs
from sparring.types import Objective, Opponent


@dataclass(frozen=True, kw_only=True)
class ImitationPlay(Play):
    """A play of the imitation game, with each policy's distance from the expert; the metrics are expectations over π_E.

    Attributes:
        expert: `[n]` π_E.
    """

    expert: Tensor

    @property
    def kl(self) -> Tensor:
        """`[T+1]` KL(π_E‖π_t), nats."""
        return kl_divergence(self.expert.log(), self.log_policies)

    @property
    def total_variation(self) -> Tensor:
        """`[T+1]` ½ Σ |π_E − π_t|."""
        return total_variation(self.expert.log(), self.log_policies)

    @property
    def chi_squared(self) -> Tensor:
        """`[T+1]` χ²(π_E‖π_t)."""
        return chi_squared(self.expert.log(), self.log_policies)

    @property
    def log_error(self) -> Tensor:
        """`[T+1]` half the range of log π_E/π_t over outcomes, nats: a linear rate is its ratio."""
        return log_error(self.expert.log(), self.log_policies)


@dataclass(frozen=True, kw_only=True)
class ImitationGame:
    """One prompt, n outcomes, an expert to imitate.

    Every expectation is exact: all n outcomes are given to the objective as the expert responses, weighted by π_E, and
    again as the generated responses of each, weighted by how the opponent generates. So a play is what infinite data
    and perfect optimisation over all policies would give.

    Attributes:
        expert: `[n]` π_E, positive everywhere.
        initial: `[n]` π_0, which is also π_ref, positive everywhere.

    Raises:
        ValueError: Either is not a distribution with full support, or their sizes differ.
    """

    expert: Tensor
    initial: Tensor

    def __post_init__(self) -> None:
        object.__setattr__(self, "expert", distribution("expert", self.expert))
        object.__setattr__(self, "initial", distribution("initial", self.initial))
        if self.expert.shape != self.initial.shape:
            raise ValueError(f"expert has {len(self.expert)} outcomes, initial has {len(self.initial)}")

    @property
    def prompt_weight(self) -> Tensor:
        """`[n]` π_E: the objective's B are the n expert outcomes."""
        return self.expert

    def ratios(self, log_policy: Tensor, log_opponent: Tensor, drawn: Tensor, team: Tensor | None = None) -> LogRatios:
        """The log ratios that an objective reads, for the policy `log_policy` `[n]`, differentiable in it.

        Args:
            log_policy: `[n]` log π_θ, nats.
            log_opponent: `[n]` log π_o, nats.
            drawn: `[n]` probabilities with which the opponent's responses are drawn.
            team: `[J, n]` log π_j of the opponent's members, each of which draws its own responses; the opponent alone
                where None.
        """
        n = log_policy.shape[0]
        members, of_members = (log_opponent.unsqueeze(0), drawn.unsqueeze(0)) if team is None else (team, team.exp())
        against = log_policy - members
        ratio, reference = log_policy - log_opponent, log_policy - self.initial.log()
        return LogRatios(
            expert=ratio,
            generated=ratio.expand(n, n),
            expert_weight=self.expert,
            generated_weight=drawn.expand(n, n),
            reference_expert=reference,
            reference_generated=reference.expand(n, n),
            policy_expert=log_policy,
            policy_generated=log_policy.expand(n, n),
            policy_initial=log_policy.expand(n, n),
            initial_weight=self.initial.expand(n, n),
            policy_reference=log_policy.expand(n, n),
            reference_weight=self.initial.expand(n, n),
            team_expert=against.T,
            team_generated=against.expand(n, *against.shape),
            team_weight=of_members.expand(n, *against.shape),
            expert_tokens=TokenLogProbs.unpadded(log_policy.unsqueeze(-1)),
            # A scorer that was shown the demonstration is taken to know the expert, and every outcome is a class.
            generated_next_tokens=NextTokenLogProbs.unpadded(
                log_policy.expand(n, n, 1, n), self.expert.log().expand(n, n, 1, n)
            ),
            expert_length=torch.ones_like(ratio),
            generated_length=torch.ones_like(ratio).expand(n, n),
        )

    def play(self, objective: Objective, opponent: Opponent | str = "previous", iterations: int = 30) -> ImitationPlay:
        """Plays exact best responses; each starts its descent from the policy before, as training does.

        A play whose policies leave float64's range ends early and says so in `stopped`.

        Args:
            objective: The very object that trains language models.
            opponent: An opponent object, or the name of one with its default settings.
            iterations: T, how many best responses.

        Raises:
            NoMinimiserError: The first expected loss has no minimiser, as with spin's linear link.
        """
        rounds = play_rounds(self, objective, opponent, iterations)
        return ImitationPlay(expert=self.expert, **vars(rounds))
