"""A real HTTP server on the loopback that speaks chat completions, and misbehaves as it is told."""

from __future__ import annotations

import gzip
import json
import threading
from collections import Counter
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import Any

Fault = Callable[["Handler"], None]


class Handler(BaseHTTPRequestHandler):
    """Answers with `server.answer(prompt)`, after the faults that are queued."""

    server: ChatServer
    protocol_version = "HTTP/1.1"

    def do_POST(self) -> None:
        body = json.loads(self.rfile.read(int(self.headers["content-length"])))
        prompt = body["messages"][-1]["content"]
        server = self.server
        with server.lock:
            server.requests.append(body)
            server.keys.add(self.headers["authorization"])
            server.now += 1
            server.most = max(server.most, server.now)
            fault = server.faults.pop(0) if server.faults else server.spoils(prompt)
        try:
            if fault is not None:
                fault(self)
                return
            server.gate.wait(5)
            with server.lock:
                server.answered[prompt] += 1
            self.reply(200, completion(server.answer(prompt)))
        finally:
            with server.lock:
                server.now -= 1

    def reply(self, status: int, body: Any, **headers: str) -> None:
        data = body.encode() if isinstance(body, str) else json.dumps(body).encode()
        self.send_response(status)
        for name, value in {"Content-Type": "application/json", **headers}.items():
            self.send_header(name.replace("_", "-"), value)
        self.send_header("Content-Length", str(len(data)))
        self.end_headers()
        self.wfile.write(data)

    def log_message(self, *_: Any) -> None:
        """Nothing: a test reads `requests`."""


class ChatServer(ThreadingHTTPServer):
    daemon_threads = True

    def __init__(self, answer: Callable[[str], str], port: int = 0) -> None:
        super().__init__(("127.0.0.1", port), Handler)
        self.answer, self.lock, self.gate = answer, threading.Lock(), threading.Event()
        self.gate.set()
        self.requests: list[dict[str, Any]] = []
        self.keys: set[str] = set()
        # None is a request that is answered.
        self.faults: list[Fault | None] = []
        # What goes wrong with a prompt every time.
        self.spoils: Callable[[str], Fault | None] = lambda prompt: None
        self.answered: Counter[str] = Counter()
        self.now = self.most = 0

    def handle_error(self, *_: Any) -> None:
        """Nothing: a client that is killed breaks its connections."""

    @property
    def url(self) -> str:
        return f"http://127.0.0.1:{self.server_port}/v1"


def completion(text: str) -> dict[str, Any]:
    return {
        "id": "1",
        "object": "chat.completion",
        "created": 0,
        "model": "m",
        "choices": [{"index": 0, "finish_reason": "stop", "message": {"role": "assistant", "content": text}}],
        "usage": {"prompt_tokens": 100, "completion_tokens": 10, "total_tokens": 110},
    }


@contextmanager
def serving(answer: Callable[[str], str], port: int = 0) -> Iterator[ChatServer]:
    server = ChatServer(answer, port)
    thread = threading.Thread(target=server.serve_forever, kwargs={"poll_interval": 0.01})
    thread.start()
    try:
        yield server
    finally:
        server.gate.set()
        server.shutdown()
        server.server_close()
        thread.join()


def status(code: int, message: str = "broken", **headers: str) -> Fault:
    return lambda handler: handler.reply(code, {"error": {"message": message}}, **headers)


def garbage(text: str) -> Fault:
    return lambda handler: handler.reply(200, text)


def hang(handler: Handler) -> None:
    """Says nothing until the client has given up."""
    handler.connection.settimeout(5)
    handler.rfile.read(1)
    handler.close_connection = True


def raw(answer: bytes) -> Fault:
    """Writes bytes that need not be HTTP, and cuts the connection."""

    def write(handler: Handler) -> None:
        handler.wfile.write(answer)
        handler.close_connection = True

    return write


def body(content: bytes, *headers: bytes) -> Fault:
    """A body with status 200, and with further headers."""
    lines = [b"HTTP/1.1 200 OK", b"Content-Type: application/json", b"Connection: close", *headers, b""]
    return raw(b"\r\n".join([*lines, content]))


def _large(handler: Handler) -> None:
    """More than anybody wants: a gigabyte, if nobody hangs up."""
    handler.wfile.write(b"HTTP/1.1 200 OK\r\nContent-Length: 1000000000\r\n\r\n")
    handler.close_connection = True
    with suppress(OSError):
        for _ in range(1000):
            handler.wfile.write(b" " * 1_000_000)


_DEEP = 100_000
_SAID = json.dumps(completion("Verdict: A")).encode()

# Answers with which a server says nothing that can be read, each once.
HOSTILE: dict[str, Fault] = {
    "not UTF-8": body(_SAID.replace(b"Verdict", b"Verd\xff\xfect")),
    "another charset": body(_SAID.decode().encode("utf-16"), b"Content-Type: application/json; charset=utf-16"),
    "half a character": body(_SAID.replace(b"Verdict", b"\\ud800")),
    "400 digits": body(_SAID.replace(b'"Verdict: A"', b"1" * 400)),
    "5000 digits": body(_SAID.replace(b"100", b"1" * 5000)),
    "not a number": body(_SAID.replace(b'"Verdict: A"', b"NaN")),
    "deep": body(b"[" * _DEEP + b"]" * _DEEP),
    "deep objects": body(b'{"a":' * _DEEP + b"1" + b"}" * _DEEP),
    "gzip that is none": body(_SAID, b"Content-Encoding: gzip"),
    "gzip": body(gzip.compress(_SAID), b"Content-Encoding: gzip"),
    "a length that is too long": body(_SAID, b"Content-Length: 99999"),
    "a length that is none": body(_SAID, b"Content-Length: many"),
    "a length that is too short": body(_SAID, b"Content-Length: 20"),
    "chunks that are none": body(b"zz\r\n" + _SAID, b"Transfer-Encoding: chunked"),
    "headers that are none": raw(b"HTTP/1.1 200 OK\r\n\xff\xfe: \x00\r\n\r\n"),
    "not HTTP": raw(b"\x00\x01\x02 SSH-2.0\r\n"),
    "nothing": raw(b""),
    "a status that is none": raw(b"HTTP/1.1 9999 ?\r\n\r\n"),
    "empty": body(b""),
    "null": body(b"null"),
    "text": body(b'"Verdict: A"'),
    "large": _large,
    "sent elsewhere": status(302, Location="http://127.0.0.1:1/v1"),
    "sent nowhere": status(307, Location="http://[::1"),
}
