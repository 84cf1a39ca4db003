"""Whether the responses drift to a length that neither the first policy nor the expert has."""

from __future__ import annotations

from sparring.metrics.stability.history import History, Reading, greatest


def length_drift(history: History) -> Reading | None:
    """The factor by which the mean sampled length is outside the range between the first policy's and the expert's.

    It is 1 within the range. Without an expert the range is the first policy's length alone.
    """
    now, first = history.now("length/sampled"), history.at_start("length/sampled")
    if now is None or first is None:
        return None
    expert = history.at_start("length/expert") or first
    low, high = min(first.mean, expert.mean), max(first.mean, expert.mean)
    factor = greatest(1.0, now.mean / high, low / now.mean)
    text = f"{now.mean:.1f} tokens a response; {first.mean:.1f} when play began, {expert.mean:.1f} in the data"
    return Reading(value=factor, text=text)
