"""The judge `llm` against a real HTTP server on the loopback, with faults."""

from __future__ import annotations

import json
import re
import threading
import time
from collections.abc import Iterator
from pathlib import Path
from types import SimpleNamespace

import pytest

from judges.server import HOSTILE, ChatServer, Fault, garbage, hang, serving, status
from judges.server import completion as chat_completion
from sparring import web
from sparring.errors import InputError, RunError
from sparring.judges import JUDGES, Question, chat, waiting
from sparring.judges.replies import Reply
from sparring.judges.template import DEFAULT, read_verdict
from sparring.pauses import Pauses

KEY, HARMLESS = "sk-the-secret-key", chat._HARMLESS.user
_SHOWN = re.compile(r"\[Response A\]\n(.*?)\n\n\[Response B\]\n(.*?)\n\nEnd", re.DOTALL)


def longer_wins(prompt: str) -> str:
    if prompt == HARMLESS:
        return "tie"
    first, second = _SHOWN.search(prompt).groups()
    if len(first) == len(second):
        return "Both are good.\nVerdict: tie"
    return f"I compared them.\n**Verdict: {'A' if len(first) > len(second) else 'B'}**"


@pytest.fixture(autouse=True)
def quick(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("JUDGE_KEY", KEY)
    monkeypatch.setattr(chat, "_PAUSES", Pauses(first_s=0.01, longest_s=30.0))


@pytest.fixture
def server() -> Iterator[ChatServer]:
    with serving(longer_wins) as running:
        yield running


def judge(url: str, cache: Path, **settings: object):
    settings = {"patience": 20.0, "timeout": 10.0} | settings
    return JUDGES["llm"](model="m", base_url=url, api_key_env="JUDGE_KEY", **settings).start(cache)


def question(*responses: str) -> Question:
    return Question(prompt="say something", responses=responses)


def test_known_answers_in_both_orders(server: ChatServer, tmp_path: Path) -> None:
    ask = judge(server.url, tmp_path, prompt_price=2.0, completion_price=10.0)
    (verdict,) = ask([question("aa", "bbbb", "cc")])
    assert verdict.pairwise == ((0.5, 0.0, 0.5), (1.0, 0.5, 1.0), (0.5, 0.0, 0.5))
    assert verdict.win_rates() == (0.25, 1.0, 0.25)
    assert (verdict.ties, verdict.abstentions, verdict.unparsable) == (1, 0, 0)
    assert (verdict.prompt_tokens, verdict.completion_tokens) == (600, 60)
    assert verdict.cost == pytest.approx((600 * 2 + 60 * 10) / 1e6)
    shown = {_SHOWN.search(body["messages"][0]["content"]).groups() for body in server.requests}
    assert shown == {(a, b) for a in ("aa", "bbbb", "cc") for b in ("aa", "bbbb", "cc") if a != b}
    assert {(body["temperature"], body["max_tokens"], body["model"]) for body in server.requests} == {(0.0, 1024, "m")}


@pytest.mark.parametrize(
    ("answer", "p"), [("Verdict: A", 0.5), ("verdict: B", 0.5), ("Verdict: tie", 0.5), ("B.", 0.5)]
)
def test_a_preference_for_a_place_alone_comes_out_even(tmp_path: Path, answer: str, p: float) -> None:
    with serving(lambda _: answer) as server:
        (verdict,) = judge(server.url, tmp_path)([question("a", "bb")])
    assert verdict.pairwise[0][1] == p
    assert verdict.ties == 1


def test_a_verdict_in_one_order_and_a_tie_in_the_other_is_three_quarters(tmp_path: Path) -> None:
    with serving(lambda prompt: "Verdict: A" if "A]\nx\n" in prompt else "Verdict: tie") as server:
        (verdict,) = judge(server.url, tmp_path)([question("x", "yy")])
    assert verdict.pairwise[0][1] == 0.75
    assert verdict.pairwise[1][0] == 0.25


@pytest.mark.parametrize(
    ("answer", "first"),
    [
        ("Verdict: A", 1.0),
        ("Verdict: A\n**verdict: B**", 0.0),
        ("Verdict: tie\n\nThat is all.", 0.5),
        ("a", 1.0),
        ("**B**\n", 0.0),
        ("Tie.", 0.5),
        ("A is better", None),
        ("Answer A", None),
        ("", None),
        # Within a thought it is none, be that closed, cut, or opened by the template.
        ("<think>\nVerdict: A\n</think>\nVerdict: B", 0.0),
        ("<think>\nVerdict: A\n</think>\nI cannot say.", None),
        ("<think>\nVerdict: A\nbut wait", None),
        ("Verdict: A\n</think>\n\nVerdict: tie", 0.5),
        ("Verdict: A\n</think>", None),
        ("[THINK]Verdict: A[/THINK]", None),
        ("<|channel|>analysis<|message|>Verdict: A<|end|><|channel|>final<|message|>\nVerdict: B", 0.0),
        ("◁think▷\nVerdict: A\n◁/think▷\nB", 0.0),
        # Nor is one that was taken back.
        ("Verdict: A\nNo, it miscounts.\nFinal verdict: B", 0.0),
        ("**Verdict:** A\n\n**My final verdict is: B**", 0.0),
        ("Verdict: A\nOn reflection.\nVerdict: B, since it counts right.", None),
        ("Verdict: A\nVerdict: I cannot say.", None),
        ("Verdict: A\n\nThis verdict rests on the sum.", 1.0),
        # Nor is what the instructions list.
        ("End with one line that is exactly one of these:\nVerdict: A\nVerdict: B\nVerdict: tie", None),
        ("Verdict: A\nVerdict: B\nVerdict: tie\n\nVerdict: B", 0.0),
        (DEFAULT, None),
    ],
)
def test_how_an_answer_is_read(answer: str, first: float | None) -> None:
    assert read_verdict(said(answer), DEFAULT) == first


def said(text: str, *, cut: bool = False) -> Reply:
    return Reply(text=text, prompt_tokens=1, completion_tokens=1, cut=cut)


def test_a_reply_that_was_cut_concludes_only_where_it_began_with_its_verdict() -> None:
    assert read_verdict(said("Let me think.\nVerdict: A\nNo, as", cut=True), DEFAULT) is None
    assert read_verdict(said("Verdict: A\n\nThe first is", cut=True), DEFAULT) == 1.0


def test_instructions_of_ones_own_are_no_verdict() -> None:
    question = "Answer with\nVerdict: B\nor\nVerdict: A\nVerdict: B\n"
    assert read_verdict(said("I answer with\nVerdict: A\nVerdict: B"), question) is None
    assert read_verdict(said("Verdict: B"), question) == 0.0


def test_what_cannot_be_read_is_counted_and_stays_unknown(tmp_path: Path) -> None:
    def answer(prompt: str) -> str:
        return "I would rather not say." if "A]\nbad\n" in prompt else longer_wins(prompt)

    with serving(answer) as server:
        (verdict,) = judge(server.url, tmp_path)([question("bad", "bbbb", "cc")])
    assert verdict.unparsable == 2
    assert verdict.pairwise[0] == (0.5, None, None)
    assert verdict.win_rates() == (None, 1.0, 0.0)


def test_equal_responses_tie_unasked(server: ChatServer, tmp_path: Path) -> None:
    (verdict,) = judge(server.url, tmp_path)([question("same", "same", "same")])
    assert verdict.win_rates() == (0.5, 0.5, 0.5)
    assert verdict.ties == 3
    assert server.requests == []


def test_pays_for_no_answer_twice(server: ChatServer, tmp_path: Path) -> None:
    questions = [question("aa", "bbbb"), question("aa", "bbbb"), question("c", "dd")]
    first = judge(server.url, tmp_path)(questions)
    assert len(server.requests) == 4
    assert judge(server.url, tmp_path)(questions) == first
    assert len(server.requests) == 4
    next(tmp_path.rglob("*.json")).write_text("{")
    assert judge(server.url, tmp_path)(questions) == first
    assert len(server.requests) == 5
    judge(server.url, tmp_path, max_tokens=5)(questions[:1])
    assert len(server.requests) == 7


@pytest.mark.parametrize(
    "fault",
    [
        status(500),
        status(503, Retry_After="0"),
        status(429, Retry_After="0.01"),
        status(408),
        garbage("<html>bad gateway</html>"),
        garbage('{"object": "chat.completion", "choices": []}'),
        garbage('{"choices": '),
        garbage('{"choices": [null]}'),
        garbage('{"choices": [{"finish_reason": "stop"}]}'),
        garbage('{"choices": [{"message": null}]}'),
        garbage('{"choices": [{"message": {"role": "assistant", "content": 7}}]}'),
    ],
)
def test_goes_on_after_a_fault(server: ChatServer, tmp_path: Path, fault: object) -> None:
    server.faults += [fault] * 3
    (verdict,) = judge(server.url, tmp_path)([question("aa", "bbbb")])
    assert verdict.pairwise[1][0] == 1.0
    assert len(server.requests) == 5
    assert set(server.answered.values()) == {1}


@pytest.mark.parametrize("name", HOSTILE)
def test_one_answer_that_cannot_be_read_is_asked_for_again(
    server: ChatServer, tmp_path: Path, name: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(web, "LARGEST", 2**20)
    server.faults += [None, *[HOSTILE[name]] * 3]
    (verdict,) = judge(server.url, tmp_path, concurrency=1)([question("aa", "bbbb")])
    assert (verdict.pairwise[1][0], verdict.abstentions, verdict.unparsable) == (1.0, 0, 0)
    assert len(server.requests) == 5 + server.answered[HARMLESS]


@pytest.mark.parametrize("name", ["half a character", "not UTF-8", "400 digits"])
def test_a_prompt_whose_answer_can_never_be_read_abstains_and_the_others_do_not(tmp_path: Path, name: str) -> None:
    """As at temperature 0, where the same prompt is answered alike for ever."""
    with serving(longer_wins) as server:
        server.spoils = lambda prompt: HOSTILE[name] if "A]\nbad\n" in prompt else None
        asking = judge(server.url, tmp_path)
        (verdict,) = asking([question("bad", "bbbb", "cc")])
        assert (verdict.abstentions, verdict.unparsable) == (2, 0)
        assert verdict.win_rates() == (None, 1.0, 0.0)
        asked = len(server.requests)
        assert judge(server.url, tmp_path)([question("bad", "bbbb", "cc")]) == [verdict]
        assert len(server.requests) == asked


@pytest.mark.parametrize("fault", [status(500), status(429), status(429, Retry_After="1e9"), status(503)])
def test_one_prompt_that_always_fails_ends_no_run_whose_others_are_answered(tmp_path: Path, fault: Fault) -> None:
    with serving(longer_wins) as server:
        server.spoils = lambda prompt: fault if "A]\nbad\n" in prompt else None
        (verdict,) = judge(server.url, tmp_path, patience=0.2)([question("bad", "bbbb", "cc")])
    assert (verdict.abstentions, verdict.unparsable) == (2, 0)
    assert verdict.win_rates() == (None, 1.0, 0.0)


def test_patience_is_for_a_server_that_answers_nobody(tmp_path: Path) -> None:
    """Every answer is unreadable, so no prompt is to blame: nothing abstains, nothing is kept."""
    with serving(longer_wins) as server:
        server.spoils = lambda prompt: HOSTILE["not UTF-8"]
        with pytest.raises(RunError, match=r"did not answer for 0 s \(.*not JSON"):
            judge(server.url, tmp_path, patience=0.3)([question("a", "bb")])
    assert not list(tmp_path.rglob("*.json"))


@pytest.mark.parametrize("tokens", [10**400, -3, True, 2.5, float("inf"), "12", None])
def test_tokens_that_no_answer_has_are_counted_as_none(server: ChatServer, tmp_path: Path, tokens: object) -> None:
    odd = chat_completion("Verdict: A") | {"usage": {"prompt_tokens": tokens, "completion_tokens": 7}}
    server.faults += [garbage(json.dumps(odd))] * 2
    (verdict,) = judge(server.url, tmp_path, prompt_price=1.0)([question("aa", "bbbb")])
    assert (verdict.prompt_tokens, verdict.completion_tokens, verdict.cost) == (0, 14, 0.0)


@pytest.mark.parametrize(
    "header", ["nan", "inf", "-5", "1e400", "Wed, 21 Oct 2026 07:28:00 GMT", "x" * 999, "99999999"]
)
def test_a_wait_that_no_server_means_ends_no_run(server: ChatServer, tmp_path: Path, header: str) -> None:
    server.faults.append(status(429, Retry_After=header))
    (verdict,) = judge(server.url, tmp_path, concurrency=1)([question("aa", "bbbb")])
    assert verdict.pairwise[1][0] == 1.0


def test_it_is_sent_nowhere_else(server: ChatServer, tmp_path: Path) -> None:
    with serving(longer_wins) as other:
        server.faults += [status(307, Location=f"{other.url}/chat/completions")] * 2
        with pytest.raises(InputError, match=r"status 307: it sends us to http://127.0.0.1:\d+/v1/chat/completions"):
            judge(server.url, tmp_path, concurrency=1)([question("aa", "bbbb")])
        assert other.requests == []


@pytest.mark.parametrize(
    "text",
    [
        "<think>" * 45_000,
        "<think></think>" * 21_000,
        "</think>" * 39_000,
        "<|channel|>analysis<|message|>" * 10_000,
        "Verdict: A\n\n" * 27_000,
        "Verdict: A\nVerdict: B\n.\n" * 14_000,
        "so " * 100_000,
        " " * 300_000,
        "verdict" + " " * 300_000 + "x",
        "verdict is" * 30_000,
        "*" * 150_000 + "A" + "*" * 150_000 + "x",
    ],
    ids=lambda text: f"{text[:24]!r}",
)
def test_reading_a_verdict_is_linear_in_its_length(text: str) -> None:
    question, start = DEFAULT + "Verdict: A\nVerdict: B\n.\n" * 14_000, time.process_time()
    read_verdict(said(text), question)
    # Of this process alone: the machine may have other work.
    assert time.process_time() - start < 2.0


def test_an_answer_in_parts_and_tokens_that_are_no_numbers(server: ChatServer, tmp_path: Path) -> None:
    parts = [{"type": "reasoning"}, {"type": "text", "text": "Verdict: "}, {"type": "text", "text": "A"}]
    odd = {"choices": [{"message": {"role": "assistant", "content": parts}}], "usage": {"prompt_tokens": "12"}}
    server.faults += [garbage(json.dumps(odd))] * 2
    for _ in range(2):
        (verdict,) = judge(server.url, tmp_path)([question("aa", "bbbb")])
        assert verdict.pairwise[0][1] == 0.5
        assert (verdict.ties, verdict.unparsable, verdict.prompt_tokens, verdict.completion_tokens) == (1, 0, 0, 0)
    assert len(server.requests) == 2


def test_a_kept_answer_of_another_shape_is_asked_for_again(server: ChatServer, tmp_path: Path) -> None:
    (first,) = judge(server.url, tmp_path)([question("aa", "bbbb")])
    for path in tmp_path.rglob("*.json"):
        stored = json.loads(path.read_text())
        path.write_text(json.dumps(stored | {"answer": stored["answer"] | {"text": ["Verdict: A"]}}))
    assert judge(server.url, tmp_path)([question("aa", "bbbb")]) == [first]
    assert len(server.requests) == 4


def test_a_kept_answer_that_is_out_of_reach_is_not_paid_for_again(server: ChatServer, tmp_path: Path) -> None:
    judge(server.url, tmp_path)([question("aa", "bbbb")])
    first, *_ = tmp_path.rglob("*.json")
    first.unlink()
    # As a file that may not be read, which a test that runs as root cannot have.
    first.mkdir()
    with pytest.raises(InputError, match=r"cannot be read(.|\n)*was paid for") as caught:
        judge(server.url, tmp_path)([question("aa", "bbbb"), question("c", "dd")])
    assert caught.value.where == str(first)
    assert len(server.requests) == 2


def test_a_comparison_of_responses_that_are_there_twice_is_billed_once(server: ChatServer, tmp_path: Path) -> None:
    (verdict,) = judge(server.url, tmp_path)([question("aa", "aa", "bbbb", "bbbb")])
    assert len(server.requests) == 2
    assert (verdict.ties, verdict.prompt_tokens, verdict.completion_tokens) == (2, 200, 20)


def test_waits_as_long_as_the_server_asks(server: ChatServer, tmp_path: Path) -> None:
    server.faults += [status(429, Retry_After="300")] * 4
    with pytest.raises(RunError, match=r"did not answer for 0 s .*asks to wait 300 s, and judge.patience is 5 s"):
        judge(server.url, tmp_path, patience=5.0, concurrency=1)([question("aa", "bbbb")])
    prompts = [body["messages"][0]["content"] for body in server.requests]
    assert len({*prompts} - {HARMLESS}) == len(prompts) - prompts.count(HARMLESS)


def test_a_server_that_hangs_is_asked_again(server: ChatServer, tmp_path: Path) -> None:
    server.faults.append(hang)
    (verdict,) = judge(server.url, tmp_path, timeout=0.3)([question("aa", "bbbb")])
    assert verdict.pairwise[1][0] == 1.0


def test_a_server_that_is_down_is_waited_for(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    with serving(longer_wins) as gone:
        port = gone.server_port
    back, told = [], []

    def tell(text: str, **_: object) -> None:
        told.append(text)
        if not back:
            back.append(serving(longer_wins, port))
            back[0].__enter__()

    monkeypatch.setattr(waiting, "console", SimpleNamespace(print=tell))
    try:
        (verdict,) = judge(f"http://127.0.0.1:{port}/v1", tmp_path)([question("aa", "bbbb")])
    finally:
        back[0].__exit__(None, None, None)
    assert verdict.pairwise[1][0] == 1.0
    address = f"http://127.0.0.1:{port}/v1"
    assert re.fullmatch(
        rf"judge: no answer from {address} for 0 s \(.*[Rr]efused.*\). Asking again for 20 s .*kept.", told[0]
    )
    assert re.fullmatch(rf"judge: {address} answers again, after \d+ s", told[1])


def test_an_outage_is_told_now_and_then_by_one_of_all_threads(monkeypatch: pytest.MonkeyPatch) -> None:
    clock, told = [100.0], []
    monkeypatch.setattr(waiting, "time", SimpleNamespace(monotonic=lambda: clock[0]))
    monkeypatch.setattr(waiting, "console", SimpleNamespace(print=lambda text, **_: told.append(text)))
    outage = waiting.Outage("http://127.0.0.1:1/v1")
    outage.answered()
    for seconds, left in ((0, 600.0), (0, 600.0), (29, 571.0), (1, 570.0), (15, 555.0)):
        clock[0] += seconds
        outage.failed("refused", left)
    outage.answered()
    outage.answered()
    # A server that comes and goes is not worth a line each time.
    outage.failed("refused", 600.0)
    outage.answered()
    times = [re.search(r"for (\d+) s \(refused\). Asking again for (\d+) s", text) for text in told[:2]]
    assert [match.groups() for match in times] == [("0", "600"), ("30", "570")]
    assert told[2:] == ["judge: http://127.0.0.1:1/v1 answers again, after 45 s"]


def test_patience_ends_and_a_resume_pays_only_for_the_rest(server: ChatServer, tmp_path: Path) -> None:
    questions = [question("a" * n, "b") for n in range(2, 7)]
    answers = iter(range(6))
    working = server.answer

    def six_answers(prompt: str) -> str:
        if next(answers, None) is None:
            server.faults += [status(500)] * 1000
        return working(prompt)

    server.answer = six_answers
    with pytest.raises(RunError, match=r"did not answer for 0 s.*sparring resume"):
        judge(server.url, tmp_path, patience=0.2, concurrency=1)(questions)
    server.faults, server.answer = [], working
    verdicts = judge(server.url, tmp_path)(questions)
    assert [verdict.pairwise[0][1] for verdict in verdicts] == [1.0] * 5
    assert set(server.answered.values()) == {1}
    assert len(server.answered) == 10


@pytest.mark.parametrize("code", [400, 401, 403, 404])
def test_a_refusal_ends_at_once_without_the_key(server: ChatServer, tmp_path: Path, code: int) -> None:
    """Also where the text that shows the key is cut in its middle."""
    server.faults += [status(code, f"Incorrect API key provided: {'x' * 235}{KEY}")] * 16
    with pytest.raises(InputError, match=r"the endpoint refuses .*\*\*") as caught:
        judge(server.url, tmp_path)([question("aa", "bbbb", "c")])
    assert KEY[:3] not in str(caught.value)
    assert len(server.requests) <= 12
    assert not list(tmp_path.rglob("*.json"))


@pytest.mark.parametrize("code", [400, 413, 422])
def test_one_comparison_that_is_refused_abstains_and_is_not_asked_again(
    server: ChatServer, tmp_path: Path, code: int
) -> None:
    server.faults += [None, None, status(code, f"too long, says {KEY}")]
    three = question("aa", "bbbb", "c")
    (verdict,) = judge(server.url, tmp_path, concurrency=1)([three])
    assert verdict.pairwise == ((0.5, 0.0, None), (1.0, 0.5, 1.0), (None, 0.0, 0.5))
    assert (verdict.ties, verdict.abstentions, verdict.unparsable) == (0, 1, 0)
    assert judge(server.url, tmp_path)([three]) == [verdict]
    # Six orders of three pairs, and the harmless prompt after the refusal.
    assert len(server.requests) == 7
    assert server.answered[HARMLESS] == 1
    assert KEY not in "".join(path.read_text() for path in tmp_path.rglob("*.json"))


def test_the_very_first_comparison_may_be_the_one_that_is_refused(server: ChatServer, tmp_path: Path) -> None:
    server.faults += [status(400), None, status(400), None]
    (verdict,) = judge(server.url, tmp_path, concurrency=1)([question("aa", "bbbb")])
    assert verdict.abstentions == 1


def test_an_empty_account_is_no_abstention_whatever_was_answered_before(server: ChatServer, tmp_path: Path) -> None:
    questions = [question("a" * n, "b") for n in range(2, 7)]
    server.faults += [None] * 4 + [status(400, "Your credit balance is too low")] * 100
    with pytest.raises(InputError, match="credit balance is too low"):
        judge(server.url, tmp_path, concurrency=1)(questions)
    server.faults = []
    assert [verdict.pairwise[0][1] for verdict in judge(server.url, tmp_path)(questions)] == [1.0] * 5


@pytest.mark.parametrize("code", [401, 403, 404])
def test_a_refusal_of_all_is_fatal_at_any_time(server: ChatServer, tmp_path: Path, code: int) -> None:
    server.faults += [None, None, status(code)]
    with pytest.raises(InputError, match="the endpoint refuses"):
        judge(server.url, tmp_path, concurrency=1)([question("aa", "bbbb", "c")])


def test_the_key_is_sent_and_nowhere_else(
    server: ChatServer, tmp_path: Path, capfd: pytest.CaptureFixture[str], caplog: pytest.LogCaptureFixture
) -> None:
    caplog.set_level("INFO")
    server.faults += [status(500, f"failed for {KEY}")] * 2
    asking = judge(server.url, tmp_path)
    asking([question("aa", "bbbb")])
    assert server.keys == {f"Bearer {KEY}"}
    written = "".join(path.read_text() for path in tmp_path.rglob("*.json"))
    shown = capfd.readouterr()
    assert "failed for ***" in shown.err
    assert KEY not in written + shown.out + shown.err + caplog.text + repr(asking)


def test_no_more_requests_at_once_than_allowed(server: ChatServer, tmp_path: Path) -> None:
    server.gate.clear()
    asking = judge(server.url, tmp_path, concurrency=3)
    thread = threading.Thread(target=asking, args=([question("a", "bb", "ccc", "dddd")],))
    thread.start()
    while server.now < 3:
        thread.join(0.01)
    server.gate.set()
    thread.join()
    assert server.most == 3
    assert len(server.requests) == 12


def test_the_rate_limit_spaces_requests(monkeypatch: pytest.MonkeyPatch) -> None:
    clock = [100.0]
    monkeypatch.setattr(waiting, "time", SimpleNamespace(monotonic=lambda: clock[0]))
    stop = SimpleNamespace(wait=lambda seconds: clock.__setitem__(0, clock[0] + seconds))
    limit, starts = waiting.RateLimit(30.0), []
    for _ in range(4):
        limit.wait(stop)
        starts.append(clock[0])
    assert starts == pytest.approx([100.0, 102.0, 104.0, 106.0])
    unlimited = waiting.RateLimit(None)
    unlimited.wait(stop)
    assert clock[0] == pytest.approx(106.0)


def test_nobody_waits_for_a_turn_after_a_failure(server: ChatServer, tmp_path: Path) -> None:
    """One request a day: the second thread would sleep until tomorrow."""
    server.faults.append(status(401))
    with pytest.raises(InputError, match="the endpoint refuses"):
        judge(server.url, tmp_path, requests_per_minute=1 / 1440, concurrency=2)([question("aa", "bbbb")])
    assert len(server.requests) == 1


def test_without_the_key_it_does_not_start(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    monkeypatch.delenv("JUDGE_KEY")
    with pytest.raises(InputError, match=r"JUDGE_KEY is not set.*\n.*export JUDGE_KEY"):
        judge("http://127.0.0.1:1/v1", tmp_path)
    JUDGES["llm"](model="m", api_key_env=None).start(tmp_path)


@pytest.mark.parametrize("key", [f"{KEY}\r", f"{KEY}\n", f" {KEY}", f"{KEY}é"])
def test_a_key_that_no_header_takes_is_refused_unshown(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path, key: str
) -> None:
    monkeypatch.setenv("JUDGE_KEY", key)
    with pytest.raises(InputError, match="JUDGE_KEY holds white space or characters that no key has") as caught:
        judge("http://127.0.0.1:1/v1", tmp_path)
    assert KEY not in str(caught.value)


def test_a_key_that_the_model_repeats_is_not_kept(tmp_path: Path) -> None:
    with serving(lambda _: f"Your key is {KEY}.\nVerdict: tie") as server:
        judge(server.url, tmp_path)([question("aa", "bbbb")])
    written = [path.read_text() for path in tmp_path.rglob("*.json")]
    assert len(written) == 2
    assert KEY not in "".join(written)


def test_waiting_for_ones_turn_takes_no_patience(server: ChatServer, tmp_path: Path) -> None:
    """The last of six turns comes after half a second, when a patience of 0.3 would be over."""
    server.faults += [None] * 5 + [status(500)]
    asking = judge(server.url, tmp_path, concurrency=6, requests_per_minute=600, patience=0.3)
    (verdict,) = asking([question("aa", "bbbb", "c")])
    assert verdict.abstentions == verdict.unparsable == 0
    assert len(server.requests) == 7


def test_a_template_of_ones_own(server: ChatServer, tmp_path: Path) -> None:
    template = tmp_path / "template.txt"
    template.write_text("{prompt} [Response A]\n{first}\n\n[Response B]\n{second}\n\nEnd")
    (verdict,) = judge(server.url, tmp_path / "cache", template=str(template))([question("{second}", "{prompt}!!")])
    assert verdict.pairwise[1][0] == 1.0
    assert server.requests[0]["messages"][0]["content"].startswith("say something [Response A]\n{")
    template.write_text("{prompt} {first}")
    with pytest.raises(InputError, match=r"lacks \{second\}"):
        judge(server.url, tmp_path, template=str(template))
