"""What a base model is called and under which terms it comes, as far as that is known."""

from __future__ import annotations

from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from huggingface_hub import hf_hub_download, metadata_load
from yaml import YAMLError

from sparring.models.config import EMBEDDED, ModelConfig

_LICENSE_FIELDS = ("license", "license_name", "license_link")


@dataclass(frozen=True, kw_only=True)
class Origin:
    """Where a model comes from.

    Attributes:
        name: What people call it; of a local folder the last part alone, for the rest is nobody's business.
        hub_id: Its Hugging Face id, where it has one.
        license: The fields `license`, `license_name` and `license_link` of its card, those that it has.
        note: What else a user should know of its weights.
    """

    name: str
    hub_id: str | None = None
    license: dict[str, Any] = field(default_factory=dict)
    note: str = ""


def origin(config: ModelConfig) -> Origin:
    """The origin of the model that a configuration names; what its card does not say, or cannot be read, is left out.

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
        return Origin(name=folder.absolute().name, license=_license(folder / "README.md"))
    try:
        card = hf_hub_download(config.name, "README.md", revision=config.revision)
    except (OSError, ValueError):
        return Origin(name=config.name, hub_id=config.name)
    return Origin(name=config.name, hub_id=config.name, license=_license(Path(card)))


def _license(card: Path) -> dict[str, Any]:
    try:
        data = metadata_load(card) if card.is_file() else None
    except (ValueError, YAMLError):
        data = None
    return {name: data[name] for name in _LICENSE_FIELDS if data.get(name)} if data else {}
