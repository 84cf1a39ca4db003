"""A real HTTP server on the loopback that keeps models as the Hugging Face hub does: create, preupload, LFS, commit."""

from __future__ import annotations

import base64
import hashlib
import json
import re
import threading
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import Any

TOKEN = "hf_onlyForThisTest"


class RefusedError(Exception):
    """An answer that is an error: status, message, and the code by which the client knows it."""


class Handler(BaseHTTPRequestHandler):
    server: HubServer
    protocol_version = "HTTP/1.1"

    def do_GET(self) -> None:
        self.answer("GET")

    def do_POST(self) -> None:
        self.answer("POST")

    def do_PUT(self) -> None:
        self.answer("PUT")

    def answer(self, method: str) -> None:
        hub, route = self.server, f"{method} {self.path.split('?')[0]}"
        body = self.rfile.read(int(self.headers.get("content-length", 0)))
        hub.requests.append(route)
        if any(re.search(pattern, route) for pattern in hub.cuts):
            self.close_connection = True
            return
        try:
            # A storage server is sent no token: its addresses are signed.
            if not route.startswith("PUT /lfs/") and self.headers.get("authorization") != f"Bearer {TOKEN}":
                raise RefusedError(401, f"Invalid credentials: {self.headers.get('authorization')}", "")
            for pattern, answer in ROUTES.items():
                if found := re.fullmatch(pattern, route):
                    self.reply(200, answer(hub, body, *found.groups()))
                    return
            raise RefusedError(404, f"no route {route}", "")
        except RefusedError as refusal:
            status, message, code = refusal.args
            self.reply(status, {"error": message}, code)

    def reply(self, status: int, body: object, code: str = "") -> None:
        data = json.dumps(body).encode()
        self.send_response(status)
        self.send_header("Content-Type", "application/json")
        if code:
            self.send_header("X-Error-Code", code)
        self.send_header("Content-Length", str(len(data)))
        self.end_headers()
        self.wfile.write(data)

    def log_message(self, *_: Any) -> None:
        """Nothing: a test reads `requests`."""


class HubServer(ThreadingHTTPServer):
    """What is on it.

    Attributes:
        repositories: The files of each, by path.
        private: Those that are.
        stored: What LFS has, by sha256.
        requests: What was asked for, in order.
        cuts: Patterns of requests whose connection is cut before an answer.
        forbidden: Owners for whom the token may not write.
    """

    daemon_threads = True

    def __init__(self) -> None:
        super().__init__(("127.0.0.1", 0), Handler)
        self.url = f"http://127.0.0.1:{self.server_port}"
        self.repositories: dict[str, dict[str, bytes]] = {}
        self.private: set[str] = set()
        self.stored: dict[str, bytes] = {}
        self.requests: list[str] = []
        self.cuts: list[str] = []
        self.forbidden: set[str] = set()

    def who(self, _: bytes) -> object:
        return {"type": "user", "name": "ada", "orgs": []}

    def model(self, _: bytes, name: str) -> object:
        if name not in self.repositories:
            raise RefusedError(404, "Repository not found", "RepoNotFound")
        files = [{"rfilename": path} for path in self.repositories[name]]
        return {"id": name, "private": name in self.private, "siblings": files}

    def create(self, body: bytes) -> object:
        asked = json.loads(body)
        name = f"{asked['organization']}/{asked['name']}"
        if asked["organization"] in self.forbidden:
            raise RefusedError(403, f"You don't have the rights to create a model under {asked['organization']}", "")
        self.repositories[name] = {}
        if asked["visibility"] == "private":
            self.private.add(name)
        return {"url": f"{self.url}/{name}"}

    def validate(self, body: bytes) -> object:
        assert json.loads(body)["content"].startswith("---\n")
        return {"errors": [], "warnings": []}

    def preupload(self, body: bytes, _: str) -> object:
        files = [file["path"] for file in json.loads(body)["files"]]
        modes = {True: "lfs", False: "regular"}
        return {
            "files": [
                {"path": path, "uploadMode": modes[path.endswith(".safetensors")], "shouldIgnore": False}
                for path in files
            ]
        }

    def batch(self, body: bytes, _: str) -> object:
        objects = json.loads(body)["objects"]
        upload = {each["oid"]: {"upload": {"href": f"{self.url}/lfs/{each['oid']}"}} for each in objects}
        return {"objects": [each | {"actions": upload[each["oid"]]} for each in objects]}

    def put(self, body: bytes, oid: str) -> object:
        assert hashlib.sha256(body).hexdigest() == oid
        self.stored[oid] = body
        return {}

    def commit(self, body: bytes, name: str) -> object:
        files = dict(self.repositories[name])
        for line in body.decode().splitlines():
            said = json.loads(line)
            match said["key"], said["value"]:
                case "file", value:
                    files[value["path"]] = base64.b64decode(value["content"])
                case "lfsFile", value:
                    files[value["path"]] = self.stored[value["oid"]]
                case "deletedFile", value:
                    del files[value["path"]]
        self.repositories[name] = files
        return {"commitUrl": f"{self.url}/{name}/commit/1234", "commitOid": "1234"}


ROUTES: dict[str, Callable[..., object]] = {
    r"GET /api/whoami-v2": HubServer.who,
    r"GET /api/models/(\w+/\w+)": HubServer.model,
    r"POST /api/repos/create": HubServer.create,
    r"POST /api/validate-yaml": HubServer.validate,
    r"POST /api/models/(\w+/\w+)/preupload/main": HubServer.preupload,
    r"POST /(\w+/\w+)\.git/info/lfs/objects/batch": HubServer.batch,
    r"PUT /lfs/(\w+)": HubServer.put,
    r"POST /api/models/(\w+/\w+)/commit/main": HubServer.commit,
}


@contextmanager
def serving() -> Iterator[HubServer]:
    with HubServer() as server:
        thread = threading.Thread(target=server.serve_forever, kwargs={"poll_interval": 0.01})
        thread.start()
        try:
            yield server
        finally:
            server.shutdown()
            thread.join()
