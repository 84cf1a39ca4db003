"""Fixtures that more than one room needs."""

from __future__ import annotations

from pathlib import Path

import pytest
import torch

from tiny import save_tiny

# Tiny models gain nothing from threads, and lose much to them on a busy machine.
torch.set_num_threads(1)


@pytest.fixture(scope="session")
def tiny_folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The tiny model and tokenizer, saved."""
    return save_tiny(tmp_path_factory.mktemp("tiny") / "model")
