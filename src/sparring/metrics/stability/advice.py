"""The meaning of a check's warning, and what to do."""

from __future__ import annotations

_SMALLER_STEPS = "lower training.learning_rate, or play fewer iterations"

ADVICE = {
    "oscillation": f"play swings to and fro instead of settling: {_SMALLER_STEPS}",
    "reward_bound": f"the bound no longer holds the policy near its opponent: {_SMALLER_STEPS}",
    "displacement": "the policy moves to responses that neither the expert nor the opponent wrote: lower "
    "training.learning_rate, or take an objective that pulls back what both sides write, such as spif or space",
    "entropy": "samples of a prompt are nearly alike, so play has little left to tell apart. That is well where the "
    f"policy is sure of right answers; where no more answers become right, {_SMALLER_STEPS}",
    "diversity": "responses repeat the same words. Where the report's samples do and the experts' responses do not, "
    f"{_SMALLER_STEPS}",
    "length": "responses are longer or shorter than the experts' and the first policy's. Where the report's samples "
    f"are padded or broken off, the judge may prefer length alone, or the policy has moved too far: {_SMALLER_STEPS}",
}
"""The advice by the name of the check."""
