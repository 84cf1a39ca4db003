"""Policies by number, and who drew a response.

Policy 0 plays first (after the warm-up, if any), and policy t + 1 is what iteration t trains. `BASE` is the base model,
`TEACHER` the expert, where it is a language model. `CONTROL` and the numbers below it are the policies of more
supervised fine-tuning from policy 0 on, in their order.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Literal

BASE = -1
TEACHER = -2
CONTROL = -3

How = Literal["sampled", "greedy", "mixture"]
"""A response is sampled from the policy itself, its most likely one, or sampled from its token-level mixture with the
base model."""


def is_start(policy: int) -> bool:
    """Whether a policy is where a run starts, and others may start too: the base model, or what the warm-up made."""
    return policy in {BASE, 0}


def before(policy: int) -> int:
    """The policy from which another was trained; the base model's is itself."""
    if policy <= CONTROL:
        return 0 if policy == CONTROL else policy + 1
    return max(policy - 1, BASE)


def words(policy: int) -> str:
    """What a person reads: "the base model", "the teacher", "policy 3", "control 0"."""
    other = f"policy {policy}" if policy > CONTROL else f"control {CONTROL - policy}"
    return {BASE: "the base model", TEACHER: "the teacher"}.get(policy, other)


@dataclass(frozen=True)
class Drawn:
    """Who drew a response, and how.

    Attributes:
        policy: The policy's number.
        how: As `How`.
    """

    policy: int
    how: How
