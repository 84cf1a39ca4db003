"""The disk use that `plan` foretells is that of the run."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from a_run import a_config
from sparring.planning.disk import Disk
from sparring.planning.plan import plan
from sparring.selfplay import loop
from sparring.selfplay.retention import retain
from tiny import tiny_model, tiny_tokenizer

LIMIT = {"source": "arithmetic", "limit": 8, "held_out": 2, "max_response_tokens": 12}
SETTINGS: dict[str, Any] = {
    "data": LIMIT,
    "generation": {"batch_size": 24},
    "training": {"learning_rate": 1e-3, "per_device_train_batch_size": 8, "max_steps": 2, "save_steps": 1},
    "iterations": 2,
    "stop": {"enabled": False},
}


@pytest.fixture(scope="module")
def wide(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A model whose weights are large beside the tokenizer and the footers of small files."""
    folder = tmp_path_factory.mktemp("wide")
    tiny_model(hidden_size=256, intermediate_size=256, num_attention_heads=4).save_pretrained(folder)
    tiny_tokenizer().save_pretrained(folder)
    return folder


def size(paths: Iterator[Path]) -> int:
    return sum(path.stat().st_size for path in paths if path.is_file())


@pytest.mark.parametrize(
    ("lora", "keep", "models"),
    [(None, {}, 2), ({"r": 64}, {"models": 1, "samples": 0}, 2)],
    ids=["full", "lora, sparing"],
)
def test_the_disk_use_foretold_is_that_of_the_run(
    wide: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, lora: Any, keep: Any, models: int
) -> None:
    config = a_config(wide, tmp_path / "run", **SETTINGS, lora=lora, keep=keep)
    foretold: Disk = plan(config, calibrated=False).disk
    seen: list[int] = []
    checkpoints: list[int] = []

    def look(*args: Any, **kwargs: Any) -> None:
        seen.append(size((tmp_path / "run").glob("*/*/model/*.safetensors")))
        retain(*args, **kwargs)

    monkeypatch.setattr(loop, "retain", look)
    from sparring.selfplay.stages import train

    removed = train.remove

    def weigh(path: Path) -> None:
        checkpoints.append(size(path.rglob("*")))
        removed(path)

    monkeypatch.setattr(train, "remove", weigh)
    loop.run(config)
    # Where little is kept, the best policy, which is the base model here, is foretold as one more.
    assert foretold.peak.models / 2 <= max(seen) <= foretold.peak.models * 1.02
    left = list((tmp_path / "run").glob("*/*/model/*.safetensors"))
    # The best policy may be among the last.
    assert models - 1 <= len(left) <= models
    assert size(iter(left)) <= foretold.end.models * 1.02
    # Two are there at once for a moment only; at the end there is one, with a tokenizer and other small files.
    assert max(checkpoints) == pytest.approx(foretold.peak.checkpoints / 2, rel=0.1)
    samples = size((tmp_path / "run").glob("iterations/*/s*/*.parquet"))
    assert samples == 0 if keep else samples > foretold.end.samples > 0
    assert foretold.end.checkpoints == 0
