"""Generators sample the responses.

A generator turns prompts as token ids into `Sample`s, whole prompts at a time. Batch i depends only on the seed and on
i, so a stage that was killed goes on at the first missing batch. The generator `transformers` samples from the model in
memory:

    transformers.py     the generator
    rows.py             the decoding loop over rows that end, leave and make room for others
    readers.py          runs the model on the rows: with `row_cache.py`, with the model's own cache, or without one
    decoding.py         the ways of decoding; `proof.py` finds the fastest that is right for a model
    draws.py            draws a token from logits
    mixture.py          decodes the geometric mixture of policy and base model
    products.py         faster matrix products on a processor

The generators `vllm` and `server` are one class (`engines.py`) over an *engine*, which has its own copy of the weights:
it is given each policy as a folder and must prove that it plays it (`weights.py`). Another engine is a module with a
class of the protocols `Engine` and `EngineClass`; its settings name it as their `engine`.

To add a generator:

- write a module with a class that has `of`, `plan` and `sample`;
- in `config.py`, write the class of its settings, which states where the generator is and the facts that a run needs,
  and list it in `GENERATORS` and in the union beside it;
- give it a row in tests/conformance/generators.py, and in `reachable` beside it what it needs in order to run;
- give it a row in docs/generators.md.
"""

from __future__ import annotations

import importlib
from collections.abc import Callable
from typing import TYPE_CHECKING, Any

from sparring.errors import InputError
from sparring.generation.config import GENERATORS, AnyGenerationConfig, GenerationConfig, generation_config

if TYPE_CHECKING:
    from sparring.generation.engines import EngineGenerator
    from sparring.generation.protocol import Engine, EngineClass, EngineModel, Generator, GeneratorClass, GeneratorParts
    from sparring.generation.server import ServerEngine
    from sparring.generation.transformers import TransformersGenerator
    from sparring.generation.vllm import VllmEngine

    # The classes are imported by name; here the type checker sees that they fit the protocols.
    _GENERATORS: tuple[GeneratorClass, ...] = (TransformersGenerator, EngineGenerator)
    _ENGINES: tuple[EngineClass, ...] = (VllmEngine, ServerEngine)

__all__ = [
    "GENERATORS",
    "AnyGenerationConfig",
    "GenerationConfig",
    "engine",
    "generation_config",
    "generator",
    "generator_class",
    "names",
]


def generator(config: GenerationConfig, parts: GeneratorParts) -> Generator:
    """The generator that `config.name` names, built from its settings and the objects of the run.

    Raises:
        InputError: As `generator_class`.
    """
    return generator_class(config).of(config, parts)


def generator_class(config: GenerationConfig) -> GeneratorClass:
    """The class of the generator that `config.name` names.

    Raises:
        InputError: It is the user's own, and cannot be imported or is no generator.
    """
    if config.code is None:
        found: GeneratorClass = _find(config.made_by)
        return found
    try:
        own = _find(config.code)
    except Exception as error:  # a module runs when it is imported, and may fail in any way
        problem = f"the generator '{config.code}' cannot be imported ({type(error).__name__}: {error})"
        fix = "write package.module:Class, not a path; put its folder on PYTHONPATH; and check that it imports"
        raise InputError(problem, where="generation.name", fix=fix) from error
    missing = [name for name in ("of", "plan", "sample") if not callable(getattr(own, name, None))]
    if missing:
        problem = f"'{config.code}' is no generator: it has no {' and no '.join(missing)}"
        raise InputError(problem, where="generation.name", fix="name a class with of, plan and sample")
    checked: GeneratorClass = own
    return checked


def engine(config: GenerationConfig, model: Callable[[], EngineModel]) -> Engine | None:
    """The engine of the generator that `config.name` names, or None where it samples from the policy itself.

    Raises:
        InputError: It cannot sample: a package is missing, or no endpoint answers.
    """
    if config.engine is None:
        return None
    kind: EngineClass = _find(config.engine)
    built = kind.of(config, model())
    built.check()
    return built


def names(able: Callable[[type[GenerationConfig]], bool]) -> str:
    """The names of the generators for which `able` is true, for an error that says what to set."""
    return " or ".join(name for name, kind in GENERATORS.items() if able(kind))


def _find(path: str) -> Any:
    module, name = path.split(":")
    return getattr(importlib.import_module(module), name)
