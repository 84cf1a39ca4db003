"""What is said of data that are wrong."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest

from sparring.data import DataConfig, load
from sparring.errors import InputError

GOOD = '{"prompt": "q", "response": "a"}'
SKIP = "; or leave out that row with data.skip_invalid: true"


def failure(path: Path, **settings: Any) -> str:
    """The error of loading a file, "…" in place of its path."""
    with pytest.raises(InputError) as caught:
        load(DataConfig(**{"source": str(path), "held_out": 0, **settings}), 0)
    return str(caught.value).replace(str(path), "…")
