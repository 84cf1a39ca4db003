"""The name, the licence and the history of a base model, as far as they are known."""

from __future__ import annotations

import re
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from huggingface_hub import hf_hub_download, metadata_load
from yaml import YAMLError

from sparring.models.config import EMBEDDED, ModelConfig

_HOW = "How it was trained"
_HOW_OF_BASE = "How its base, {name}, was trained"
_LICENSE_FIELDS = ("license", "license_name", "license_link")


@dataclass(frozen=True, kw_only=True)
class Origin:
    """The origin of a model.

    Attributes:
        name: Its name for others; of a local folder only the last part, since the rest is private.
        hub_id: Its Hugging Face id, if it has one.
        license: The fields `license`, `license_name` and `license_link` of its card, as far as it has them.
        made_from: The `base_model` of its card: the Hugging Face id of the model that it was made from.
        trained: The sections on training of its card, if `sparring export` wrote it; of a chain of runs, the last one's
            first.
        note: Anything else that a user should know about its weights.
    """

    name: str
    hub_id: str | None = None
    license: dict[str, Any] = field(default_factory=dict)
    made_from: str | None = None
    trained: str = ""
    note: str = ""


def origin(config: ModelConfig) -> Origin:
    """The origin of the model that a configuration names, without the facts that its card lacks or that are unreadable.

    The card of a local folder is its README.md; that of a Hugging Face id is downloaded if it is not here yet.
    """
    if config.name == EMBEDDED:
        # Its GGUF file says `general.license = apache-2.0`.
        return Origin(
            name="SmolLM2-135M-Instruct",
            hub_id="HuggingFaceTB/SmolLM2-135M-Instruct",
            license={"license": "apache-2.0"},
            note="Its weights were read from a 4-bit file (Q4_1), so they are not quite those of the hub.",
        )
    folder = Path(config.name).expanduser()
    if folder.is_dir():
        return _of_card(folder / "README.md", name=folder.absolute().name, hub_id=None)
    try:
        card = hf_hub_download(config.name, "README.md", revision=config.revision)
    except (OSError, ValueError):
        return Origin(name=config.name, hub_id=config.name)
    return _of_card(Path(card), name=config.name, hub_id=config.name)


def _of_card(card: Path, *, name: str, hub_id: str | None) -> Origin:
    try:
        data: dict[str, Any] = (metadata_load(card) if card.is_file() else None) or {}
    except (ValueError, YAMLError):
        data = {}
    made_from, ours = data.get("base_model"), "sparring" in (data.get("tags") or [])
    return Origin(
        name=name,
        hub_id=hub_id,
        license={each: data[each] for each in _LICENSE_FIELDS if data.get(each)},
        made_from=made_from if isinstance(made_from, str) else None,
        trained=_trained(card.read_text(encoding="utf-8"), name) if ours else "",
    )


def _trained(card: str, name: str) -> str:
    """The sections on training of a card that `sparring export` wrote; the first is named after its model."""
    sections = [part.strip() for part in re.split(r"(?m)^## ", card)[1:]]
    named = [part.replace(_HOW, _HOW_OF_BASE.format(name=name), 1) for part in sections if part.startswith(_HOW)]
    earlier = [part for part in sections if part.startswith(_HOW_OF_BASE.partition("{")[0])]
    return "\n\n".join(f"## {part}" for part in (*named, *earlier))
