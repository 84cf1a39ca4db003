"""A whole run whose responses come from endpoints: two iterations, weights swapped, one endpoint killed on the way."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from types import SimpleNamespace

import pytest
from pyarrow import parquet

from completions_server import CompletionsServer
from tiny_engine import TinyEngine

Cli = Callable[..., SimpleNamespace]
Config = Callable[..., Path]


def generation(*servers: CompletionsServer) -> dict[str, object]:
    pool = {"endpoints": [each.url for each in servers], "concurrency": 2, "retries": 1}
    return {"name": "server", "batch_size": 4} | pool


@pytest.mark.parametrize("lora", [None, {"r": 4}], ids=["full", "lora"])
def test_a_run_on_endpoints(
    cli: Cli, tiny_config: Config, tiny_folder: Path, tmp_path: Path, lora: dict[str, int] | None
) -> None:
    dying = CompletionsServer(TinyEngine(tiny_folder, keeps_head=True))
    living = CompletionsServer(TinyEngine(tiny_folder, keeps_head=True))
    complete = dying.completion

    def die(body: dict[str, object], fault: str) -> tuple[int, object]:
        dying.down = len(dying.served) > 20
        return (500, {}) if dying.down else complete(body, fault)

    dying.completion = die  # type: ignore[method-assign]
    with dying.running(), living.running():
        done = cli("train", tiny_config(generation=generation(dying, living), lora=lora, warmup=None))
    assert done.returncode == 0, done.stderr
    assert dying.down
    assert living.served
    rows = [
        row
        for shard in (tmp_path / "run" / "iterations").glob("*/samples/*.parquet")
        for row in parquet.read_table(shard).to_pylist()
    ]
    assert len(rows) == 24
    assert {row["generator"] for row in rows} == {"server"}
    if lora is None:
        loaded = [body["kwargs"]["weights_path"] for _, body in living.calls if body.get("method") == "reload_weights"]
        assert [Path(each).parent.name for each in loaded if each != str(tiny_folder)] == ["000", "001"]
        assert any(body.get("method") == "repack_head" for _, body in living.calls)
    else:
        assert (
            len({body["lora_name"] for route, body in living.calls if route == "/v1/load_lora_adapter" and body}) == 2
        )


def test_all_endpoints_die_and_the_run_goes_on_elsewhere(
    cli: Cli, tiny_config: Config, tiny_folder: Path, tmp_path: Path
) -> None:
    """Endpoints are no part of the result, so a resumed run may name others."""
    first, second = CompletionsServer(TinyEngine(tiny_folder)), CompletionsServer(TinyEngine(tiny_folder))
    complete = first.completion

    def die(body: dict[str, object], fault: str) -> tuple[int, object]:
        first.down = len(first.served) > 10
        return (500, {}) if first.down else complete(body, fault)

    first.completion = die  # type: ignore[method-assign]
    config = tiny_config(generation=generation(first), warmup=None, iterations=1)
    with first.running(), second.running():
        done = cli("train", config)
        assert done.returncode == 1
        assert "no endpoint answers any more" in done.stderr
        assert "sparring resume RUN" in done.stderr
        stored = tmp_path / "run" / "config.yaml"
        stored.write_text(stored.read_text().replace(first.url, second.url))
        done = cli("resume", tmp_path / "run")
    assert done.returncode == 0, done.stderr
    assert 0 < len(second.served) < 12 + 3 * 8
