"""The live report: what it serves, to whom, and when it is built anew."""

from __future__ import annotations

import http.client
import json
import threading
from collections.abc import Iterator
from contextlib import closing
from pathlib import Path

import pytest

from reports.whole_run import write_run, write_stage
from sparring.errors import InputError
from sparring.reports.run import run_page
from sparring.reports.summary import summarize
from sparring.reports.watch import LivePage, server
from sparring.run_directory import RunDirectory


class Served:
    def __init__(self, folder: Path) -> None:
        self.built = 0
        self.directory = write_run(folder, ended=False, iterations=1)
        self.live = LivePage([folder], self._build)
        self.server = server(self.live, 0)
        threading.Thread(target=self.server.serve_forever, kwargs={"poll_interval": 0.01}, daemon=True).start()

    def _build(self):
        self.built += 1
        return run_page(summarize(self.directory.path))

    def get(self, path: str, **headers: str) -> tuple[int, str]:
        with closing(http.client.HTTPConnection(*self.server.server_address, timeout=10)) as connection:
            connection.request("GET", path, headers=headers)
            response = connection.getresponse()
            return response.status, response.read().decode()


@pytest.fixture
def served(tmp_path: Path) -> Iterator[Served]:
    it = Served(tmp_path / "run")
    yield it
    it.server.shutdown()
    it.server.server_close()


def test_only_this_machine_is_served_and_only_by_its_own_name(served: Served) -> None:
    assert served.server.server_address[0] == "127.0.0.1"
    assert served.get("/")[0] == 200
    assert served.get("/", Host="evil.example:80")[0] == 403
    assert served.get("/config.yaml")[0] == 404
    assert served.get("/../secret")[0] == 404


def test_news_come_when_the_run_went_on_and_not_before(served: Served) -> None:
    page = served.live.current()
    assert f'data-live="{page.version}"' in served.get("/")[1]
    ask = f"/news?version={page.version}&answers={page.answers_version}"
    assert served.get(ask) == (204, "")
    # What no report reads changes nothing.
    (served.directory.iteration(1).model).mkdir(parents=True)
    (served.directory.iteration(1).model / "weights").write_text("x")
    assert served.get(ask) == (204, "")
    assert served.built == 1
    write_stage(served.directory.iteration(1), 3)
    status, text = served.get(ask)
    news = json.loads(text)
    assert status == 200
    assert "2 of 2 iterations are measured" in news["main"]
    # The samples are as they were, so they are not sent again.
    assert "answers" not in news
    assert json.loads(served.get("/news?version=old&answers=old")[1])["answers"] == page.answers
    assert served.built == 2


def test_a_run_that_cannot_be_read_for_a_moment_does_not_end_the_server(served: Served) -> None:
    manifest = served.directory.manifest.read_text()
    served.directory.manifest.unlink()
    status, text = served.get("/")
    assert status == 503
    assert "this is not a run directory" in text
    RunDirectory(served.directory.path).manifest.write_text(manifest)
    assert served.get("/")[0] == 200


def test_a_port_that_is_taken_is_refused(served: Served) -> None:
    with pytest.raises(InputError, match="cannot be used"):
        server(served.live, served.server.server_address[1])
