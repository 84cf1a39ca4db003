"""All that a run computed, so that two runs can be compared bit by bit."""

from __future__ import annotations

import hashlib
import json
from collections.abc import Collection
from pathlib import Path

from pyarrow import parquet
from safetensors.torch import load_file


def weights_digest(folder: Path) -> str:
    digest = hashlib.sha256()
    for file in sorted(folder.glob("*.safetensors")):
        for name, tensor in sorted(load_file(file).items()):
            digest.update(name.encode())
            digest.update(tensor.numpy().tobytes())
    return digest.hexdigest()


def contents(run: Path, *, without: Collection[str] = ()) -> dict[str, object]:
    """All that a run computed, but some files: samples, scores, weights, evaluations and findings, by path."""
    found: dict[str, object] = {}
    for path in sorted(run.rglob("*")):
        name = str(path.relative_to(run))
        if name in without:
            continue
        if path.suffix == ".parquet":
            found[name] = parquet.read_table(path).to_pylist()
        elif path.name == "model":
            found[name] = weights_digest(path)
        elif path.name in {"evaluation.json", "stability.json"}:
            found[name] = json.loads(path.read_text())
    return found
