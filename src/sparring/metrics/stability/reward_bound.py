"""The reward bound: whether the rewards stay within the bound of the objective."""

from __future__ import annotations

from sparring.metrics.stability.history import History, Reading


def reward_bound(history: History) -> Reading | None:
    """The share of the last iteration's rewards beyond ±R, `rewards/past_bound`; None where the objective has no R."""
    share = history.of_game("rewards/past_bound", history.iteration)
    if share is None:
        return None
    return Reading(value=share.mean, text=f"{share.mean:.0%} of the rewards are beyond the reward bound")
