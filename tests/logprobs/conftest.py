"""One thread: on models this small, threads cost more than they bring, ten times more on a busy machine."""

import pytest
import torch

from sparring.logprobs import layout

torch.set_num_threads(1)


@pytest.fixture(autouse=True)
def _nothing_was_said(monkeypatch: pytest.MonkeyPatch) -> None:
    """What is said once a process is said once a test."""
    monkeypatch.setattr(layout, "_said", set())
