"""The comparison of the play with its control (more supervised fine-tuning for the same computation), in words."""

from __future__ import annotations

from collections.abc import Iterator

from sparring.reports.gain import gain
from sparring.reports.samples import Answers
from sparring.reports.summary import MORE_SFT, Summary


def beside_control(summary: Summary, metric: str, answers: Answers | None) -> Iterator[str]:
    """The gain of the best iteration over the best policy of the control, in a sentence; None without a control.

    Both are the best by the same metric on the same prompts, and both were chosen among as many policies.
    """
    played, control = (summary.best_of(name, metric) for name in ("iteration", MORE_SFT))
    if played is None or control is None:
        return
    found = gain(control, played, metric, answers)
    low, high = found.interval
    paired = f", paired over {summary.prompts} prompts" if found.paired else ""
    verdict = "the two cannot be told apart"
    if low > 0:
        verdict = "play was the better buy"
    if high < 0:
        verdict = "more supervised fine-tuning was the better buy"
    compared = "better than that by" if found.value >= 0 else "worse than that:"
    difference, least, most = (f"{value:+.3f}" for value in (found.value, low, high))
    text = (
        f"For as much computation, more supervised fine-tuning reached {control.cell(metric, 3)} at its best "
        f"({control.name}). {played.name[:1].upper()}{played.name[1:]} is {compared} {difference} "
        f"(95 % interval {least} to {most}{paired}): {verdict}."
    )
    yield text.replace("-", "−").replace("fine−tuning", "fine-tuning")
