"""The preference game on n outcomes: a table of who beats whom, and the exact population best response."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import torch
from torch import Tensor

from sparring.games import equilibrium
from sparring.games.players import Play, play_rounds
from sparring.games.simplex import distribution
from sparring.log_ratios import LogRatios
from sparring.regularizers import Regularized
from sparring.types import Objective, Opponent, Regularizer


@dataclass(frozen=True, kw_only=True)
class PreferencePlay(Play):
    """A play of the preference game, with the exploitability of each policy and of their average; policy 0 is π_ref.

    Attributes:
        preference: `[n, n]` P.
    """

    preference: Tensor

    @property
    def average(self) -> Tensor:
        """`[T+1, n]` mean of π_0 … π_t, whose convergence no-regret theory proves."""
        counts = torch.arange(1, len(self.log_policies) + 1, dtype=torch.float64)
        return self.policies.cumsum(0) / counts.unsqueeze(-1)

    @property
    def exploitability(self) -> Tensor:
        """`[T+1]` max_y P(y ≻ π_t) − ½ of the last iterate."""
        return equilibrium.exploitability(self.preference, self.policies)

    @property
    def average_exploitability(self) -> Tensor:
        """`[T+1]` max_y P(y ≻ π̄_t) − ½ of the average."""
        return equilibrium.exploitability(self.preference, self.average)


def _rounding(dtype: torch.dtype) -> float:
    """The tolerance of P_ij + P_ji = 1 in a table of probabilities: the rounding of two of them, and of some sums."""
    return max(1e-9, 4.0 * torch.finfo(dtype).eps) if dtype.is_floating_point else 1e-9


@dataclass(frozen=True, kw_only=True)
class PreferenceGame:
    """One prompt, n outcomes, and P(y ≻ y') for every pair: a symmetric game of constant sum one.

    Every expectation is exact: all n outcomes are given to the objective as the generated responses of one prompt,
    weighted by how the opponent generates, and P(y ≻ π_o) is measured against that distribution.

    Attributes:
        preference: `[n, n]` P_ij = P(y_i ≻ y_j), in [0, 1], with P_ij + P_ji = 1 within the rounding of its dtype, and
            exactly once it is here, in float64.
        reference: `[n]` π_ref, which is also π_0, positive everywhere.

    Raises:
        ValueError: P is not such a table, or its size is not the reference's.
    """

    preference: Tensor
    reference: Tensor

    def __post_init__(self) -> None:
        object.__setattr__(self, "reference", distribution("reference", self.reference))
        table = torch.as_tensor(self.preference, dtype=torch.float64).detach()
        n = len(self.reference)
        if table.shape != (n, n):
            raise ValueError(f"preference must have shape [{n}, {n}] like the reference, got {list(table.shape)}")
        if not bool(((table >= 0) & (table <= 1)).all()):
            raise ValueError("preference must be in [0, 1]")
        if float((table + table.T - 1.0).abs().max()) > _rounding(torch.as_tensor(self.preference).dtype):
            raise ValueError(
                "preference must satisfy P_ij + P_ji = 1 (so ½ on the diagonal): one of the two is preferred"
            )
        object.__setattr__(self, "preference", 0.5 * (table + 1.0 - table.T))

    @property
    def initial(self) -> Tensor:
        """`[n]` π_0 = π_ref."""
        return self.reference

    @property
    def prompt_weight(self) -> Tensor:
        """`[1]`, a one: there is one prompt."""
        return torch.ones(1, dtype=torch.float64)

    def ratios(self, log_policy: Tensor, log_opponent: Tensor, drawn: Tensor, team: Tensor | None = None) -> LogRatios:
        """The log ratios that an objective reads, for the policy `log_policy` `[n]`, differentiable in it.

        Args:
            log_policy: `[n]` log π_θ, nats.
            log_opponent: `[n]` log π_o, nats.
            drawn: `[n]` probabilities with which the opponent's responses are drawn, and P is measured against.
            team: Unused here, since objectives that read a team imitate an expert.
        """
        del team
        return LogRatios(
            generated=(log_policy - log_opponent).unsqueeze(0),
            generated_weight=drawn.unsqueeze(0),
            preference=(self.preference @ drawn).unsqueeze(0),
            pairwise=self.preference.unsqueeze(0),
            reference_generated=(log_policy - self.reference.log()).unsqueeze(0),
            policy_generated=log_policy.unsqueeze(0),
            policy_reference=log_policy.unsqueeze(0),
            reference_weight=self.reference.unsqueeze(0),
            generated_length=torch.ones_like(log_policy).unsqueeze(0),
        )

    def play(
        self,
        objective: Objective,
        regularizers: Sequence[Regularizer] = (),
        opponent: Opponent | str = "previous",
        iterations: int = 200,
    ) -> PreferencePlay:
        """Plays exact best responses to the objective plus its regularizers.

        A play whose policies leave float64's range ends early and says so in `stopped`.

        Args:
            objective: The very object that trains language models.
            regularizers: Added to its loss, each with its own weight.
            opponent: An opponent object, or the name of one with its default settings.
            iterations: T, how many best responses.

        Raises:
            NoMinimiserError: The first expected loss has no minimiser.
        """
        whole = Regularized(objective, tuple(regularizers)) if regularizers else objective
        rounds = play_rounds(self, whole, opponent, iterations)
        return PreferencePlay(preference=self.preference, **vars(rounds))

    def exploitability(self, policy: Tensor) -> float:
        """The exploitability max_y P(y ≻ π) − ½ of a policy `[n]`: the win rate of its best opponent less ½.

        It is zero at an equilibrium of the unregularised game only.
        """
        return float(equilibrium.exploitability(self.preference, distribution("policy", policy)))

    def regularized_exploitability(self, policy: Tensor, tau: float, kind: str = "reverse-kl") -> float:
        """The gain of the best response to a policy `[n]` in the game with τR: zero at its equilibrium only."""
        return float(
            equilibrium.regularized_exploitability(
                self.preference, self.reference, distribution("policy", policy), tau, kind
            )
        )

    def regularized_equilibrium(self, tau: float, kind: str = "reverse-kl") -> Tensor:
        """`[n]` the equilibrium of the game with penalty τR(π), by a solver that uses no objective.

        For `reverse-kl` it is log π − log π_ref = P(·≻π)/τ + const.

        Args:
            tau: τ, the penalty's weight; sppo with η and λ × reverse-kl plays τ = λ/η.
            kind: R: `reverse-kl` KL(π‖π_ref), `forward-kl` KL(π_ref‖π), `chi-squared` χ²(π‖π_ref).

        Raises:
            ValueError: τ is not positive, or the kind is unknown.
            RunError: The equilibrium leaves an outcome out (`chi-squared` at small τ).
        """
        return equilibrium.regularized_equilibrium(self.preference, self.reference, tau, kind)
