"""The conclusion of a run in plain words: the best policy, its gain, and warnings."""

from __future__ import annotations

import math
import statistics
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from sparring.metrics.likelihood import FAR_FROM_EXPERT, LIKELIHOOD, LOOK
from sparring.reports.control import beside_control
from sparring.reports.curves import looks_of_warmup
from sparring.reports.gain import PREFERENCE, Gain, gain, is_half
from sparring.reports.samples import Answers
from sparring.reports.summary import MORE_SFT, PolicyRow, Summary

_CUT = 0.1
_PAST_BOUND = 0.5
_FEW = 100
# With fewer prompts that teach something than this, a warning is given. In the studies there were more: 53 and 88 of
# 256 (docs/studies.md).
_FEW_TAUGHT = 50
# Steps of which a mean is taken, at each end of an iteration, and standard errors beyond which two differ.
_LEAST_STEPS = 4
_SURELY = 3.0
_BEFORE = {"base": "the base model itself", "warm-up": "the warm-up, before any self-play"}
_NAMES = {
    "accuracy/greedy": "greedy accuracy",
    "accuracy/sampled": "sampled accuracy",
    "win_rate/base": "win rate over the base model",
    PREFERENCE: "share of the data's preferences",
    LIKELIHOOD: "expert log-likelihood a token (nats)",
}


@dataclass(frozen=True, kw_only=True)
class Conclusion:
    """A run in a few sentences.

    Attributes:
        headline: The most important sentence.
        sentences: The other ones.
        warnings: Warnings.
        gains: The gains of the best policy over the base model and over the policy that self-play started from.
    """

    headline: str
    sentences: list[str]
    warnings: list[str]
    gains: list[Gain]


def conclude(summary: Summary, answers: Answers | None) -> Conclusion:
    """The conclusion from a run, finished or not."""
    if summary.result is None:
        return Conclusion(headline=_progress(summary), sentences=[], warnings=_warnings(summary, None), gains=[])
    best = next((row for row in summary.rows if row.path == summary.result["best"]), None)
    metric, reason, stopped = (summary.result[name] for name in ("metric", "reason", "stopped_early"))
    sentences = [f"It was stopped early: {reason}." if stopped else "It was played to its end."]
    if best is None or metric is None:
        return Conclusion(
            headline=_unwatched(summary), sentences=sentences, warnings=_warnings(summary, None), gains=[]
        )
    # The base model has no win rate over itself.
    known = (row for row in (summary.rows[0], summary.start) if row is not None and metric in row.estimates)
    others = dict.fromkeys(row.path for row in known if row.path != best.path)
    rows = {row.path: row for row in summary.rows}
    gains = [gain(rows[path], best, metric, answers) for path in others]
    headline = _verdict(best, gains, played=bool(summary.iterations))
    if metric in best.estimates:
        headline += f": {_NAMES.get(metric, metric)} {best.cell(metric, 3)}"
    headline += f", {gains[0]}" if gains else ""
    headline += ", which shares half by definition." if gains and is_half(gains[0].over, metric) else "."
    played = best.name.startswith("iteration")
    of_that = [f"Of that, self-play gained {gains[1]}, from which it started."] if len(gains) > 1 and played else []
    return Conclusion(
        headline=headline.replace(" -", " −"),
        sentences=[
            *of_that,
            *_lost(summary, best, metric, answers),
            *beside_control(summary, metric, answers),
            *_tie(summary.rows, best, metric),
            *_warmup(summary),
            *sentences,
        ],
        warnings=_warnings(summary, best),
        gains=gains,
    )


def _lost(summary: Summary, best: PolicyRow, metric: str, answers: Answers | None) -> Iterator[str]:
    """If play lost: how far the best iteration is below the policy that play started from, and possible reasons."""
    played = summary.best_of("iteration", metric)
    if best.name not in _BEFORE or played is None or metric not in best.estimates:
        return
    found = gain(best, played, metric, answers)
    if found.value == 0:
        return
    name = f"The best of them, {played.name}," if summary.iterations > 1 else f"I{played.name[1:]}"
    low, high = found.interval
    paired = f", paired over {summary.prompts} prompts" if found.paired else ""
    chance = ": chance may be why" if high >= 0 else ""
    interval = f"95 % interval of the difference {low:+.3f} to {high:+.3f}".replace("-", "−")
    yield f"{name} is {-found.value:.3f} below the {found.over} ({interval}{paired}){chance}."
    taught = [int(event["judge/decided"]) for event in summary.events if "judge/decided" in event]
    if taught and min(taught) < _FEW_TAUGHT:
        yield f"Play had little to learn from: the judge preferred some response to another on {min(taught)} prompts."
    looks = looks_of_warmup(summary.events)
    if len(looks) > 1 and looks[-1][LOOK] == max(look[LOOK] for look in looks):
        yield "The warm-up ended while the experts of its validation prompts still grew likelier: it may be too short."


def _warmup(summary: Summary) -> list[str]:
    """The epoch at which a warm-up until a plateau ended."""
    looks = looks_of_warmup(summary.events)[1:]
    if not looks:
        return []
    best = max(looks, key=lambda event: event[LOOK])
    return [
        f"The warm-up was taken after {best['epoch']:.3g} of {looks[-1]['epoch']:.3g} epochs, where the experts of its "
        f"validation prompts were likeliest (−{-best[LOOK]:.3f} nats a token)."
    ]


def _verdict(best: PolicyRow, gains: Sequence[Gain], *, played: bool) -> str:
    if best.name.startswith(MORE_SFT):
        return f"More supervised fine-tuning, for as much computation, did better than self-play: {best.name}"
    if best.name in _BEFORE and played:
        return f"No iteration of self-play is better than what it started from. The best policy is {_BEFORE[best.name]}"
    if gains and gains[-1].is_noise and played:
        return f"No gain of self-play can be told from chance. The highest value is that of {best.name}"
    return f"The best policy is {_BEFORE.get(best.name, best.name)}"


def _tie(rows: Sequence[PolicyRow], best: PolicyRow, metric: str) -> Iterator[str]:
    """The sentence on what decided between policies that are equally good; see `sparring.selfplay.early_stop`."""
    if metric not in best.estimates:
        return
    equal = [row for row in rows if row is not best and row.mean(metric) == best.mean(metric)]
    control = [row for row in equal if row.name.startswith(MORE_SFT) and not best.name.startswith(MORE_SFT)]
    others = [row for row in equal if row not in control]
    mine, theirs = best.mean(LIKELIHOOD), [row.mean(LIKELIHOOD) for row in others]
    later = [row for row in others if rows.index(row) > rows.index(best)]
    if others and mine is not None and all(value is None or value < mine for value in theirs):
        cell = best.cell(LIKELIHOOD, 3).replace("-", "−")
        likeliest = f"{best.name} finds the experts' responses likeliest: {cell} nats a token"
        yield f"{_names(others)} did as well, but {likeliest}."
    elif later:
        yield f"{_names(later)} did as well; the earliest of equal policies is taken, {best.name}."
    if control:
        yield f"{_names(control)} did as well; of equal policies that of play is taken."


def _names(rows: Sequence[PolicyRow]) -> str:
    *others, last = (row.name for row in rows)
    return f"{', '.join(others)} and {last}" if others else last


def _progress(summary: Summary) -> str:
    last = next((event for event in reversed(summary.events) if "stage" in event), None)
    if last is None:
        return "This run has not logged anything yet."
    where = f" of iteration {last['iteration']}" if "iteration" in last else ""
    step = f", step {last['step']}" if "step" in last else ""
    done = sum(row.name.startswith("iteration") for row in summary.rows)
    return (
        f"This run has not ended: {done} of {summary.iterations} iterations are measured. "
        f"Its last message came from the stage {last['stage']}{where}{step}."
    )


def _unwatched(summary: Summary) -> str:
    """The headline of a run without a metric to choose its best policy by; with the win rate, if there is one."""
    if not any(row.estimates for row in summary.rows):
        return "This run has ended. Nothing was held out, so nothing says whether it gained."
    last = summary.rows[-1]
    rate = last.estimates.get("win_rate/base")
    verdict = "so nothing says which policy is the best"
    if rate is not None:
        verdict += f"; {last.name} wins {last.cell('win_rate/base', 3)} against the base model"
    return f"This run has ended. The held-out prompts have no expert response, {verdict}."


def _warnings(summary: Summary, best: PolicyRow | None) -> list[str]:
    found: list[str] = []
    if (start := summary.start) is not None and (value := start.mean(LIKELIHOOD) or 0.0) < FAR_FROM_EXPERT:
        found.append(
            f"Play started at −{-value:.1f} nats a token of the held-out experts: the policy had not learned to write "
            "as they do, so a gain over it may be what a longer warm-up would have brought."
        )
    cut = [row for row in summary.rows if row is not best and row.mean("finished/sampled") == 0.0]
    if cut:
        limit = summary.config["data"]["max_response_tokens"]
        found.append(f"Every sampled answer of {_names(cut)} was cut at {limit} tokens, and may look worse for it.")
    if best is not None:
        found += _warnings_about(best)
    found += [
        f"Iteration {event['iteration']}: the judge preferred no response to another, so there was nothing to learn."
        for event in summary.events
        if event.get("judge/decided") == 0
    ]
    found += _risen(summary.steps)
    found += _unstable(summary.stability)
    skipped = len(summary.manifest["data"]["skipped"])
    if skipped:
        rows = "1 row of the data was" if skipped == 1 else f"{skipped} rows of the data were"
        found.append(f"{rows} left out; the manifest says why.")
    return found


def _risen(steps: Sequence[Mapping[str, Any]]) -> Iterator[str]:
    """The iterations whose loss was higher over the last third of their steps than over the first."""
    for iteration in dict.fromkeys(step["iteration"] for step in steps):
        losses = [step["loss"] for step in steps if step["iteration"] == iteration]
        third = len(losses) // 3
        if third < _LEAST_STEPS:
            continue
        first, last = losses[:third], losses[-third:]
        before, after = statistics.fmean(first), statistics.fmean(last)
        error = math.hypot(statistics.stdev(first), statistics.stdev(last)) / math.sqrt(third)
        if after - before > _SURELY * error:
            yield (
                f"Iteration {iteration}: the training loss rose, from {before:.3g} over the first third of its steps "
                f"to {after:.3g} over the last: training moved away from what the objective asks for. The learning "
                "rate may be too high."
            ).replace(" -", " −")


def _unstable(stability: Sequence[Mapping[str, Any]]) -> Iterator[str]:
    """The last warning or alarm of each stability check, and the number of earlier ones."""
    bad = [item for item in stability if item["status"] != "ok"]
    for check in dict.fromkeys(item["check"] for item in bad):
        *before, last = [item for item in bad if item["check"] == check]
        more = f" (and {len(before)} before it)" if before else ""
        yield f"Iteration {last['iteration']}{more}: {last['text']}"


def _warnings_about(best: PolicyRow) -> list[str]:
    found = []
    n = max(int(value["n"]) for value in best.estimates.values())
    if n < _FEW:
        found.append(f"Only {n} prompts are held out, so every number here is coarse.")
    if (finished := best.mean("finished/sampled")) is not None and finished < 1 - _CUT:
        found.append(f"{1 - finished:.0%} of its sampled answers are cut at the token limit.")
    if (past := best.mean("rewards/past_bound")) is not None and past > _PAST_BOUND:
        found.append(f"On held-out prompts {past:.0%} of the rewards lie past the bound that the objective aims at.")
    if (estimate := best.mean("divergence_estimate")) is not None and estimate < 0:
        found.append("The divergence estimate is below zero, so as a lower bound it says nothing.")
    return found
