"""Checks that the weights in a model's files are those that its configuration describes."""

from __future__ import annotations

import re
from collections.abc import Collection, Iterable, Mapping
from contextlib import suppress
from pathlib import Path
from typing import Any

from safetensors import SafetensorError, safe_open

from sparring.errors import InputError
from sparring.progress import console

_SHOWN = 3
# The names that safetensors has for formats in which a number needs no separate scale.
_PLAIN = ("F64", "F32", "F16", "BF16")


def check_loaded(report: Mapping[str, Collection[Any]], path: str, *, optional: tuple[str, ...], whole: bool) -> None:
    """Refuses a model that lacks weights, and names the weights in its files that it has no place for.

    transformers would fill missing weights with random numbers, leave out superfluous ones, and only log it.

    Args:
        report: The report of `from_pretrained` on the loading.
        path: The model's folder or name.
        optional: The beginnings of the names of weights that may be missing.
        whole: Whether it should have a place for all weights in the files; a model without its head has not.

    Raises:
        InputError: Weights are missing, or have another shape than the configuration says.
    """
    others = sorted(report["mismatched_keys"])
    if others:
        name, held, described = others[0]
        shapes = f"{list(held)} in the file, {list(described)} by config.json"
        problem = f"{len(others)} weights have another shape than config.json says, such as {name}: {shapes}"
        raise InputError(problem, where=path, fix="take config.json and weights that belong together")
    missing = sorted(name for name in report["missing_keys"] if not name.startswith(optional))
    if missing:
        problem = f"{len(missing)} weights are missing ({', '.join(missing[:_SHOWN])})"
        raise InputError(problem, where=path, fix="save the whole model again with `save_pretrained`")
    left = sorted(report["unexpected_keys"]) if whole else []
    if left:
        shown = ", ".join(left[:_SHOWN]) + (", …" if len(left) > _SHOWN else "")
        console.print(
            f"warning: {path}: its config.json has no place for {len(left)} of the weights in its files, which are "
            f"left out ({shown}): where they belong to the model, mend config.json"
        )


def check_formats(settings: Any, files: Iterable[Path]) -> None:
    """Refuses weights in few bits if the configuration does not say how they were quantised.

    transformers would take the bits for the weights themselves, without their scales.

    Args:
        settings: The model's configuration.
        files: The files of its weights.

    Raises:
        InputError: There are such weights. A file that cannot be read is left to transformers, which says so.
    """
    if getattr(settings, "quantization_config", None) is not None:
        return
    for file in files:
        with suppress(SafetensorError), safe_open(file, framework="pt") as weights:
            for name in weights.keys():  # noqa: SIM118 - it is no mapping
                held = weights.get_slice(name).get_dtype()
                # Old files hold masks and positions of other types beside the weights, but none of few bits.
                if held not in _PLAIN and (name.endswith(".weight") or held.startswith("F")):
                    problem = f"the weight '{name}' is held in {held}, and config.json has no quantization_config"
                    fix = "take config.json and weights that belong together, or the model before it was quantised"
                    raise InputError(problem, where=str(file), fix=fix)


def plain_outputs(model: Any) -> None:
    """Makes a model's forward pass return a named result without attentions, whatever its configuration says.

    With `output_attentions` no model can be saved unless its attention is eager, and without `return_dict` the families
    of transformers fail on their own outputs.

    Args:
        model: The model; its configurations are changed.
    """
    for config in {id(each): each for each in (model.config, model.config.get_text_config())}.values():
        config.output_attentions = config.output_hidden_states = False
        config.return_dict = True


def tell_zeros(model: Any, path: str) -> None:
    """Names the matrices of a model that hold nothing but zeros, as an interrupted download leaves them.

    Args:
        model: The model.
        path: Its folder or name.
    """
    empty = [name for name, weight in model.named_parameters() if weight.ndim > 1 and not weight.any()]
    if empty:
        shown = ", ".join(empty[:_SHOWN]) + (", …" if len(empty) > _SHOWN else "")
        console.print(
            f"warning: {path}: {len(empty)} of the model's matrices are nothing but zeros ({shown}): where that is not "
            "on purpose, its files were not written to their end; take another copy"
        )


def tell_untied(model: Any) -> None:
    """Writes into a model's configuration that its head is not its embedding, if its files hold two that differ.

    transformers reads both, whatever the configuration says; other tools follow the configuration, and would use the
    embedding as the head once the model is saved.

    Args:
        model: A causal language model of transformers.
    """
    head, embedding = model.get_output_embeddings(), model.get_input_embeddings()
    if head is not None and getattr(head, "weight", None) is not embedding.weight:
        for config in {id(each): each for each in (model.config, model.config.get_text_config())}.values():
            config.tie_word_embeddings = False


def tell_left_out(model: Any, files: Iterable[Path], path: str) -> None:
    """Names the weights of a model's files that its family ignores, so that a saved copy will lack them.

    transformers does not report them: layers that predict several tokens at once, or that read images.

    Args:
        model: The model.
        files: The files of its weights.
        path: Its folder or name.
    """
    patterns = model._keys_to_ignore_on_load_unexpected or ()  # noqa: SLF001 - there is no public way to read it
    modules = {name for name, _ in model.named_modules()}
    left = []
    for file in files if patterns else ():
        with safe_open(file, framework="pt") as weights:
            for name in weights.keys():  # noqa: SIM118 - it is no mapping
                # Experts are one module in memory; masks and the like belong to a module that exists.
                owner = name.partition(".experts.")[0] if ".experts." in name else name.rpartition(".")[0]
                if owner not in modules and any(re.search(pattern, name) for pattern in patterns):
                    left.append(name)
    if left:
        shown = ", ".join(sorted(left)[:_SHOWN]) + (", …" if len(left) > _SHOWN else "")
        console.print(
            f"warning: {path}: transformers leaves out {len(left)} weights of the model's files ({shown}): layers "
            "that predict several tokens at once, say, or what reads images. Policies and exports lack them"
        )
