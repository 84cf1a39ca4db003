"""A campaign has its process to itself, and turns clocks and consoles; in a test they are put back."""

from __future__ import annotations

from collections.abc import Iterator

import pytest

from sparring import web
from sparring.cli import output
from sparring.data import template
from sparring.generation import server
from sparring.judges import chat, waiting

TURNED = (
    (web, "LARGEST"),
    (output, "out"),
    (output, "Terminal"),
    (template, "_SECONDS"),
    (server, "_PAUSES"),
    (chat, "_PAUSES"),
    (waiting, "console"),
)


@pytest.fixture(autouse=True)
def put_back() -> Iterator[None]:
    before = [(module, name, getattr(module, name)) for module, name in TURNED]
    yield
    for module, name, value in before:
        setattr(module, name, value)
