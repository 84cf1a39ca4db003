"""Charts of the values that a run logged and the estimates of its policies."""

from __future__ import annotations

import math
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import asdict, dataclass, field
from itertools import groupby
from typing import Any, Literal

from sparring.metrics.likelihood import LIKELIHOOD, LOOK
from sparring.reports.summary import PolicyRow

_MOST_POINTS = 2000
_NOT_CURVES = frozenset({"step", "iteration", "phase", "epoch", "seconds", "total_flos", "num_input_tokens_seen"})
_PAIRS = {"rewards/generated": "rewards/expert"}
# Title and unit of what is logged at every step; the rest is shown under its own name.
_STEPS: dict[str, tuple[str, str]] = {
    "loss": ("Loss", ""),
    "loss/normalized": ("Normalised loss", ""),
    "divergence_estimate": ("Divergence estimate", "lower bound"),
    "divergence/token": ("Divergence from the scorer", "nats a token"),
    "agreement/token": ("Same likeliest token as the scorer", "share of tokens"),
    "rewards/expert": ("Implicit rewards", "βΔ"),
    "rewards/margins": ("Reward margin", ""),
    "rewards/accuracies": ("Reward accuracy", "share of pairs"),
    "rewards/past_bound": ("Rewards past the bound", "share"),
    "log_ratios/generated": ("Log ratio to the opponent", "Δ of the generated, nats"),
    "residuals/generated": ("Distance to the target", "nats"),
    "preferences/generated": ("Preference over the opponent", "P"),
    "preferences/decided": ("How decided the preferences are", "(2P − 1)²"),
    "log_likelihood/expert": ("Expert log-likelihood", "nats a response"),
    "grad_norm": ("Gradient norm", ""),
    "learning_rate": ("Learning rate", ""),
}
# The titles of the margin, by the reward that is logged beside it.
_MARGINS = {"rewards/expert": "expert − generated", "rewards/chosen": "chosen − rejected"}
# Title, unit and keys of what is measured on each policy.
_POLICIES: dict[str, tuple[tuple[str, str, tuple[str, ...]], ...]] = {
    "quality": (
        ("Accuracy", "share right", ("accuracy/greedy", "accuracy/sampled")),
        ("Expert log-likelihood", "nats a token", (LIKELIHOOD,)),
        ("Preferences shared with the data", "share of pairs", ("preference/accuracy",)),
        ("Preference margin", "nats", ("preference/margin",)),
        ("Win rate against the base model", "judged", ("win_rate/base", "win_rate/base/length_controlled")),
        ("Win rate against the policy before", "judged", ("win_rate/previous", "win_rate/previous/length_controlled")),
    ),
    "divergence": (
        ("Divergence to the opponent", "lower bound", ("divergence_estimate", "truth/divergence")),
        ("Kullback–Leibler divergence, measured", "nats", ("truth/forward_kl", "truth/reverse_kl")),
        (
            "Total variation, measured",
            "",
            ("truth/total_variation", "truth/total_variation_lower", "truth/total_variation_upper"),
        ),
    ),
    "behaviour": (
        ("Length", "tokens", ("length/sampled", "length/greedy", "length/expert")),
        ("Finished by itself", "share of samples", ("finished/sampled",)),
        ("Diversity", "share of distinct n-grams", ("distinct/1", "distinct/2")),
        ("Self-BLEU", "1: all alike", ("self_bleu/corpus", "self_bleu/prompt")),
        ("Distance of embeddings", "of a prompt's samples", ("embedding_distance",)),
        ("Entropy", "nats a token", ("entropy/token",)),
        ("KL to the base model", "nats a response", ("kl_to_base",)),
    ),
}


@dataclass(frozen=True, kw_only=True)
class Chart:
    """A chart of the page.

    Attributes:
        title: Its title.
        unit: The unit of its values.
        kind: Lines over training steps, estimates of each policy, distributions, or stacked bars.
        series: One mapping for each trace; its keys depend on the kind.
        marks: Vertical marks: `{"x", "text"}`.
        lines: Horizontal lines: `{"y", "text"}`.
    """

    title: str
    unit: str
    kind: Literal["steps", "policies", "distributions", "bars"]
    series: list[dict[str, Any]]
    marks: list[dict[str, Any]] = field(default_factory=list)
    lines: list[dict[str, Any]] = field(default_factory=list)

    @property
    def range(self) -> tuple[float, float] | None:
        """The ends of the value axis if all values are equal, for which a chart would choose an axis from −1 to 1."""
        known = [
            value
            for each in self.series
            for key in ("y", "low", "high")
            for value in each.get(key, [])
            if value is not None
        ]
        if self.kind not in {"steps", "policies"} or not known or min(known) != max(known):
            return None
        value = known[0]
        return (0.0, 1.0) if value == 0.0 else (min(0.0, 1.25 * value), max(0.0, 1.25 * value))

    def to_json(self) -> dict[str, Any]:
        """The chart as plain values."""
        return asdict(self) | {"range": None if self.range is None else [*self.range]}


def number(value: float | None) -> float | None:
    """A number rounded to six digits, all that a screen can show; None if it is not finite."""
    return None if value is None or not math.isfinite(value) else float(f"{value:.6g}")


def learning_curves(events: Sequence[Mapping[str, Any]]) -> list[Chart]:
    """Each logged value over the steps of all iterations, one after the other; the warm-up's loss by itself."""
    steps = [event for event in events if event.get("stage") == "train" and "loss" in event]
    places, marks = _places(steps)
    names = [name for name in _by_importance(steps) if name not in _PAIRS]
    charts = [
        Chart(
            title=_STEPS.get(name, (name, ""))[0],
            unit=_margins(steps) if name == "rewards/margins" else _STEPS.get(name, (name, ""))[1],
            kind="steps",
            series=[_series(each, steps, places) for each in (name, *_partners(name)) if any(each in e for e in steps)],
            marks=marks,
        )
        for name in names
    ]
    warmup = [event for event in events if event.get("stage") == "warmup" and "loss" in event]
    if warmup:
        series = [_series("loss", warmup, [event["step"] for event in warmup])]
        charts.append(Chart(title="Loss in the warm-up", unit="nats a response", kind="steps", series=series))
    looks = looks_of_warmup(events)
    if looks:
        series = [_series(LOOK, looks, [event["step"] for event in looks])]
        charts.append(
            Chart(title="Validation experts in the warm-up", unit="nats a token", kind="steps", series=series)
        )
    return charts


def looks_of_warmup(events: Iterable[Mapping[str, Any]]) -> list[Mapping[str, Any]]:
    """The log-likelihood of the validation experts at each look of a warm-up until a plateau, also before step 1."""
    return [event for event in events if event.get("stage") == "warmup" and LOOK in event]


def _margins(steps: Sequence[Mapping[str, Any]]) -> str:
    """The title of the margin: between expert and generated responses, chosen and rejected ones, or both by phase."""
    return " or ".join(text for beside, text in _MARGINS.items() if any(beside in event for event in steps))


def _partners(name: str) -> list[str]:
    return [partner for partner, main in _PAIRS.items() if main == name]


def _by_importance(steps: Sequence[Mapping[str, Any]]) -> list[str]:
    """The names of the logged numbers; those with a title here come first."""
    logged = dict.fromkeys(
        name
        for event in steps
        for name, value in event.items()
        if isinstance(value, int | float) and name not in _NOT_CURVES and not name.startswith("train_")
    )
    return [name for name in _STEPS if name in logged] + [name for name in logged if name not in _STEPS]


def _places(steps: Sequence[Mapping[str, Any]]) -> tuple[list[int], list[dict[str, Any]]]:
    """The step of each event, counted over all iterations, and where each of these starts."""
    places: list[int] = []
    marks = []
    for iteration, events in groupby(steps, key=lambda event: event["iteration"]):
        start = places[-1] if places else 0
        marks.append({"x": start, "text": f"iteration {iteration}"})
        places += [start + event["step"] for event in events]
    return places, marks


def _series(name: str, steps: Sequence[Mapping[str, Any]], places: Sequence[int]) -> dict[str, Any]:
    values = ((x, event.get(name)) for x, event in zip(places, steps, strict=True))
    known = [(x, value) for x, value in values if isinstance(value, int | float)]
    # Where there are more points than a screen has columns, each point is a mean of several.
    size = math.ceil(len(known) / _MOST_POINTS)
    parts = [known[start : start + size] for start in range(0, len(known), size or 1)]
    return {
        "name": name,
        "x": [part[-1][0] for part in parts],
        "y": [number(sum(value for _, value in part) / len(part)) for part in parts],
    }


def policy_charts(rows: Sequence[PolicyRow]) -> dict[str, list[Chart]]:
    """Charts of the estimates of each policy, with standard errors, by section; `truth/…` included."""
    sections = {
        section: [chart for spec in specs if (chart := _policy_chart(rows, *spec)) is not None]
        for section, specs in _POLICIES.items()
    }
    drawn = {key for specs in _POLICIES.values() for _, _, keys in specs for key in keys}
    truths = [key for key in _keys(rows) if key.startswith("truth/") and key not in drawn]
    chart = _policy_chart(rows, "Measured otherwise", "", truths)
    sections["divergence"] += [chart] if chart is not None else []
    return sections


def _keys(rows: Iterable[PolicyRow]) -> list[str]:
    return [*dict.fromkeys(key for row in rows for key in row.estimates)]


def policy_series(
    name: str, policies: Sequence[str], means: Sequence[float], bars: Sequence[tuple[float, float]]
) -> dict[str, Any]:
    """The series of a chart of kind "policies": means with the ends of their error bars."""
    low, high = ([number(bar[end]) for bar in bars] for end in (0, 1))
    return {"name": name, "x": [*policies], "y": [number(mean) for mean in means], "low": low, "high": high}


def _policy_chart(rows: Sequence[PolicyRow], title: str, unit: str, keys: Sequence[str]) -> Chart | None:
    series = []
    for key in keys:
        known = [row for row in rows if key in row.estimates]
        if known:
            means = [row.estimates[key]["mean"] for row in known]
            series.append(policy_series(key, [row.name for row in known], means, [row.bar(key) for row in known]))
    return Chart(title=title, unit=unit, kind="policies", series=series) if series else None
