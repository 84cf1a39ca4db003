"""The tokens at which a model's folder says that a response ends: read, and written after training."""

from __future__ import annotations

from collections.abc import Collection
from pathlib import Path
from typing import Any

from transformers import GenerationConfig

from sparring.errors import InputError, in_a_line
from sparring.models.config import ModelConfig
from sparring.models.loading import load_config, origin_of, resolve
from sparring.models.quiet import quiet_transformers

_OF_SAMPLING = ("temperature", "top_k", "top_p", "min_p", "typical_p")
_NO_SAMPLING = ("transformers_version", "use_cache", "max_length", "max_new_tokens", "return_dict_in_generate")


def end_ids(config: ModelConfig) -> frozenset[int]:
    """Every token that the model's own `generate` would stop at: all ids of `generation_config.eos_token_id`.

    If the folder has no generation_config.json, those of the model's configuration, as in transformers.

    Raises:
        InputError: The file cannot be read.
    """
    model_config, path = load_config(config), resolve(config.name)
    with quiet_transformers():
        try:
            found = GenerationConfig.from_pretrained(path, **origin_of(config))
        except Exception as error:
            # A file of another person may raise any error in transformers.
            if (Path(path) / "generation_config.json").exists():
                problem = f"generation_config.json cannot be read ({in_a_line(error)})"
                raise InputError(problem, where=path, fix="mend or remove the file") from error
            found = GenerationConfig.from_model_config(model_config)
    return ends_of(found)


def tell_endings(model: Any, stop_ids: Collection[int]) -> None:
    """Writes the tokens that end a response into a model's configurations, for later samplers of other programs.

    Args:
        model: A causal language model of transformers.
        stop_ids: The tokens that it was trained to end with, or stops at.
    """
    if ids := sorted({*stop_ids, *ends_of(model.generation_config)}):
        model.generation_config.eos_token_id = model.config.eos_token_id = ids[0] if len(ids) == 1 else ids
    mend_sampling(model)


def mend_sampling(model: Any) -> None:
    """Mends the sampling settings that a model came with, so that it can be saved with them.

    Settings of sampling without `do_sample` have no effect, and no model can be saved with them, so it is set. A
    temperature of 0, which `generate` refuses, is replaced by what it means: no sampling.

    Args:
        model: A causal language model of transformers.
    """
    settings = model.generation_config
    if settings.temperature == 0:
        settings.update(do_sample=False, **dict.fromkeys(_OF_SAMPLING))
    with quiet_transformers():
        try:
            settings.validate(strict=True)
        except ValueError:
            settings.do_sample = True
        try:
            settings.validate(strict=True)
        except ValueError:
            # Settings that still contradict each other are dropped, since nobody could follow them.
            model.generation_config = GenerationConfig.from_model_config(model.config)
            model.generation_config.eos_token_id = settings.eos_token_id


def sampling_settings(settings: GenerationConfig) -> dict[str, object]:
    """The settings for `generate` other than token ids and lengths, such as a temperature or a penalty."""
    return {
        name: value
        for name, value in settings.to_diff_dict().items()
        if not name.startswith(("_", "output_")) and not name.endswith("token_id") and name not in _NO_SAMPLING
    }


def ends_of(settings: GenerationConfig | None) -> frozenset[int]:
    """The tokens at which `generate` stops with these settings; empty if they name none.

    Raises:
        InputError: They name something that is no token id.
    """
    ids: Any = None if settings is None else settings.eos_token_id
    named = [] if ids is None else ids if isinstance(ids, list | tuple) else [ids]
    if not all(type(each) is int and 0 <= each < 2**31 for each in named):
        problem = f"eos_token_id of generation_config.json must be a token's number, or several, got {str(ids)[:80]}"
        raise InputError(problem, where="model.name", fix="mend or remove the file")
    return frozenset(named)
