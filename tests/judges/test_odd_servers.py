"""The judge `llm` before servers that are not quite what they say: proxies, gateways, other limits."""

from __future__ import annotations

import json
import threading
from collections.abc import Iterator
from datetime import UTC, datetime, timedelta
from email.utils import format_datetime
from http.server import BaseHTTPRequestHandler, HTTPServer
from pathlib import Path
from typing import Any

import pytest

from judges.server import ChatServer, Fault, Handler, completion, serving
from sparring.errors import InputError, RunError
from sparring.judges import JUDGES, Question, chat
from sparring.judges.protocol import Verdict
from sparring.judges.replies import Reply
from sparring.judges.template import DEFAULT, read_verdict
from sparring.pauses import Pauses
from sparring.web import Answer, without_key

# With what JSON and addresses write otherwise.
KEY = 'sk-a/b+"c'
QUESTION = Question(prompt="say something", responses=("x", "yy"))


@pytest.fixture(autouse=True)
def quick(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("JUDGE_KEY", KEY)
    monkeypatch.setattr(chat, "_PAUSES", Pauses(first_s=0.01, longest_s=0.05))
    for name in ("ALL_PROXY", "HTTP_PROXY", "HTTPS_PROXY", "NO_PROXY"):
        monkeypatch.delenv(name, raising=False)
        monkeypatch.delenv(name.lower(), raising=False)


@pytest.fixture
def server() -> Iterator[ChatServer]:
    with serving(lambda prompt: "Verdict: A" if "A]\nx\n" in prompt else "Verdict: B") as running:
        yield running


def judged(url: str, cache: Path, **settings: Any) -> Verdict:
    settings = {"patience": 1.0, "timeout": 5.0} | settings
    ask = JUDGES["llm"](model="m", base_url=url, api_key_env="JUDGE_KEY", **settings).start(cache)
    (verdict,) = ask([QUESTION])
    return verdict


def kept(cache: Path) -> list[Reply]:
    return [Reply(**json.loads(path.read_text(encoding="utf-8"))["answer"]) for path in cache.rglob("*.json")]


def ended(reason: object, text: str = "") -> Fault:
    body = completion(text)
    body["choices"][0]["finish_reason"] = reason
    return lambda handler: handler.reply(200, body)


@pytest.mark.parametrize("reason", ["error", "abort"])
def test_a_reply_that_its_server_broke_off_is_asked_for_again_and_not_kept(
    server: ChatServer, tmp_path: Path, reason: str
) -> None:
    server.faults = [ended(reason), ended(reason, "I think that")]
    verdict = judged(server.url, tmp_path)
    assert (verdict.pairwise[0][1], verdict.unparsable) == (1.0, 0)
    assert {reply.text for reply in kept(tmp_path)} == {"Verdict: A", "Verdict: B"}


def test_what_a_filter_left_of_a_reply_is_no_conclusion(server: ChatServer, tmp_path: Path) -> None:
    server.faults = [ended("content_filter", "So far I would say\nVerdict: A\nbut")]
    assert judged(server.url, tmp_path, concurrency=1).unparsable == 1


def test_a_reason_to_end_that_is_no_word_is_no_matter(server: ChatServer, tmp_path: Path) -> None:
    server.faults = [ended({"type": "stop"}, "Verdict: A"), ended(["stop"], "Verdict: B")]
    assert judged(server.url, tmp_path, concurrency=1).unparsable == 0


def test_an_error_that_comes_as_a_success_is_told_in_the_servers_words(server: ChatServer, tmp_path: Path) -> None:
    server.spoils = lambda prompt: lambda handler: handler.reply(200, {"error": {"message": f"no credit, {KEY}"}})
    with pytest.raises(RunError, match=r"no chat completion.*no credit") as caught:
        judged(server.url, tmp_path)
    assert KEY not in str(caught.value)
    assert json.dumps(KEY)[1:-1] not in str(caught.value)


@pytest.mark.parametrize(
    "written", [KEY, json.dumps(KEY)[1:-1], json.dumps(KEY)[1:-1].replace("/", "\\/"), "sk-a%2Fb%2B%22c"]
)
def test_the_key_is_found_however_it_is_written(server: ChatServer, tmp_path: Path, written: str) -> None:
    assert without_key(f"a {written} b", KEY) == "a *** b"

    def refuse(handler: Handler) -> None:
        handler.reply(401, f'{{"error": "no such key: {written}"}}')

    def send_on(handler: Handler) -> None:
        handler.reply(302, "", Location=f"http://127.0.0.1:1/?key={written}")

    for fault in (refuse, send_on):
        server.spoils = lambda prompt, fault=fault: fault
        with pytest.raises(InputError, match=r"\*\*\*") as caught:
            judged(server.url, tmp_path)
        assert written not in str(caught.value)


class Proxy(BaseHTTPRequestHandler):
    def do_POST(self) -> None:
        self.server.seen.append(self.headers["authorization"])  # type: ignore[attr-defined]
        self.send_error(503)

    def log_message(self, *_: Any) -> None:
        """Nothing."""


def test_what_is_for_this_machine_and_its_key_go_through_no_proxy(
    server: ChatServer, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    proxy = HTTPServer(("127.0.0.1", 0), Proxy)
    proxy.seen = []  # type: ignore[attr-defined]
    thread = threading.Thread(target=proxy.serve_forever, kwargs={"poll_interval": 0.01})
    thread.start()
    try:
        monkeypatch.setenv("HTTP_PROXY", f"http://127.0.0.1:{proxy.server_port}")
        assert judged(server.url, tmp_path / "here").pairwise[0][1] == 1.0
        assert proxy.seen == []  # type: ignore[attr-defined]
        with pytest.raises(RunError, match="status 503"):
            judged("http://judge.invalid/v1", tmp_path / "there", patience=0.2)
        assert proxy.seen  # type: ignore[attr-defined]
    finally:
        proxy.shutdown()
        proxy.server_close()
        thread.join()


@pytest.mark.parametrize("proxy", ["socks://user:pass@127.0.0.1:7891/", "http://[::1"])
def test_a_proxy_of_another_kind_is_told_before_the_judge_starts(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, proxy: str
) -> None:
    monkeypatch.setenv("ALL_PROXY", proxy)
    settings = JUDGES["llm"](model="m", base_url="http://judge.invalid/v1", api_key_env="JUDGE_KEY")
    with pytest.raises(InputError, match=r"the proxy that .*ALL_PROXY names") as caught:
        settings.start(tmp_path)
    assert "pass" not in str(caught.value)


def refused(param: str, code: str) -> Fault:
    error = {"message": "not supported with this model", "param": param, "code": code}
    return lambda handler: handler.reply(400, {"error": error})


def test_a_model_that_knows_another_limit_and_no_temperature_is_asked_its_way(
    server: ChatServer, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    def strict(prompt: str) -> Fault | None:
        if "max_tokens" in server.requests[-1]:
            return refused("max_tokens", "unsupported_parameter")
        return refused("temperature", "unsupported_value") if "temperature" in server.requests[-1] else None

    server.spoils = strict
    verdict = judged(server.url, tmp_path, concurrency=1)
    assert verdict.pairwise[0][1] == 1.0
    assert capsys.readouterr().err.count("takes no temperature") == 1
    assert [sorted(body.keys() - {"model", "messages"}) for body in server.requests] == [
        ["max_tokens", "temperature"],
        ["max_completion_tokens", "temperature"],
        ["max_completion_tokens"],
        ["max_completion_tokens"],
    ]
    assert server.requests[-1]["max_completion_tokens"] == 1024


@pytest.mark.parametrize("text", ["Verdict: Response A", "**Verdict:** Answer A", "Verdict: Option [A]."])
def test_a_verdict_may_call_the_response_by_what_it_is(text: str) -> None:
    assert read_verdict(Reply(text=text, prompt_tokens=1, completion_tokens=1), DEFAULT) == 1.0


@pytest.mark.parametrize(
    ("asked", "sent", "seconds"),
    [
        ("Wed, 21 Oct 2026 07:28:30 GMT", "Wed, 21 Oct 2026 07:28:00 GMT", 30.0),
        ("Wed, 21 Oct 2026 07:27:00 GMT", "Wed, 21 Oct 2026 07:28:00 GMT", 0.0),
        ("soon", "Wed, 21 Oct 2026 07:28:00 GMT", 0.0),
        ("Fri, 99 Oct 99999 07:28:30 GMT", "", 0.0),
        ("12", "Wed, 21 Oct 2026 07:28:00 GMT", 12.0),
    ],
)
def test_how_long_to_wait_may_be_a_date(asked: str, sent: str, seconds: float) -> None:
    answer = Answer(status=429, headers={"retry-after": asked, "date": sent}, content=b"")
    assert answer.retry_after == seconds


def test_a_date_to_wait_until_is_counted_from_now_where_the_answer_has_none() -> None:
    then = format_datetime(datetime.now(UTC) + timedelta(minutes=5), usegmt=True)
    answer = Answer(status=503, headers={"retry-after": then}, content=b"")
    assert 290.0 < answer.retry_after <= 300.0
