"""An endpoint on the loopback device that speaks vLLM's completions protocol, with faults on demand."""

from __future__ import annotations

import json
import threading
import time
from collections import deque
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from typing import Any

from tiny_engine import TinyEngine, request

# All servers draw from torch's one stream of random numbers, which each request seeds.
_LOCK = threading.Lock()


class CompletionsServer:
    """An endpoint on the loopback device, with vLLM's routes and with faults on demand.

    Attributes:
        faults: What goes wrong with the next completions, one after the other: "500", "429", "hang", "drop",
            "garbage", "no-ids", "empty", "extra", "cut", "restart" and others, or what is to be done with the handler.
        down: Whether it refuses every connection's request, as a dead server would.
        served: Prompts that were answered.
        seen: The headers and the body of the last completion.
    """

    def __init__(self, engine: TinyEngine, *, routes: Sequence[str] = ("rpc", "lora"), key: str | None = None) -> None:
        self.engine, self.routes, self.key = engine, routes, key
        self.faults: deque[str | Callable[[Any], None]] = deque()
        self.down, self.hang_s = False, 5.0
        self.served: list[list[int]] = []
        self.calls: list[tuple[str, dict[str, Any]]] = []
        self.seen: tuple[Mapping[str, str], dict[str, Any]] = ({}, {})
        self.lock = _LOCK
        self._http = ThreadingHTTPServer(("127.0.0.1", 0), _Handler)
        self._http.completions = self  # type: ignore[attr-defined]
        self.url = f"http://127.0.0.1:{self._http.server_port}"

    @contextmanager
    def running(self) -> Iterator[CompletionsServer]:
        thread = threading.Thread(target=self._http.serve_forever, kwargs={"poll_interval": 0.01}, daemon=True)
        thread.start()
        try:
            yield self
        finally:
            self._http.shutdown()
            self._http.server_close()
            thread.join()

    def completion(self, body: dict[str, Any], fault: str) -> tuple[int, Any]:
        adapter = "" if body["model"] == "tiny" else body["model"]
        if adapter and adapter not in self.engine.adapters:
            return 404, {"error": {"message": f"The model `{adapter}` does not exist."}}
        ids, samples = body["prompt"], body.get("n", 1)
        sampling = request(
            ids,
            samples=samples,
            temperature=body["temperature"],
            top_p=body.get("top_p", 1.0),
            top_k=body.get("top_k", 0),
            stop_ids=tuple(body.get("stop_token_ids", ())),
            max_new_tokens=body["max_tokens"],
            seed=body.get("seed", 0),
        )
        choices = [
            {"index": n, "text": "?", "finish_reason": each.finish_reason, "token_ids": each.ids}
            for n, each in enumerate(self.engine.complete(sampling, adapter))
        ]
        for choice in choices:
            _spoil(choice, fault)
        if fault == "no samples":
            del choices[1:]
        choices[0]["prompt_token_ids"] = ids[1:] if fault == "truncated" else ids
        if "prompt_logprobs" in body:
            scores = zip(ids[1:], self.engine.token_log_probs(ids, adapter), strict=True)
            choices[0]["prompt_logprobs"] = [None, *({str(token): {"logprob": score}} for token, score in scores)]
        else:
            self.served.append(ids)
        # In another order than asked for, as a server is free to answer.
        return 200, {"choices": [] if fault == "empty" else choices[::-1] if samples > 1 else choices}

    def control(self, route: str, body: dict[str, Any]) -> tuple[int, Any]:
        """The routes that change weights."""
        self.calls.append((route, body))
        if route == "/v1/load_lora_adapter" and "lora" in self.routes:
            name = body.get("lora_name")
            if not name or name in self.engine.adapters:
                return 400, {
                    "error": {"message": f"The lora adapter '{name}' has already been loaded." if name else ""}
                }
            self.engine.add_adapter(name, body["lora_path"])
            return 200, {}
        if route == "/v1/unload_lora_adapter" and "lora" in self.routes:
            return (200, {}) if self.engine.adapters.pop(body["lora_name"], None) else (404, {})
        if route == "/reset_prefix_cache" and "rpc" in self.routes:
            return 200, {"success": True}
        if route == "/collective_rpc" and "rpc" in self.routes:
            if body["method"] == "reload_weights":
                self.engine.load(Path(body["kwargs"]["weights_path"]))
                return 200, {"results": [None]}
            if body["method"] == "repack_head" and self.engine.repairs:
                self.engine.repair()
                return 200, {"results": [None]}
            return 500, {"error": "no such method"}
        return 404, {"detail": "Not Found"}


def _spoil(choice: dict[str, Any], fault: str) -> None:
    if fault == "no-ids":
        del choice["token_ids"]
    elif fault == "extra":
        choice["token_ids"] = [*choice["token_ids"], 2, 5]
    elif fault == "cut":
        choice |= {"token_ids": choice["token_ids"][:-1], "finish_reason": "length"}
    elif fault == "one sample twice":
        choice["index"] = 0
    elif fault == "true for a number":
        choice["index"] = bool(choice["index"])
    elif fault == "a token of nobody's":
        choice["token_ids"] = [*choice["token_ids"][:-1], 10**30]
    elif fault == "another finish":
        choice["finish_reason"] = ["stop"]


class _Handler(BaseHTTPRequestHandler):
    protocol_version = "HTTP/1.1"

    @property
    def completions(self) -> CompletionsServer:
        return self.server.completions  # type: ignore[attr-defined]

    def log_message(self, *args: Any) -> None:
        return

    def do_GET(self) -> None:
        if self.completions.down:
            self._drop()
        else:
            self._answer(200, {"data": [{"id": "tiny"}]})

    def do_POST(self) -> None:
        body = json.loads(self.rfile.read(int(self.headers["Content-Length"])))
        server = self.completions
        if server.down:
            self._drop()
        elif server.key is not None and self.headers.get("Authorization") != f"Bearer {server.key}":
            self._answer(401, {"error": "Unauthorized"})
        elif self.path == "/v1/completions":
            server.seen = (dict(self.headers), body)
            self._complete(body)
        else:
            with server.lock:
                answer = server.control(self.path, body)
            self._answer(*answer)

    def _complete(self, body: dict[str, Any]) -> None:
        server = self.completions
        with server.lock:
            fault = server.faults.popleft() if server.faults and "prompt_logprobs" not in body else ""
            if fault == "restart":
                server.engine.restart()
        if callable(fault):
            fault(self)
        elif fault in {"500", "429"}:
            self._answer(int(fault), {"error": "overloaded"})
        elif fault == "garbage":
            self._send(200, b"<html>")
        elif fault in {"hang", "drop", "restart"}:
            time.sleep(server.hang_s if fault == "hang" else 0)
            self._drop()
        else:
            with server.lock:
                answer = server.completion(body, fault)
            self._answer(*answer)

    def _drop(self) -> None:
        self.close_connection = True

    def _answer(self, status: int, value: Any) -> None:
        self._send(status, json.dumps(value).encode())

    def reply(self, status: int, body: Any, **headers: str) -> None:
        """As the faults of a judge's server ask for."""
        self._send(status, json.dumps(body).encode(), **headers)

    def _send(self, status: int, content: bytes, **headers: str) -> None:
        self.send_response(status)
        for name, value in headers.items():
            self.send_header(name, value)
        self.send_header("Content-Length", str(len(content)))
        self.end_headers()
        self.wfile.write(content)
