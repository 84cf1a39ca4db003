"""The input of objectives: log ratios of a batch of prompts, and what comes with them.

Shape suffixes, everywhere: `B` prompts in a batch, `K` generated responses a prompt, `M` responses of the reference
a prompt. Log-probabilities and log ratios are sums over response tokens, in nats; the prompt is excluded, and the
end-of-sequence token is included only where the response really ended.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, fields
from typing import ClassVar, TypeVar

import torch
from torch import Tensor

from sparring.tokens import NextTokenLogProbs, TokenLogProbs

T = TypeVar("T")

PREFERENCE_FIELDS = frozenset({"preference", "pairwise"})
"""The fields of `LogRatios` that hold preferences, from a judge or from the data."""

TOKEN_FIELDS = frozenset({"expert_tokens", "generated_next_tokens"})
"""The fields of `LogRatios` that hold log-probs token by token."""

TEAM_FIELDS = frozenset({"team_expert", "team_generated"})
"""The fields of `LogRatios` for an opponent that is a team of policies, each with samples of its own."""

EARLIER_FIELDS = frozenset({"policy_initial", "team_generated"})
"""The fields of `LogRatios` that need responses of earlier policies to the same prompts."""

EXPERT_FIELDS = frozenset(
    {"expert", "reference_expert", "policy_expert", "expert_length", "expert_tokens", "team_expert"}
)
"""The fields of `LogRatios` that need an expert's response."""

OPPONENT_FIELDS = frozenset({"expert", "generated"}) | TEAM_FIELDS
"""The fields of `LogRatios` that need log π_o."""

REFERENCE_FIELDS = frozenset({"reference_expert", "reference_generated"})
"""The fields of `LogRatios` that need log π_ref."""

DRAWN_FIELDS = frozenset({"generated", "reference_generated", "policy_generated"})
"""The fields of `LogRatios` whose mean over the samples estimates an expectation over the opponent's responses."""

SUPERVISED_FIELDS = frozenset({"policy_expert", "expert_length", "expert_tokens"})
"""The fields of `LogRatios` that need no generated response, which is all that supervised fine-tuning has."""


class MissingFieldError(ValueError):
    """A field of log ratios is needed and missing: the objective's `requires` leaves it out."""


@dataclass(frozen=True, kw_only=True)
class LogRatios:
    """The input of an objective, for one batch of prompts.

    Every field is optional, so that imitation and preference objectives share the class; `Objective.requires` names the
    fields that an objective needs. Shapes and dtypes are checked here, once.

    Attributes:
        expert: `[B]` Δ of the expert response, log π_θ(y|x) − log π_o(y|x), nats.
        generated: `[B, K]` Δ of the generated responses, nats.
        expert_weight: `[B]` probability of each expert outcome; uniform 1/B when absent. Losses are not weighted by it,
            since the caller does that; metrics and objectives that couple prompts are.
        generated_weight: `[B, K]` probability of each generated outcome given the prompt; uniform 1/K when
            absent. If the K are all n outcomes, the mean over k is the exact expectation under π_o.
        preference: `[B, K]` P(y_k ≻ π_o | x), in [0, 1].
        pairwise: `[B, K, K]` P_ij = P(y_i ≻ y_j | x), in [0, 1], with P_ij + P_ji = 1.
        reference_expert: `[B]` δ of the expert response, log π_θ − log π_ref, nats.
        reference_generated: `[B, K]` δ of the generated responses, nats.
        policy_expert: `[B]` log π_θ of the expert response, nats.
        policy_generated: `[B, K]` log π_θ of the generated responses, nats.
        policy_initial: `[B, K]` log π_θ of responses that the first policy, π_0, generated, nats. At iteration 0
            these are the generated responses themselves.
        initial_weight: `[B, K]` probability of each of these responses given the prompt; uniform 1/K when absent.
        policy_reference: `[B, M]` log π_θ of responses that the reference, π_ref, generated, nats.
        reference_weight: `[B, M]` probability of each of these responses given the prompt; uniform 1/M when absent.
        team_expert: `[B, J]` log π_θ − log π_j of the expert response for each member j of a team, the newest first,
            nats.
        team_generated: `[B, J, K]` log π_θ − log π_j of the responses that member j generated, nats.
        team_weight: `[B, J, K]` probability of each of these responses given the prompt; uniform 1/K when absent.
        expert_tokens: `[B, T]` log π_θ of the tokens of the expert response, nats.
        generated_next_tokens: `[B, K, L, N]` log-probs under π_θ and under a scorer of N classes of next tokens, at
            each of the L tokens of the generated responses.
        expert_length: `[B]` number of response tokens.
        generated_length: `[B, K]` number of response tokens.

    Raises:
        ValueError: A field has the wrong rank, dtype or size, or preferences are inconsistent; the message names it.
    """

    expert: Tensor | None = None
    generated: Tensor | None = None
    expert_weight: Tensor | None = None
    generated_weight: Tensor | None = None
    preference: Tensor | None = None
    pairwise: Tensor | None = None
    reference_expert: Tensor | None = None
    reference_generated: Tensor | None = None
    policy_expert: Tensor | None = None
    policy_generated: Tensor | None = None
    policy_initial: Tensor | None = None
    initial_weight: Tensor | None = None
    policy_reference: Tensor | None = None
    reference_weight: Tensor | None = None
    team_expert: Tensor | None = None
    team_generated: Tensor | None = None
    team_weight: Tensor | None = None
    expert_tokens: TokenLogProbs | None = None
    generated_next_tokens: NextTokenLogProbs | None = None
    expert_length: Tensor | None = None
    generated_length: Tensor | None = None

    _per_prompt: ClassVar[frozenset[str]] = frozenset(
        {"expert", "expert_weight", "reference_expert", "policy_expert", "expert_length"}
    )
    _of_reference: ClassVar[frozenset[str]] = frozenset({"policy_reference", "reference_weight"})
    _special: ClassVar[Mapping[str, tuple[str, ...]]] = {
        "pairwise": ("B", "K", "K"),
        "expert_tokens": ("B", "T"),
        "generated_next_tokens": ("B", "K", "L", "N"),
        "team_expert": ("B", "J"),
        "team_generated": ("B", "J", "K"),
        "team_weight": ("B", "J", "K"),
    }

    def __post_init__(self) -> None:
        dtype: tuple[str, torch.dtype] | None = None
        sizes: dict[str, tuple[str, int]] = {}
        for name, kind in (("expert_tokens", TokenLogProbs), ("generated_next_tokens", NextTokenLogProbs)):
            value = getattr(self, name)
            if value is not None and not isinstance(value, kind):
                shape = f"{kind.__name__} [{', '.join(self._axes(name))}]"
                raise ValueError(f"LogRatios.{name} must be {shape}, got {type(value).__name__}")
        for name, value in self.present().items():
            axes = self._axes(name)
            shape = f"[{', '.join(axes)}]"
            if not isinstance(value, Tensor):
                raise ValueError(f"LogRatios.{name} must be a tensor of shape {shape}, got {type(value).__name__}")
            if value.ndim != len(axes):
                raise ValueError(f"LogRatios.{name} must have shape {shape}, got {list(value.shape)}")
            if not value.is_floating_point():
                raise ValueError(f"LogRatios.{name} must be floating point, got {value.dtype}")
            dtype = _same(dtype, name, value.dtype, "dtype")
            for axis, size in zip(axes, value.shape, strict=True):
                if size == 0:
                    raise ValueError(f"LogRatios.{name} is empty: it needs at least one {_AXES[axis]} ({axis} ≥ 1)")
                sizes[axis] = _same(sizes.get(axis), name, size, f"number of {_AXES[axis]}s {axis}")
        if "B" not in sizes:
            raise ValueError("LogRatios needs at least one prompt (B ≥ 1)")
        self._check_preferences()

    def _check_preferences(self) -> None:
        for name in PREFERENCE_FIELDS & self.present().keys():
            value = self.require(name)
            if not bool(((value >= -1e-6) & (value <= 1.0 + 1e-6)).all()):
                raise ValueError(f"LogRatios.{name} holds probabilities, which must be in [0, 1]")
            # To two digits, since bf16 has no more.
            if name == "pairwise" and not float((value + value.mT - 1.0).abs().max()) < 0.01:
                raise ValueError("LogRatios.pairwise must satisfy P_ij + P_ji = 1 (so ½ on the diagonal)")

    @classmethod
    def _axes(cls, name: str) -> tuple[str, ...]:
        if name in cls._per_prompt:
            return ("B",)
        if name in cls._special:
            return cls._special[name]
        return ("B", "M") if name in cls._of_reference else ("B", "K")

    @classmethod
    def shape(cls, name: str, *, prompts: int, samples: int) -> tuple[int, ...]:
        """The shape of a field for a number of prompts, and of samples (of each kind), members or tokens for each."""
        return tuple(prompts if axis == "B" else samples for axis in cls._axes(name))

    def present(self) -> dict[str, Tensor]:
        """The fields that are not None, by name; of a field of `TOKEN_FIELDS`, the policy's log-probs."""
        values = {item.name: getattr(self, item.name) for item in fields(self)}
        return {name: _policy(value) for name, value in values.items() if value is not None}

    def require(self, name: str) -> Tensor:
        """The field `name`, or a MissingFieldError that names it."""
        value: Tensor | None = getattr(self, name)
        return self._there(name, value)

    def require_tokens(self, name: str) -> TokenLogProbs:
        """The field `name` of `TOKEN_FIELDS`, or a MissingFieldError that names it."""
        value: TokenLogProbs | None = getattr(self, name)
        return self._there(name, value)

    def require_next_tokens(self, name: str) -> NextTokenLogProbs:
        """The field `name` of `TOKEN_FIELDS`, or a MissingFieldError that names it."""
        value: NextTokenLogProbs | None = getattr(self, name)
        return self._there(name, value)

    def _there(self, name: str, value: T | None) -> T:
        if value is None:
            shape = f"[{', '.join(self._axes(name))}]"
            raise MissingFieldError(f"LogRatios.{name} {shape} is needed here, and is missing")
        return value

    def mean_over_samples(self, value: Tensor) -> Tensor:
        """E_{y ~ π_o}[value]: `[B, K]` → `[B]`, with `generated_weight` or uniformly over k."""
        return _mean(value, self.generated_weight)

    def mean_over_initial(self, value: Tensor) -> Tensor:
        """E_{y ~ π_0}[value]: `[B, K]` → `[B]`, with `initial_weight` or uniformly over k."""
        return _mean(value, self.initial_weight)

    def mean_over_team(self, value: Tensor) -> Tensor:
        """E_{y ~ π_j}[value] for each member: `[B, J, K]` → `[B, J]`, with `team_weight` or uniformly over k."""
        return _mean(value, self.team_weight)

    def mean_over_reference(self, value: Tensor) -> Tensor:
        """E_{y ~ π_ref}[value]: `[B, M]` → `[B]`, with `reference_weight` or uniformly over m."""
        return _mean(value, self.reference_weight)


_AXES = {
    "B": "prompt",
    "K": "sample",
    "M": "reference sample",
    "J": "member",
    "T": "token",
    "L": "generated token",
    "N": "next token",
}


def _mean(value: Tensor, weight: Tensor | None) -> Tensor:
    """The mean over the last axis, weighted or uniform."""
    return value.mean(dim=-1) if weight is None else (weight * value).sum(dim=-1)


def _policy(value: Tensor | TokenLogProbs | NextTokenLogProbs) -> Tensor:
    """A field as one tensor: itself, or the policy's log-probs of tokens."""
    if isinstance(value, NextTokenLogProbs):
        return value.policy
    return value.log_probs if isinstance(value, TokenLogProbs) else value


def _same(known: tuple[str, T] | None, name: str, value: T, what: str) -> tuple[str, T]:
    if known is not None and known[1] != value:
        raise ValueError(f"LogRatios.{name} has {what} {value}, but LogRatios.{known[0]} has {known[1]}")
    return known or (name, value)
