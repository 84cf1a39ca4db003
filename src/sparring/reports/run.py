"""The page of one run."""

from __future__ import annotations

import shlex
from pathlib import Path
from typing import Any, Literal

import yaml

from sparring.files import write_text
from sparring.progress import duration
from sparring.reports.changes import changes
from sparring.reports.conclusion import conclude
from sparring.reports.cost import cost_chart, judge_counts, seconds_by_stage, stages_of
from sparring.reports.curves import learning_curves, policy_charts
from sparring.reports.page import Page, build, figure, render
from sparring.reports.rewards import reward_charts
from sparring.reports.samples import Answers, packed
from sparring.reports.settings import sources_of
from sparring.reports.summary import PolicyRow, Summary
from sparring.run_directory import RunDirectory

_REMOVED: dict[str, Literal["model", "samples"]] = {"weights": "model", "samples": "samples"}


def write_report(summary: Summary, to: Path | None = None) -> Path:
    """Writes the run's page, by default to its `report.html`, and returns its path; the page needs no network.

    Raises:
        InputError: The path is a part of the run itself.
    """
    directory = RunDirectory(summary.path)
    path = to or directory.report
    directory.refuse_own(path)
    write_text(path, render(run_page(summary)))
    return path


def run_page(summary: Summary) -> Page:
    """The page of a run, finished or not."""
    answers, seconds = summary.answers(), seconds_by_stage(summary.events)
    charts = {
        "learning": learning_curves(summary.events),
        **policy_charts(summary.rows),
        "rewards": reward_charts(summary),
        "cost": [chart for chart in (cost_chart(seconds),) if chart is not None],
    }
    return build(
        "run.html",
        summary.path.resolve().name,
        charts,
        answers=packed(answers),
        given=[] if answers is None else answers.given,
        name=summary.path.resolve().name,
        conclusion=conclude(summary, answers),
        changes=changes(summary, answers),
        reasons=summary.manifest.get("auto", []),
        facts=_facts(summary, answers, seconds),
        stability=summary.stability,
        stability_numbers=[phase.stability for phase in summary.phases if phase.stability],
        **_estimates(summary),
        **_judged(summary),
        **_costs(seconds),
        **_reproduction(summary),
    )


def _facts(summary: Summary, answers: Answers | None, seconds: dict[str, dict[str, float]]) -> list[tuple[str, str]]:
    config, manifest = summary.config, summary.manifest
    played = sum(row.name.startswith("iteration") for row in summary.rows)
    data, sources = manifest["data"], " and ".join(sources_of(config))
    facts = [
        ("Objective", ", then ".join(map(str, summary.phases))),
        ("Opponent", ", then ".join(dict.fromkeys(phase.opponent for phase in summary.phases))),
        *_who_judged(config),
        ("Model", config["model"]["name"]),
        ("Data", f"{sources}, {_count(data, 'train')} to train, {_count(data, 'held_out')} held out"),
        ("Iterations", f"{played} of {summary.iterations}"),
        ("Seed", str(config["seed"])),
    ]
    if answers is not None and answers.count:
        facts.append(("Held-out answers", f"{answers.count:,}"))
    directory = RunDirectory(summary.path)
    gone = [f"{name} of {len(of)}" for name, kind in _REMOVED.items() if (of := directory.removed(kind))]
    if gone:
        facts.append(("Removed", f"{' and '.join(gone)} iterations (keep)"))
    if seconds:
        facts.append(("Time", duration(sum(sum(stages.values()) for stages in seconds.values()))))
    if summary.result is not None:
        facts.append(("Peak memory", f"{summary.result['peak_memory_gib']:.2f} GiB"))
    return facts


def _who_judged(config: dict[str, Any]) -> list[tuple[str, str]]:
    """The judge of training and, if there is one, of held-out responses, in words."""
    phases = config["phases"] or [config]
    judges = ["the data" if phase.get("responses") == "data" else _judge(phase.get("judge")) for phase in phases]
    other = config.get("evaluation", {}).get("judge")
    told = [("Judge", ", then ".join(dict.fromkeys(filter(None, judges))))]
    told += [("Judge of held-out answers", _judge(other))] if isinstance(other, dict) else []
    return [(what, who) for what, who in told if who]


def _judge(named: dict[str, Any] | None) -> str:
    """A judge in words, with its rule or model."""
    by = [str(named[option]) for option in ("rule", "model") if named.get(option)] if named else []
    return " ".join([named["name"], *by]) if named else ""


def _count(data: dict[str, Any], part: str) -> str:
    return f"{data[part]['examples']:,}"


def _estimates(summary: Summary) -> dict[str, Any]:
    """The table of the main estimates, and the table of all."""
    rows = summary.rows
    columns = summary.columns
    keys = [*dict.fromkeys(key for row in rows for key in row.estimates)]
    paths = [row.path for row in rows]
    best = (summary.result or {}).get("best")
    return {
        "head": ["policy", *(heading for _, heading, _ in columns)],
        "rows": [[row.name, *(_cell(row, key, digits) for key, _, digits in columns)] for row in rows],
        "all_head": ["policy", *keys],
        "all_rows": [[row.name, *(_cell(row, key, 4) for key in keys)] for row in rows],
        "best": paths.index(best) if best in paths else None,
        "ties": summary.ties,
    }


def _cell(row: PolicyRow, key: str, digits: int) -> str:
    return row.cell(key, digits).replace("-", "−")


def _judged(summary: Summary) -> dict[str, Any]:
    counts = judge_counts(summary.events)
    names = [name for name in dict.fromkeys(name for each in counts for name in each) if name != "iteration"]
    return {
        "judge_head": ["iteration", *(name.replace("_", " ") for name in names)],
        "judge_rows": [[str(each["iteration"]), *(figure(each.get(name)) for name in names)] for each in counts],
    }


def _costs(seconds: dict[str, dict[str, float]]) -> dict[str, Any]:
    stages = stages_of(seconds)
    rows = [
        [owner, *(duration(each[stage]) if stage in each else "–" for stage in stages), duration(sum(each.values()))]
        for owner, each in seconds.items()
    ]
    totals = [sum(each.get(stage, 0.0) for each in seconds.values()) for stage in stages]
    return {
        "cost_head": ["", *stages, "together"],
        "cost_rows": [*rows, ["all", *map(duration, totals), duration(sum(totals))]],
    }


def _reproduction(summary: Summary) -> dict[str, str]:
    versions, where = summary.manifest["versions"], summary.manifest.get("installed", "index")
    own = "" if where == "index" else f"# sparring {versions['sparring']} was installed from a {where}, not an index\n"
    # The local version after a plus, such as +cpu, is unknown to a package index.
    pins = [
        f"{name}=={version.partition('+')[0]}"
        for name, version in versions.items()
        if name != "python" and version[:1].isdigit() and not (name == "sparring" and own)
    ]
    return {
        "again": own
        + (f"pip install {' '.join(pins)}\n" if pins else "")
        + f"sparring train {shlex.quote(str(RunDirectory(summary.path).config))} output=runs/again",
        "command": shlex.join(summary.manifest["command"]),
        "config": yaml.safe_dump(summary.config, sort_keys=False, allow_unicode=True),
        "manifest": yaml.safe_dump(summary.manifest, sort_keys=False, allow_unicode=True),
    }
