"""Problems as files: what a campaign trains on, plays and holds out, with nothing in common."""

from __future__ import annotations

import json
from collections.abc import Iterable, Mapping
from pathlib import Path


def write(folder: Path, parts: Mapping[str, Iterable[tuple[str, str]]]) -> dict[str, Path]:
    """Writes prompts and right responses as JSON lines, a file a part, and says where each is."""
    folder.mkdir(parents=True, exist_ok=True)
    paths = {name: folder / f"{name}.jsonl" for name in parts}
    for name, rows in parts.items():
        lines = (json.dumps({"prompt": prompt, "response": response}) + "\n" for prompt, response in rows)
        paths[name].write_text("".join(lines), encoding="utf-8")
    return paths


def overrides(train: Path, held_out: Path, *, count: int, max_response_tokens: int) -> tuple[str, ...]:
    """What a configuration says of such files: no chat template, `count` held out, judged by the last number."""
    return (
        f"data.source={train}",
        "data.limit=null",
        f"data.held_out_source={held_out}",
        f"data.held_out={count}",
        "data.verifier=final-number",
        "data.chat_template=none",
        f"data.max_response_tokens={max_response_tokens}",
    )
