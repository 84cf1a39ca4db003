"""A self-contained page: everything is in the file, and its content security policy forbids requests."""

from __future__ import annotations

import base64
import functools
import hashlib
import json
import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

import jinja2

from sparring.reports.curves import Chart

GENERATOR = '<meta name="generator" content="sparring">'
"""The mark that distinguishes a page of this package from other files."""

_SCRIPTS = ("charts.js", "answer.js", "samples.js", "live.js")


@dataclass(frozen=True, kw_only=True)
class Page:
    """The content of a page.

    Attributes:
        title: The title.
        main: The HTML of its sections.
        charts: The charts in it, by key.
        answers: The samples, packed; empty for none.
    """

    title: str
    main: str
    charts: dict[str, dict[str, Any]]
    answers: dict[str, str] = field(default_factory=dict)

    @property
    def sections(self) -> list[tuple[str, str]]:
        """The key and the heading of each section."""
        return re.findall(r'<h2 id="([\w-]+)-heading">([^<]+)</h2>', self.main)

    @functools.cached_property
    def version(self) -> str:
        """A digest of all its content."""
        return _digest([self.main, self.charts, self.answers_version])

    @functools.cached_property
    def answers_version(self) -> str:
        """A digest of the samples."""
        return _digest(self.answers)


def build(template: str, title: str, charts: Mapping[str, Sequence[Chart]], **values: Any) -> Page:
    """A page from a template, its charts by section, and the template's other values."""
    keyed = {
        section: [
            {"key": _slug(f"{section} {chart.title}"), "described": described(chart), **chart.to_json()}
            for chart in part
        ]
        for section, part in charts.items()
    }
    answers: dict[str, str] = values.pop("answers", {})
    main = _templates().get_template(template).render(charts=keyed, samples=bool(answers), **values)
    return Page(
        title=title, main=main, charts={item["key"]: item for part in keyed.values() for item in part}, answers=answers
    )


def render(page: Page, *, live: bool = False) -> str:
    """The HTML of a page, with style, scripts and plotly in it; a live page asks its own server for changes."""
    from plotly.offline import get_plotlyjs

    plotly = get_plotlyjs() if page.charts else ""
    script = "\n".join(_source(name) for name in _SCRIPTS)
    values = {
        "policy": _policy([plotly, script], live=live),
        "generator": GENERATOR,
        "css": _source("report.css"),
        "plotly": plotly,
        "script": script,
        "charts": _data(page.charts),
        "answers": _data(page.answers),
    }
    safe = {name: jinja2.filters.do_mark_safe(text) for name, text in values.items()}
    return _templates().get_template("page.html").render(page=page, live=live, **safe)


def described(chart: Chart) -> str:
    """A chart in words, for screen readers: the first and last value of each series."""
    parts = []
    for series in chart.series:
        known = [value for value in series["y"] if value is not None]
        if chart.kind == "distributions":
            parts.append(f"{series['name']}, {series['x']}: {len(known)} values, median {_median(known):.3g}")
        elif known:
            parts.append(f"{series['name']}: from {known[0]:.3g} to {known[-1]:.3g} over {len(known)}")
    return f"{chart.title}. {'; '.join(parts)}."


def _median(values: Sequence[float]) -> float:
    return sorted(values)[len(values) // 2]


def figure(value: Any) -> str:
    """A number as a table shows it, a dash where there is none."""
    if value is None:
        return "–"
    return f"{value:.4g}".replace("-", "−") if isinstance(value, float) else str(value)


@functools.cache
def _templates() -> jinja2.Environment:
    environment = jinja2.Environment(
        loader=jinja2.PackageLoader("sparring.reports"),
        autoescape=True,
        trim_blocks=True,
        lstrip_blocks=True,
        undefined=jinja2.StrictUndefined,
    )
    environment.filters["figure"] = figure
    return environment


def _source(name: str) -> str:
    environment = _templates()
    assert environment.loader is not None  # noqa: S101 (it was given one)
    text: str = environment.loader.get_source(environment, name)[0]
    return text


def _policy(scripts: Sequence[str], *, live: bool) -> str:
    """A content security policy under which no script runs but the page's own, and nothing leaves it."""
    hashes = " ".join(
        f"'sha256-{base64.b64encode(hashlib.sha256(text.encode()).digest()).decode()}'" for text in scripts
    )
    return (
        f"default-src 'none'; script-src {hashes}; style-src 'unsafe-inline'; img-src data: blob:; "
        f"connect-src {chr(39)}{'self' if live else 'none'}{chr(39)}; base-uri 'none'; form-action 'none'"
    )


def _data(value: Any) -> str:
    """JSON in which no text can end the script element around it."""
    return json.dumps(value, ensure_ascii=False, separators=(",", ":"), allow_nan=False).replace("<", "\\u003c")


def _digest(value: Any) -> str:
    return hashlib.sha256(json.dumps(value).encode()).hexdigest()[:16]


def _slug(text: str) -> str:
    return re.sub(r"\W+", "-", text.lower()).strip("-")
