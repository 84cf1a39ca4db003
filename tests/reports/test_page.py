"""One file, no request, and nothing that a model wrote can act in it."""

from __future__ import annotations

import base64
import hashlib
import html.parser
import json
import re
from html import unescape
from pathlib import Path
from typing import Any

import pytest
import yaml

from reports.whole_run import answer, write_run
from sparring.errors import InputError
from sparring.files import read_json, write_json
from sparring.reports.page import Page, described, figure, render
from sparring.reports.run import run_page, write_report
from sparring.reports.summary import summarize
from sparring.shard_files import write_shard
from sparring.shards import answers_path


class Elements(html.parser.HTMLParser):
    """Every element with its attributes, the text of scripts, and which ids there are."""

    def __init__(self, text: str) -> None:
        super().__init__()
        self.found: list[tuple[str, dict[str, str | None]]] = []
        self.scripts: list[str] = []
        self._inside = False
        self.feed(text)

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        self.found.append((tag, dict(attrs)))
        self._inside = tag == "script"
        if self._inside:
            self.scripts.append("")

    def handle_endtag(self, tag: str) -> None:
        self._inside = False

    def handle_data(self, data: str) -> None:
        if self._inside:
            self.scripts[-1] += data


@pytest.fixture(scope="module")
def page(tmp_path_factory: pytest.TempPathFactory) -> Page:
    return run_page(summarize(write_run(tmp_path_factory.mktemp("page") / "run").path))


def test_the_file_names_nothing_outside_itself(page: Page) -> None:
    elements = Elements(render(page))
    for tag, attributes in elements.found:
        assert tag not in {"iframe", "object", "embed", "img", "base"}
        for name in ("src", "href", "action", "srcset", "poster"):
            value = attributes.get(name)
            assert value is None or value.startswith(("#", "data:")), (tag, value)


def test_the_policy_lets_the_pages_own_scripts_run_and_nothing_leave(page: Page) -> None:
    for live, connect in ((False, "'none'"), (True, "'self'")):
        elements = Elements(render(page, live=live))
        (policy,) = (each["content"] for tag, each in elements.found if each.get("http-equiv"))
        assert policy is not None
        assert "default-src 'none'" in policy
        assert f"connect-src {connect}" in policy
        *data, plotly, script = elements.scripts
        assert [json.loads(text) for text in data] == [page.charts, page.answers]
        hashes = [base64.b64encode(hashlib.sha256(text.encode()).digest()).decode() for text in (plotly, script)]
        assert re.findall(r"'sha256-([^']+)'", policy) == hashes


def test_what_a_model_wrote_is_text(tmp_path: Path) -> None:
    directory = write_run(tmp_path / "run</script><script>alert(1)</script>")
    write_json(
        directory.result,
        {"best": "base", "metric": None, "stopped_early": True, "reason": "<img src=x>", "peak_memory_gib": 1.0},
    )
    text = render(run_page(summarize(directory.path)))
    assert "<script>alert(1)" not in text
    assert "<img src=x>" not in text
    assert "&lt;img src=x&gt;" in text


def test_all_sources_of_a_mixture_are_named(tmp_path: Path) -> None:
    directory = write_run(tmp_path)
    data = {"sources": [{"source": "maths.jsonl", "weight": 2.0}, {"source": "owner/chats"}]}
    config = yaml.safe_load(directory.config.read_text()) | {"data": data}
    directory.config.write_text(yaml.safe_dump(config))
    write_json(directory.manifest, read_json(directory.manifest) | {"config": directory.config_digest()})
    assert "maths.jsonl and owner/chats, 16 to train, 4 held out" in render(run_page(summarize(tmp_path)))
    directory.config.write_text(yaml.safe_dump(config | {"data": {}}))
    write_json(directory.manifest, read_json(directory.manifest) | {"config": directory.config_digest()})
    with pytest.raises(InputError, match="data: Value error, names no source"):
        summarize(tmp_path)


def test_sections_headings_and_charts_have_their_places(page: Page) -> None:
    elements = Elements(page.main)
    ids = [each["id"] for _, each in elements.found if "id" in each]
    assert len(ids) == len(set(ids))
    keys = [key for key, _ in page.sections]
    assert keys == ["learning", "rewards", "divergence", "behaviour", "stability", "judge", "cost", "samples", "again"]
    assert set(keys) <= set(ids)
    figures = {each["id"] for tag, each in elements.found if tag == "figure"}
    assert figures == {f"chart-{key}" for key in page.charts}
    labelled = {each["aria-labelledby"] for tag, each in elements.found if tag == "section"}
    assert labelled <= set(ids)
    assert all(each.get("aria-label") for tag, each in elements.found if each.get("role") == "img")


def test_what_auto_chose_stands_near_the_top_with_its_reasons(tmp_path: Path, page: Page) -> None:
    assert "recipe auto" not in page.main
    directory = write_run(tmp_path)
    reasons = ["auto: of 16 training prompts <4> have a response", "auto plays sppo"]
    write_json(directory.manifest, read_json(directory.manifest) | {"auto": reasons})
    main = run_page(summarize(tmp_path)).main
    assert "<li>auto: of 16 training prompts &lt;4&gt; have a response</li><li>auto plays sppo</li>" in main
    assert main.index('class="headline"') < main.index("auto plays sppo") < main.index('class="facts"')


def test_the_command_that_does_it_again(page: Page) -> None:
    assert "pip install sparring==0.1.0 torch==2.13.0\n" in page.main
    assert re.search(r"sparring train \S+/run/config.yaml output=runs/again", page.main)
    assert "sparring train quickstart &#39;output=a folder&#39;" in page.main


@pytest.mark.parametrize(("where", "told"), [("folder", "a folder"), ("commit 0a1b", "a commit 0a1b")])
def test_a_version_that_no_index_has_is_not_pinned(where: str, told: str, tmp_path: Path) -> None:
    directory = write_run(tmp_path)
    write_json(directory.manifest, read_json(directory.manifest) | {"installed": where})
    main = run_page(summarize(tmp_path)).main
    assert f"# sparring 0.1.0 was installed from {told}, not an index\npip install torch==2.13.0\n" in main


def test_stability_is_shown_with_more_than_a_colour(tmp_path: Path) -> None:
    directory = write_run(tmp_path)
    item = {
        "check": "reward bound",
        "iteration": 1,
        "status": "alarm",
        "value": 0.75,
        "threshold": None,
        "text": "past it",
    }
    write_json(directory.stability, {"findings": [item]})
    main = run_page(summarize(tmp_path)).main
    assert re.search(r'class="status alarm"><span aria-hidden="true">✕</span> alarm', main)
    assert '<td>0.75</td><td>–</td><td class="prose">past it</td>' in main


def test_a_run_that_just_began_has_a_page(tmp_path: Path) -> None:
    directory = write_run(tmp_path, ended=False, iterations=0, verified=False)
    for stage in (directory.base, directory.warmup):
        stage.evaluation.unlink()
    page = run_page(summarize(tmp_path))
    assert page.answers == {}
    assert [key for key, _ in page.sections] == ["learning", "stability", "cost", "again"]


def test_a_chart_in_words(page: Page) -> None:
    words = {chart["title"]: chart["described"] for chart in page.charts.values()}
    assert words["Loss"] == "Loss. loss: from 1 to 0.5 over 4."
    assert words["Implicit rewards"].startswith("Implicit rewards. rewards/expert: from 0.1")
    assert "expert, iteration 0: 4 values, median 1" in "".join(words.values())


@pytest.mark.parametrize(("value", "text"), [(None, "–"), (-0.123456, "−0.1235"), (3, "3"), ("x", "x")])
def test_figures(value: object, text: str) -> None:
    assert figure(value) == text


def test_the_report_is_written_whole(tmp_path: Path) -> None:
    directory = write_run(tmp_path / "run")
    summary = summarize(directory.path)
    assert write_report(summary) == directory.report
    assert directory.report.read_text(encoding="utf-8").startswith("<!doctype html>")
    assert write_report(summary, tmp_path / "elsewhere.html") == tmp_path / "elsewhere.html"
    before = run_page(summary)
    assert (before.version, before.answers_version) == (run_page(summary).version, run_page(summary).answers_version)
    write_shard(answers_path(directory.base), [answer("greedy", 0, "other")])
    assert run_page(summary).answers_version != before.answers_version


def test_described_leaves_out_what_is_open() -> None:
    from sparring.reports.curves import Chart

    chart = Chart(title="T", unit="", kind="steps", series=[{"name": "a", "x": [1], "y": [None]}])
    assert described(chart) == "T. ."


@pytest.mark.parametrize(
    ("settings", "told"),
    [
        ({"judge": {"name": "verifier", "rule": "exact"}}, "verifier exact"),
        ({"judge": {"name": "mine:Judge"}, "evaluation": {"judge": {"name": "llm", "model": "large"}}}, "mine:Judge"),
        ({"evaluation": {"judge": {"name": "llm", "model": "large"}}}, "llm large"),
        ({"responses": "data"}, "the data"),
    ],
)
def test_a_page_says_who_judged(tmp_path: Path, settings: dict[str, Any], told: str) -> None:
    summary = summarize(write_run(tmp_path / "run").path)
    summary.config.update(settings)
    text = render(run_page(summary))
    assert re.search(rf"<dt>Judge[^<]*</dt>\s*<dd>{re.escape(told)}</dd>", text)


def test_the_samples_are_said_to_be_those_that_are_there(page: Page, tmp_path: Path) -> None:
    assert "Held-out prompts, the expert's response, and every policy's answers." in unescape(page.main)
    directory = write_run(tmp_path)
    rows = [answer("greedy", 0, "so"), answer("data", 0, "yes", preference=1.0)]
    for stage in (directory.base, directory.warmup, directory.iteration(0), directory.iteration(1)):
        write_shard(answers_path(stage), rows)
        stage.take_inventory()
    main = run_page(summarize(tmp_path)).main
    assert "Held-out prompts, the responses that the data compare, and every policy's answers." in main
