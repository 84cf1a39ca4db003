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
"""A response is sampled from the policy itself, decoded greedily, or sampled from the policy's token-level mixture with
the base model."""


def is_start(policy: int) -> bool:
    """Whether a policy is one that other runs may start from too: the base model, or policy 0."""
    return policy in {BASE, 0}


def before(policy: int) -> int:
    """The policy that a policy was trained from; of the base model, itself."""
    if policy <= CONTROL:
        return 0 if policy == CONTROL else policy + 1
    return max(policy - 1, BASE)


def words(policy: int) -> str:
    """The policy's name for people: "the base model", "the teacher", "policy 3", "control 0"."""
    other = f"policy {policy}" if policy > CONTROL else f"control {CONTROL - policy}"
    return {BASE: "the base model", TEACHER: "the teacher"}.get(policy, other)


@dataclass(frozen=True)
class Drawn:
    """The policy that drew a response, and how it was drawn.

    Attributes:
        policy: The policy's number.
        how: As `How`.
    """

    policy: int
    how: How


Author = Drawn | Literal["expert", "data"]
"""The author of a held-out response: a policy; the "expert"; or the "data", for responses that they bring with
preferences among them, whoever wrote these."""
