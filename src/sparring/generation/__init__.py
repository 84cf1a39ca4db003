"""Who samples the responses.

A generator turns prompts as token ids into `Sample`s, whole prompts at a time: batch i depends on the seed and on
i alone, so a stage that was killed goes on at the first batch that is missing. To add one: write a module with a
class that has `plan` and `sample`, list it in `GENERATORS`, and name it in `GenerationConfig`.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from sparring.generation.config import GenerationConfig

if TYPE_CHECKING:
    from sparring.generation.protocol import Generator

__all__ = ["GENERATORS", "GenerationConfig", "generator"]

# Modules by name, imported when first used: they pull in heavy libraries.
GENERATORS: dict[str, str] = {
    "transformers": "sparring.generation.transformers:TransformersGenerator",
}


def generator(config: GenerationConfig, **parts: Any) -> Generator:
    """The generator that `config.name` names, built from its settings and the parts it needs."""
    import importlib

    module, name = GENERATORS[config.name].split(":")
    built: Generator = getattr(importlib.import_module(module), name)(config, **parts)
    return built
