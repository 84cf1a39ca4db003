"""Collapse: the loss of entropy and of diversity in the policy's samples, compared with the first policy's."""

from __future__ import annotations

from sparring.metrics.stability.history import History, Reading, greatest


def entropy_loss(history: History) -> Reading | None:
    """The share of the samples' entropy that is lost since play began, 1 − H/H_0 of `entropy/token`."""
    return _share_lost(history, "entropy/token", "entropy a token")


def diversity_loss(history: History) -> Reading | None:
    """The share of distinct word pairs that is lost, 1 − D/D_0 of `distinct/2`; longer responses repeat more."""
    return _share_lost(history, "distinct/2", "distinct word pairs")


def _share_lost(history: History, name: str, title: str) -> Reading | None:
    first, now = history.at_start(name), history.now(name)
    if first is None or now is None or first.mean <= 0.0:
        return None
    lost = greatest(0.0, 1.0 - now.mean / first.mean)
    return Reading(value=lost, text=f"{title}: {now.mean:.3g}, {first.mean:.3g} when play began; {lost:.0%} is gone")
