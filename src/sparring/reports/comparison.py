"""Several runs side by side; runs that differ in the seed alone form a group."""

from __future__ import annotations

import copy
import json
import statistics
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

from sparring.files import write_text
from sparring.reports.against import against
from sparring.reports.curves import Chart, learning_curves, policy_series
from sparring.reports.gain import gain
from sparring.reports.page import Page, build, render
from sparring.reports.summary import COLUMNS, MORE_SFT, PolicyRow, Summary
from sparring.run_directory import RunDirectory
from sparring.settings import flatten, remove

# The most characters of a label in a chart's legend.
_LONGEST = 60
_DIGITS = 8


@dataclass(frozen=True)
class Group:
    """Runs of one configuration.

    Attributes:
        letter: The letter of its position among the groups.
        name: Its name in charts: its label or, if a group's label is too long for a legend, its letter.
        label: The settings in which it differs from the other groups.
        runs: Its runs, by seed.
    """

    letter: str
    name: str
    label: str
    runs: list[Summary]

    @property
    def told(self) -> str:
        """Its name and its label."""
        return self.label if self.name == self.label else f"{self.name}: {self.label}"

    @property
    def size(self) -> int:
        """The number of its runs, in words."""
        return len(self.runs)

    @property
    def seeds(self) -> str:
        """The number of its runs and their seeds, in words."""
        return f"{self.size} ({', '.join(str(run.config['seed']) for run in self.runs)})"

    def over_seeds(self, policy: str, key: str) -> tuple[float, float | None] | None:
        """Mean and standard deviation over the seeds of an estimate of the policy with that name.

        The deviation of one seed is None; without any run with the estimate, the result is None.
        """
        rows = (row for run in self.runs for row in run.rows if row.name == policy)
        values = [row.estimates[key]["mean"] for row in rows if key in row.estimates]
        if not values:
            return None
        return statistics.fmean(values), statistics.stdev(values) if len(values) > 1 else None


def write_comparison(summaries: Sequence[Summary], path: Path) -> None:
    """Writes the page of several runs, which needs no network; raises InputError where it is a part of one of them."""
    for summary in summaries:
        RunDirectory(summary.path).refuse_own(path)
    write_text(path, render(comparison_page(summaries)))


def group(summaries: Sequence[Summary]) -> list[Group]:
    """The runs grouped by configuration, in the order in which they were given."""
    settings = [flatten(_decisive(run)) for run in summaries]
    differing = [key for key in dict.fromkeys(k for flat in settings for k in flat) if _differs(key, settings)]
    found: dict[str, list[Summary]] = {}
    for run, flat in zip(summaries, settings, strict=True):
        label = ", ".join(f"{key} = {_plain(flat[key])}" for key in differing if key in flat)
        found.setdefault(label or "the same settings", []).append(run)
    letters = [_letter(place) for place in range(len(found))]
    names = letters if max(map(len, found), default=0) > _LONGEST else list(found)
    return [
        Group(letter, name, label, sorted(runs, key=lambda run: int(run.config["seed"])))
        for letter, name, (label, runs) in zip(letters, names, found.items(), strict=True)
    ]


def _letter(place: int) -> str:
    """A to Z, then AA to AZ and so on."""
    before, own = divmod(place, 26)
    return (_letter(before - 1) if before else "") + chr(ord("A") + own)


def _decisive(run: Summary) -> dict[str, Any]:
    """The settings of a run that decide its result, and the user's own code by the first digits of its sha256.

    The seed is left out, and so are the settings that do not change the result, which the manifest lists.
    """
    kept = copy.deepcopy(run.config)
    for key in ("seed", *run.manifest["elsewhere"]):
        remove(kept, key)
    code = {module: known["sha256"][:_DIGITS] for module, known in run.manifest.get("own_code", {}).items()}
    return kept | ({"own_code": code} if code else {})


def _differs(key: str, settings: Sequence[Mapping[str, Any]]) -> bool:
    return len({_written(each.get(key)) for each in settings}) > 1


def _plain(value: Any) -> str:
    return value if isinstance(value, str) else _written(value)


def _written(value: Any) -> str:
    """A value as JSON; 2 and 2.0 give the same text, since they are the same setting."""
    return json.dumps(value, sort_keys=True).removesuffix(".0")


def against_first(summaries: Sequence[Summary]) -> list[str]:
    """The gain of each group over the first one, as a sentence, if both were measured on the same prompts."""
    first, *others = group(summaries)
    found = [against(each.name, each.runs, first.name, first.runs) for each in others]
    return [sentence for sentence in found if sentence is not None]


def group_table(summaries: Sequence[Summary], *, lettered: bool = False) -> tuple[list[str], list[list[str]]]:
    """The headings and the rows of the groups' table: where self-play started, and where it ended, over seeds.

    Args:
        summaries: The runs.
        lettered: Whether to name a group by its letter only, for a table with the settings elsewhere.
    """
    columns = _columns(summaries)
    rows = [row for each in group(summaries) for row in _group_rows(each, columns, lettered=lettered)]
    return ["settings", "runs (seeds)", "policy", *(heading for _, heading, _ in columns)], rows


def _columns(summaries: Sequence[Summary]) -> list[tuple[str, str, int]]:
    return [column for column in COLUMNS if any(column in run.columns for run in summaries)]


def comparison_page(summaries: Sequence[Summary]) -> Page:
    """The page of several runs."""
    groups = group(summaries)
    columns = _columns(summaries)
    head, rows = group_table(summaries)
    charts = {
        "measured": [chart for column in columns if (chart := _measured(groups, *column[:2])) is not None],
        "learning": _overlaid(groups),
    }
    title = f"{len(summaries)} runs"
    return build(
        "comparison.html",
        title,
        charts,
        groups=groups,
        head=head,
        rows=rows,
        against_first=against_first(summaries),
        ties=next((run.ties for run in summaries if run.ties), ""),
        run_head=["run", "seed", "ended", "best policy", "gain", *(heading for _, heading, _ in columns)],
        run_rows=[_run_row(run, columns) for run in summaries],
    )


def _group_rows(each: Group, columns: Sequence[tuple[str, str, int]], *, lettered: bool) -> list[list[str]]:
    """The policy that self-play started from, and its last one."""
    last = min((run.rows for run in each.runs if run.rows), key=len, default=[])
    last = [row for row in last if not row.name.startswith(MORE_SFT)]
    started = [row.name for row in last if not row.name.startswith("iteration")][-1:]
    names = dict.fromkeys([*started, *(row.name for row in last[-1:])])
    return [
        [
            each.letter if lettered else each.name if place else each.told,
            each.seeds,
            name,
            *(_cell(each, name, key, digits) for key, _, digits in columns),
        ]
        for place, name in enumerate(names)
    ]


def _cell(each: Group, policy: str, key: str, digits: int) -> str:
    value = each.over_seeds(policy, key)
    if value is None:
        return "–"
    mean, deviation = value
    if deviation is None:
        return _row_of(each.runs, policy, key).cell(key, digits).replace("-", "−")
    return f"{mean:.{digits}f} ± {deviation:.{digits}f}".replace("-", "−")


def _run_row(run: Summary, columns: Sequence[tuple[str, str, int]]) -> list[str]:
    result = run.result or {}
    best = next((row for row in run.rows if row.path == result.get("best")), None)
    ended = "not yet" if run.result is None else "early" if result["stopped_early"] else "yes"
    start = [str(run.path), str(run.config["seed"]), ended]
    if best is None:
        return [*start, *["–"] * (2 + len(columns))]
    metric = result.get("metric")
    base, gained = run.rows[0], "–"
    if metric is not None and best is not base and metric in base.estimates:
        gained = str(gain(base, best, metric, run.answers()))
    return [*start, best.name, gained, *(best.cell(key, digits).replace("-", "−") for key, _, digits in columns)]


def _measured(groups: Sequence[Group], key: str, heading: str) -> Chart | None:
    """An estimate of each policy, one line a group: over its seeds or, of a single seed, with its standard error."""
    series = []
    for hue, each in enumerate(groups):
        names = [*dict.fromkeys(row.name for run in each.runs for row in run.rows if key in row.estimates)]
        values = [(name, value) for name in names if (value := each.over_seeds(name, key)) is not None]
        if values:
            bars = [
                (mean - deviation, mean + deviation)
                if deviation is not None
                else _row_of(each.runs, name, key).bar(key)
                for name, (mean, deviation) in values
            ]
            drawn = policy_series(each.name, [name for name, _ in values], [mean for _, (mean, _) in values], bars)
            series.append(drawn | {"group": hue})
    return Chart(title=heading[:1].upper() + heading[1:], unit="", kind="policies", series=series) if series else None


def _row_of(runs: Iterable[Summary], name: str, key: str) -> PolicyRow:
    return next(row for run in runs for row in run.rows if row.name == name and key in row.estimates)


def _overlaid(groups: Sequence[Group]) -> list[Chart]:
    """Each run's learning curves in the charts of all of them."""
    merged: dict[str, Chart] = {}
    for hue, each in enumerate(groups):
        for place, run in enumerate(each.runs):
            for chart in learning_curves(run.events):
                # Only the first series (of rewards, the expert's), since two lines a run could not be told apart.
                curve = chart.series[0]
                unit = curve["name"] if len(chart.series) > 1 else chart.unit
                known = merged[chart.title].series if chart.title in merged else []
                line = curve | {"name": f"{each.name}, seed {run.config['seed']}", "group": hue, "dash": place}
                merged[chart.title] = replace(chart, unit=unit, marks=[], series=[*known, line])
    return list(merged.values())
