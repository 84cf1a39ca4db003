"""Whether the responses grow or shrink to a length that nobody showed them."""

from __future__ import annotations

from sparring.metrics.stability.history import History, Reading, greatest


def length_drift(history: History) -> Reading | None:
    """The factor by which the mean sampled length is outside of what lies between the first policy's and the expert's.

    1 inside: a policy that comes closer to the expert does not drift. Without an expert, from the first policy's.
    """
    now, first = history.now("length/sampled"), history.at_start("length/sampled")
    if now is None or first is None:
        return None
    expert = history.at_start("length/expert") or first
    low, high = min(first.mean, expert.mean), max(first.mean, expert.mean)
    factor = greatest(1.0, now.mean / high, low / now.mean)
    text = f"{now.mean:.1f} tokens a response; {first.mean:.1f} when play began, {expert.mean:.1f} in the data"
    return Reading(value=factor, text=text)
