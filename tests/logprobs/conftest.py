"""What is said once a process is said once a test."""

import pytest

from sparring.logprobs import layout


@pytest.fixture(autouse=True)
def _nothing_was_said(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(layout, "_said", set())
