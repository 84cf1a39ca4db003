"""Length drift: whether the responses reach a length that neither the first policy's nor the expert's have."""

from __future__ import annotations

from sparring.metrics.stability.history import History, Reading, greatest


def length_drift(history: History) -> Reading | None:
    """The factor by which the mean sampled length is outside the range between the first policy's and the expert's.

    It is 1 within the range. Without an expert the range is the first policy's length alone.
    """
    now, first = history.now("length/sampled"), history.at_start("length/sampled")
    if now is None or first is None:
        return None
    expert = history.at_start("length/expert")
    known = [first.mean, *([] if expert is None else [expert.mean])]
    factor = greatest(1.0, now.mean / max(known), min(known) / now.mean)
    data = "" if expert is None else f", {expert.mean:.1f} of the experts"
    text = f"{now.mean:.1f} tokens a response; {first.mean:.1f} when play began{data}"
    return Reading(value=factor, text=text)
