"""The report of a real run, in a real browser where there is one."""

from __future__ import annotations

import json
import shutil
import signal
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from pyarrow import parquet

from sparring.shard_files import read_shard

Cli = Callable[..., subprocess.CompletedProcess[str]]
CHROMIUM = shutil.which("chromium") or shutil.which("chromium-browser") or shutil.which("google-chrome")
# What a shell starts in the background ignores interrupts, and so does what that starts.
INTERRUPTIBLE = """
import signal
signal.signal(signal.SIGINT, signal.default_int_handler)
from sparring.cli import main
main()
"""
PHONE, DESKTOP = {"width": 390, "height": 844}, {"width": 1280, "height": 900}


@pytest.fixture(scope="module")
def run(cli: Cli, tiny_folder: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A warm-up and an iteration of a tiny model, with a verifier and two samples a held-out prompt."""
    folder = tmp_path_factory.mktemp("report") / "run"
    config = folder.parent / "config.yaml"
    settings = {
        "output": str(folder),
        "iterations": 1,
        "model": {"name": str(tiny_folder)},
        "data": {"source": "arithmetic", "limit": 4, "held_out": 30, "max_response_tokens": 16},
        "generation": {"batch_size": 48},
        "warmup": {},
        "training": {"learning_rate": 1e-3, "per_device_train_batch_size": 2},
        "evaluation": {"samples_per_prompt": 2},
        "stop": {"enabled": False},
    }
    config.write_text(json.dumps(settings), encoding="utf-8")
    done = cli("train", config)
    assert done.returncode == 0, done.stderr
    return folder


def test_the_answers_of_a_run_are_its_samples_with_their_scores(run: Path) -> None:
    stage = run / "iterations" / "000"
    scores = {
        row["sample"]: row
        for row in read_shard(stage / "held_out/scores-policy-1-greedy-00000.parquet")
        if row["index"] == 12
    }
    base = {
        row["sample"]: row
        for row in read_shard(run / "base/held_out/scores-policy-1-greedy-00000.parquet")
        if row["index"] == 12
    }
    table = parquet.read_table(stage / "held_out" / "answers-00000.parquet").to_pylist()
    assert len(table) == 30 * 4
    (answer,) = [row for row in table if (row["kind"], row["index"]) == ("greedy", 12)]
    # The terms that are stored sum to the log-prob that is, exactly.
    assert scores[0]["log_prob"] == torch.tensor(scores[0]["token_log_probs"]).sum().item()
    assert answer["log_prob"] == scores[0]["log_prob"]
    wanted = np.subtract(scores[0]["token_log_probs"], base[0]["token_log_probs"])
    assert answer["log_ratios"] == pytest.approx(wanted, abs=1e-6)
    assert answer["ends"][-1] == len(answer["text"])
    evaluation = json.loads((stage / "evaluation.json").read_text())
    sampled = [row for row in table if row["kind"] == "sampled"]
    kl = np.mean([sum(row["log_ratios"]) for row in sampled])
    assert kl == pytest.approx(evaluation["kl_to_base"]["mean"], abs=1e-4)
    assert np.mean([row["right"] for row in sampled]) == pytest.approx(evaluation["accuracy/sampled"]["mean"])


def test_the_log_ratios_of_a_run_are_the_rewards_that_it_measured(run: Path) -> None:
    stage = run / "iterations" / "000"
    evaluation = json.loads((stage / "evaluation.json").read_text())
    rows = read_shard(stage / "held_out/log-ratios-00000.parquet")
    # β = 1, as the manifest says.
    assert np.mean([row["expert"] for row in rows]) == pytest.approx(evaluation["rewards/expert"]["mean"], abs=1e-5)
    generated = np.mean([row["generated"] for row in rows])
    assert generated == pytest.approx(evaluation["rewards/generated"]["mean"], abs=1e-5)
    settings = json.loads((run / "manifest.json").read_text())["objective"]["settings"]
    assert settings == {"beta": 1.0, "reward_bound": 2.0}


def test_several_runs_make_one_page(cli: Cli, run: Path, tmp_path: Path) -> None:
    done = cli("report", run, run, "--to", tmp_path / "both.html")
    assert done.returncode == 0, done.stderr
    assert "the same settings" in done.stdout
    assert "2 runs" in (tmp_path / "both.html").read_text(encoding="utf-8")
    assert cli("report", run, "--watch", "--json").returncode == 2


@pytest.fixture(scope="module")
def chromium() -> Iterator[Any]:
    playwright = pytest.importorskip("playwright.sync_api", reason="playwright is not installed")
    if CHROMIUM is None:
        pytest.skip("no chromium is installed")
    with playwright.sync_playwright() as driver:
        browser = driver.chromium.launch(executable_path=CHROMIUM, args=["--no-sandbox"])
        yield browser
        browser.close()


class Reader:
    """A page in the browser, with all that it complained of and all that it asked for."""

    def __init__(self, browser: Any, url: str, **context: Any) -> None:
        self.page = browser.new_context(**({"viewport": DESKTOP} | context)).new_page()
        self.complaints: list[str] = []
        self.requests: list[str] = []
        self.page.on("console", lambda message: self.complaints.append(f"{message.type}: {message.text}"))
        self.page.on("pageerror", lambda error: self.complaints.append(str(error)))
        self.page.on("request", lambda request: self.requests.append(request.url))
        self.page.goto(url)

    def options(self) -> Any:
        return self.page.locator("#prompts [role=option]")

    def found(self) -> str:
        return self.page.locator("#found").inner_text()

    def leave(self) -> None:
        outside = [url for url in self.requests[1:] if not url.startswith(("data:", "blob:"))]
        self.page.context.close()
        assert self.complaints == []
        assert outside == []


def until(page: Any, condition: str) -> None:
    """Returns when a condition holds; playwright's own way to wait would want the page to allow `eval`."""
    deadline = time.monotonic() + 30
    while not page.evaluate(condition):
        assert time.monotonic() < deadline, condition
        page.wait_for_timeout(50)


@pytest.fixture
def reader(chromium: Any, run: Path) -> Iterator[Reader]:
    reader = Reader(chromium, (run / "report.html").as_uri())
    reader.page.wait_for_selector("#prompts [role=option]")
    yield reader
    reader.leave()


def test_filters_and_search(reader: Reader) -> None:
    page = reader.page
    assert reader.found() == "30 prompts of 30, 270 answers match"
    # Only the rows in view are in the document.
    assert reader.options().count() < 25
    page.select_option("#filter-policy", label="iteration 0")
    assert reader.found() == "30 prompts of 30, 90 answers match"
    page.select_option("#filter-kind", "greedy")
    assert reader.found() == "30 prompts of 30, 30 answers match"
    page.select_option("#filter-right", "wrong")
    wrong = page.locator("#sample .answer.match .wrong").count()
    assert wrong == 1
    page.fill("#longest", "15")
    page.select_option("#filter-finish", "length")
    assert reader.found() == "Nothing matches; clear a filter."
    page.click("button[type=reset]")
    until(page, "document.querySelector('#found').textContent.startsWith('30 prompts')")
    page.fill("#query", page.locator("#sample .prompt").inner_text()[:60].upper())
    assert reader.found().startswith("1 prompt of 30")
    page.fill("#query", "no text has this")
    assert reader.options().count() == 0


def test_the_address_holds_filters_and_prompt(reader: Reader, chromium: Any, run: Path) -> None:
    page = reader.page
    assert "#" not in page.url
    page.select_option("#filter-policy", "iteration 0")
    page.select_option("#filter-kind", "greedy")
    page.fill("#longest", "16")
    page.locator("#prompts [role=option]").nth(2).click()
    shown, found = page.locator("#sample h3").inner_text(), reader.found()
    assert page.url.endswith(f"#samples?policy=iteration+0&answer=greedy&max=16&prompt={shown.removeprefix('Prompt ')}")
    again = Reader(chromium, page.url)
    again.page.wait_for_selector("#prompts [aria-selected=true]")
    until(again.page, "document.querySelector('#longest').value === '16'")
    assert (again.page.locator("#sample h3").inner_text(), again.found()) == (shown, found)
    assert again.page.evaluate("window.scrollY") > 0
    again.leave()
    # What it asks for and the page has not is left out; it is text, never markup.
    page.evaluate("location.hash = '#samples?policy=<b>none</b>&search=<img src=x>&prompt=-1'")
    until(page, "document.querySelector('#query').value === '<img src=x>'")
    assert page.input_value("#filter-policy") == ""
    assert reader.found() == "Nothing matches; clear a filter."


def test_an_answer_that_changed_leads_to_its_samples(reader: Reader) -> None:
    page = reader.page
    link = page.locator(".strip .asked a").first
    asked = link.inner_text()
    link.click()
    until(page, "location.hash.startsWith('#samples?prompt=')")
    assert page.locator("#sample .prompt").inner_text() == asked


def test_the_keyboard_alone_will_do(reader: Reader) -> None:
    page = reader.page
    page.keyboard.press("Tab")
    assert page.evaluate("document.activeElement.className") == "skip"
    page.keyboard.press("Enter")
    assert page.evaluate("document.activeElement.id") == "main"
    page.keyboard.press("/")
    assert page.evaluate("document.activeElement.id") == "query"
    top, bottom = (
        page.evaluate(f"document.querySelector('#query').getBoundingClientRect().{end}") for end in ("top", "bottom")
    )
    # Below the header, which stays, and in the upper half, with the samples under it.
    assert 40 < top < bottom < DESKTOP["height"] / 2
    page.keyboard.press("ArrowDown")
    assert page.evaluate("document.activeElement.id") == "prompts"
    first = page.locator("#sample h3").inner_text()
    page.keyboard.press("ArrowDown")
    assert page.locator("#sample h3").inner_text() != first
    active = page.get_attribute("#prompts", "aria-activedescendant")
    assert page.get_attribute(f"#{active}", "aria-selected") == "true"
    page.keyboard.press("End")
    assert page.get_attribute(f"#{page.get_attribute('#prompts', 'aria-activedescendant')}", "aria-posinset") == "30"
    page.keyboard.press("Home")
    assert page.locator("#sample h3").inner_text() == first
    page.keyboard.press("Enter")
    assert page.evaluate("document.activeElement.id") == "sample"
    page.locator("#sample .text").nth(1).focus()
    for _ in range(2):
        page.keyboard.press("ArrowRight")
    assert page.locator("#sample .text .active").count() == 1
    assert "likely than under the base model" in page.locator("#token").inner_text()


def test_tokens_are_coloured_by_what_is_stored(reader: Reader, run: Path) -> None:
    page = reader.page
    index = int(page.locator("#sample h3").inner_text().removeprefix("Prompt "))
    table = parquet.read_table(run / "iterations/000/held_out/answers-00000.parquet").to_pylist()
    (answer,) = [row for row in table if (row["kind"], row["index"]) == ("greedy", index)]
    card = page.locator("#sample section[aria-label='iteration 0, greedy']")
    tokens = card.locator(".text span").evaluate_all(
        "spans => spans.map(span => [span.textContent, +span.dataset.ratio])"
    )
    assert "".join(text for text, _ in tokens) == answer["text"]
    # Tokens that are part of a character are counted with the one that completes it.
    assert sum(ratio for _, ratio in tokens) == pytest.approx(sum(answer["log_ratios"]), abs=0.01 * len(answer["ends"]))
    strong = card.locator(".text .up-4").evaluate_all("spans => spans.map(span => +span.dataset.ratio)")
    assert all(ratio >= 2.5 for ratio in strong)
    assert "expert" in page.locator("#sample .answer").first.get_attribute("aria-label")


def test_charts_are_drawn_as_they_come_into_view_in_the_readers_theme(reader: Reader) -> None:
    page = reader.page
    page.locator("#learning").scroll_into_view_if_needed()
    page.locator("#chart-learning-loss .main-svg").first.wait_for()
    ink = "getComputedStyle(document.querySelector('#chart-learning-loss .xtick text')).fill"
    light = page.evaluate(ink)
    page.emulate_media(color_scheme="dark")
    until(page, f"{ink} !== {json.dumps(light)}")
    page.emulate_media(color_scheme="light")
    until(page, f"{ink} === {json.dumps(light)}")
    page.locator("#cost").scroll_into_view_if_needed()
    page.locator("#chart-cost-time-by-stage .main-svg").first.wait_for()
    assert page.locator(".chart").count() == len(json.loads(page.locator("script#charts").text_content()))


def test_a_phone_shows_it_all_without_scrolling_sideways(chromium: Any, run: Path) -> None:
    reader = Reader(chromium, (run / "report.html").as_uri(), viewport=PHONE, has_touch=True, is_mobile=True)
    reader.page.wait_for_selector("#prompts [role=option]")
    assert reader.page.evaluate("document.documentElement.scrollWidth") <= PHONE["width"]
    reader.options().nth(2).tap()
    reader.page.locator("#sample .text span").first.tap()
    assert "nats" in reader.page.locator("#token").inner_text()
    reader.leave()


def test_a_live_page_takes_over_what_is_new_where_the_reader_is(chromium: Any, run: Path, tmp_path: Path) -> None:
    copy = tmp_path / "run"
    shutil.copytree(run, copy, ignore=shutil.ignore_patterns("model", "*.html"))
    result, last = copy / "result.json", copy / "iterations/000/evaluation.json"
    kept = {path: path.read_bytes() for path in (result, last)}
    for path in kept:
        path.unlink()
    command = [sys.executable, "-c", INTERRUPTIBLE, "report", str(copy), "--watch", "--port", "0"]
    with subprocess.Popen(command, stdout=subprocess.PIPE, text=True) as served:
        try:
            assert served.stdout is not None
            _follow(Reader(chromium, served.stdout.readline().split()[2]), kept)
            served.send_signal(signal.SIGINT)
            assert served.wait(timeout=60) == 0
        finally:
            served.kill()


def _follow(reader: Reader, kept: dict[Path, bytes]) -> None:
    """Reads a while, lets the run go on, and sees that the page did and that the reader's place stayed."""
    page = reader.page
    page.wait_for_selector("#prompts [role=option]")
    page.fill("#query", "a")
    page.evaluate("document.querySelector('#config').open = true")
    page.evaluate("document.querySelector('#again').scrollIntoView({ behavior: 'instant' })")
    before = page.evaluate("document.querySelector('#again').getBoundingClientRect().top")
    for path, content in kept.items():
        path.write_bytes(content)
    until(page, "!document.querySelector('.headline').textContent.startsWith('This run has not ended')")
    until(page, "document.querySelector('#filter-policy').options.length === 4")
    after = page.evaluate("document.querySelector('#again').getBoundingClientRect().top")
    assert after == pytest.approx(before, abs=2)
    assert page.evaluate("document.querySelector('#config').open")
    assert page.input_value("#query") == "a"
    url = reader.requests[0]
    assert all(asked.startswith(url) for asked in reader.requests)
    reader.requests.clear()
    reader.leave()
