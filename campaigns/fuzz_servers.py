"""What judges and servers answer, for the campaign `fuzz`."""

from __future__ import annotations

import contextlib
import socketserver
import threading
from functools import cache
from pathlib import Path
from types import SimpleNamespace
from typing import Any

from hypothesis import strategies as st

from fuzz_pieces import ANY_TEXT, VALUES, as_json, damaged, encoded, few_odd, mostly, spoilt
from sparring.pauses import Pauses

REPLY = [
    *(
        "Verdict: A",
        "Verdict: B",
        "verdict is tie",
        "[[7]]",
        "[[A]]",
        "[[rating]]",
        "<think>",
        "</think>",
        "<|end|>",
        "\n",
        " ",
    ),
    *(
        "so the final verdict",
        "*" * 50,
        "[[" + "1" * 300,
        "]]",
        "\ud800",
        "\0",
        "A",
        "tie",
        "[[1e5]]",
        "[[٣]]",
        "[[½]]",
        "İ" * 30,
    ),
    "<|channel|>analysis<|message|>",
]
REPLIES = st.tuples(
    st.lists(st.sampled_from(REPLY) | ANY_TEXT, max_size=12).map("".join), st.integers(1, 4), st.booleans()
)


def read_reply(value: tuple[str, int, bool], _: Path) -> None:
    """As a judge's reply is read."""
    from sparring.evaluation.mt_bench.grading import read_rating, read_winner
    from sparring.judges.replies import Reply
    from sparring.judges.template import DEFAULT, read_verdict

    text, times, cut = value
    text = text * times
    reply = Reply(text=text, prompt_tokens=0, completion_tokens=0, cut=cut)
    for question in (DEFAULT, text):
        verdict, rating, winner = (
            read_verdict(reply, question),
            read_rating(text, question),
            read_winner(text, question),
        )
        assert verdict in {None, 0.0, 0.5, 1.0}
        assert winner in {None, 0.0, 0.5, 1.0}
        assert rating is None or 1 <= rating <= 10


class _Server(socketserver.ThreadingTCPServer):
    """Answers each connection with bytes, whatever is asked."""

    allow_reuse_address = daemon_threads = True
    answer = b""


class _Connection(socketserver.StreamRequestHandler):
    def handle(self) -> None:
        self.connection.settimeout(5)
        with contextlib.suppress(OSError):
            head = b""
            while b"\r\n\r\n" not in head and (more := self.connection.recv(65536)):
                head += more
            self.wfile.write(self.server.answer)  # type: ignore[attr-defined]


@cache
def server() -> _Server:
    """A server that answers with whatever it is told."""
    running = _Server(("127.0.0.1", 0), _Connection)
    threading.Thread(target=running.serve_forever, daemon=True, kwargs={"poll_interval": 0.01}).start()
    return running


COMPLETION: dict[str, Any] = {
    "choices": [{"index": 0, "finish_reason": "stop", "message": {"role": "assistant", "content": "Verdict: A"}}],
    "usage": {"prompt_tokens": 1, "completion_tokens": 2},
}
# One answer to both requests: a completion, and the log-probs of a prompt.
TOKENS: dict[str, Any] = {
    "choices": [{"index": 0, "finish_reason": "stop", "token_ids": [5, 7, 2], "prompt_token_ids": [1, 40]}]
}
TOKENS["choices"][0]["prompt_logprobs"] = [None, {"40": {"logprob": -1.5, "rank": 3, "decoded_token": "a"}}]
ODD_HEADERS = st.sampled_from(
    [
        *("Content-Encoding: gzip", "Content-Encoding: x", "Content-Length: 5", "Content-Length: -1", "X: \x01"),
        *("Transfer-Encoding: chunked", "Location: http://[", "Location: /", "Retry-After: 1e999", "Retry-After: nan"),
        *("Set-Cookie: a=b; expires=x", "Content-Type: text/html; charset=utf-7", "Connection: upgrade", ": x", "é: é"),
    ]
)


@st.composite
def http_answers(draw: Any, body: Any) -> bytes:
    """An answer over HTTP, of which mostly the status, a header or the body is odd."""
    statuses = st.sampled_from([201, 204, 301, 307, 400, 401, 404, 413, 422, 429, 500, 503, 99, 1000])
    usual = st.sampled_from([["Content-Type: application/json"], ["Server: uvicorn", "X-Request-Id: 1"], []])
    status, headers, content = draw(
        few_odd(
            (st.just(200), statuses),
            (usual, st.lists(ODD_HEADERS, min_size=1, max_size=2)),
            (st.just(body), mostly(spoilt(body), VALUES)),
        )
    )
    head = "\r\n".join([f"HTTP/1.1 {status} OK", "Connection: close", *headers, "", ""]).encode("latin-1")
    whole: bytes = draw(damaged(head + encoded(as_json(content))))
    return whole


def read_chat(value: bytes, folder: Path) -> None:
    """As a judge asks its endpoint; what is kept can be read again."""
    from sparring.judges import chat, waiting
    from sparring.judges.dialect import Dialect
    from sparring.judges.replies import Replies

    chat._PAUSES = Pauses(first_s=0.0001, longest_s=0.0001)  # noqa: SLF001 - a campaign has not the time of a person
    vars(waiting)["console"] = SimpleNamespace(print=lambda *_: None)
    server().answer = value
    url = f"http://127.0.0.1:{server().server_address[1]}/v1"
    endpoint = chat.ChatEndpoint(
        url=url,
        key="",
        model="m",
        timeout=2.0,
        max_tokens=5,
        patience=0.002,
        limit=waiting.RateLimit(None),
        outage=waiting.Outage(url),
        dialect=Dialect("m"),
    )

    with endpoint.open() as client:
        reply = endpoint.ask(client, chat.Prompt("q"), threading.Event())
    kept = Replies(folder)
    kept.put({"prompt": "q"}, reply)
    assert kept.get({"prompt": "q"}) == reply


def read_completion(value: bytes, folder: Path) -> None:
    """As a pool of servers samples and is proved."""
    from sparring.errors import RunError
    from sparring.generation.config import ServerConfig
    from sparring.generation.endpoint import Endpoint, Unavailable
    from sparring.generation.protocol import EngineModel, Request

    server().answer = value
    url = f"http://127.0.0.1:{server().server_address[1]}"
    model = EngineModel(base=str(folder), lora_rank=None, dtype="float32", device="cpu", max_length=64, vocabulary=259)
    endpoint = Endpoint(url, ServerConfig(endpoints=(url,), model="m", timeout_s=2.0), model)
    asked = Request(
        prompt_ids=[1, 40], samples=1, temperature=1.0, top_p=1.0, top_k=0, stop_ids=(2,), max_new_tokens=6, seed=0
    )
    try:
        with endpoint.connected():
            (completion,) = endpoint.complete(asked)
            assert asked.problem(completion) is None
            endpoint.token_log_probs([1, 40])
    except Unavailable as error:
        raise RunError(str(error)) from error
