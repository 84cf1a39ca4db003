"""What a check means that is not well, and what to do."""

from __future__ import annotations

_SMALLER_STEPS = "lower training.learning_rate, or play fewer iterations"

ADVICE = {
    "oscillation": f"play swings about its end rather than arriving there: {_SMALLER_STEPS}",
    "reward_bound": f"the bound no longer holds the policy near its opponent: {_SMALLER_STEPS}",
    "displacement": "the policy moves to responses that are of neither side: lower training.learning_rate, or take an "
    "objective that pulls back what both sides write, such as spif or space",
    "entropy": "samples of a prompt are nearly alike, so play has little left to tell apart. A policy that is sure of "
    f"right answers is so too; where they no longer get more, {_SMALLER_STEPS}",
    "diversity": "responses repeat the same words. Where those in the report read so, and not as the experts' do, "
    f"{_SMALLER_STEPS}",
    "length": "responses have a length that nobody showed. Where those in the report are padded or broken off, the "
    f"judge may like length alone, or the policy has come too far: {_SMALLER_STEPS}",
}
"""By check."""
