"""Whether the policy says less and less: the entropy and the diversity of its samples, beside the first policy's."""

from __future__ import annotations

from sparring.metrics.stability.history import History, Reading, greatest


def entropy_loss(history: History) -> Reading | None:
    """1 − H/H_0 of the entropy a token of the policy's own samples, `entropy/token`."""
    return _lost(history, "entropy/token", "entropy a token")


def diversity_loss(history: History) -> Reading | None:
    """1 − D/D_0 of the share of distinct word pairs, `distinct/2`; longer responses repeat more, see `length`."""
    return _lost(history, "distinct/2", "distinct word pairs")


def _lost(history: History, name: str, title: str) -> Reading | None:
    first, now = history.at_start(name), history.now(name)
    if first is None or now is None or first.mean <= 0.0:
        return None
    lost = greatest(0.0, 1.0 - now.mean / first.mean)
    return Reading(value=lost, text=f"{title}: {now.mean:.3g}, {first.mean:.3g} when play began; {lost:.0%} is gone")
