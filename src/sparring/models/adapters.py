"""The effect of a LoRA configuration on a model, found out on the model's shapes, before any weights are loaded."""

from __future__ import annotations

import copy
import inspect
import re
import warnings
from collections.abc import Iterator
from dataclasses import dataclass
from functools import cache
from typing import Any

import torch
from torch import nn
from transformers import AutoModelForCausalLM

from sparring.errors import InputError, in_a_line
from sparring.models.quiet import making_models

# Kinds of weights by parts of their names; the first that fits counts. The embedding and the head are found otherwise.
_KINDS = {
    "routers": ("router", ".gate.weight", "expert_gate"),
    "shared experts": ("shared_expert",),
    "experts": ("expert",),
    "recurrent layers": ("mamba", "mixer", "ssm", "linear_attn", "recurrent", "rg_lru", "conv", "xlstm", "mlstm"),
    "attention": ("attn", "attention"),
    "MLP": ("mlp", "feed_forward", "ffn", "fc", "dense", "shared_transf"),
}
_PEFT_ERRORS = (ValueError, TypeError, RuntimeError, AttributeError, LookupError, NotImplementedError, ImportError)


@dataclass(frozen=True)
class Share:
    """The share of one kind of weights that an adapter changes.

    Attributes:
        kind: "attention", "MLP", "experts", "shared experts", "routers", "recurrent layers", "embedding", "head" or
            "other".
        weights: The count of numbers in matrices of this kind.
        reached: The count of those in a matrix that the adapter changes.
    """

    kind: str
    weights: int
    reached: int


@dataclass(frozen=True)
class Adapter:
    """A LoRA configuration that fits a model.

    Attributes:
        config: Peft's `LoraConfig`, without layers that peft cannot adapt.
        shares: The shares of weights that it reaches, by kind.
        trained: The count of numbers that it trains.
        left_out: Linear layers that "all-linear" includes but peft cannot adapt.
        parameters: Names of experts and MLPs that it leaves out, for `target_parameters`.
    """

    config: Any
    shares: tuple[Share, ...]
    trained: int
    left_out: tuple[str, ...] = ()
    parameters: tuple[str, ...] = ()

    def told(self) -> str:
        """A line or two for people about what it reaches and leaves out."""
        whole = sum(share.weights for share in self.shares) or 1
        parts = [_told(share, whole) for share in self.shares if share.weights]
        text = f"LoRA trains {self.trained:,} numbers; it reaches {', '.join(parts)}"
        if self.left_out:
            text += f"; left out, since peft cannot adapt them: {', '.join(self.left_out)}"
        if self.parameters:
            text += (
                f"; to reach the rest of experts and MLP, set lora.target_parameters: [{', '.join(self.parameters)}]"
            )
        return text


def _told(share: Share, whole: int) -> str:
    reached = {0: "no", share.weights: "all"}.get(share.reached, f"{100 * share.reached / share.weights:.0f} % of the")
    of_all = f" (where {100 * share.weights / whole:.0f} % of the weights are)" if share.reached < share.weights else ""
    return f"{reached} {share.kind}{of_all}"


def adapter_of(model_config: Any, lora: Any, *, trust_remote_code: bool = False) -> Adapter:
    """A LoRA configuration fitted to a model.

    "all-linear" leaves out the layers that peft cannot adapt: those whose weight the model reads directly, bypassing
    the adapter, and those that compute more than a product. If the configuration names such a layer, it is refused.

    Args:
        model_config: The model's own configuration.
        lora: Peft's `LoraConfig`.
        trust_remote_code: Whether code that the model brings along may run.

    Raises:
        InputError: Peft rejects it for this model; it would have no effect; or a merge would lose what it trains, since
            it reaches weights that several parts of the model share, copies layers, or adds weights that the model has
            no place for.
    """
    if lora.layer_replication:
        raise InputError(
            "copies of layers share their weights, and what was trained on them cannot be saved as a model",
            where="lora.layer_replication",
            fix="leave it out",
        )
    model = _skeleton(model_config, trust_remote_code)
    weights, shared, unfit = dict(model.named_parameters()), _shared(model), _unfit(model)
    kinds = {name: _kind(model, name, weight) for name, weight in weights.items() if weight.ndim > 1}
    everything = lora.target_modules == "all-linear"
    fitted = _without(lora, unfit) if everything and unfit else lora
    _check_parameters(lora, [*weights])
    adapted = _adapted(model, fitted)
    reached = {id(weight): name for name, weight in _reached(adapted)}
    _check_shared(reached, shared)
    _check_unfit(adapted, unfit)
    trained = {*reached, *(id(weight) for weight in _copied(adapted))}
    left = {name: kind for name, kind in kinds.items() if id(weights[name]) not in trained}
    count = sum(weight.numel() for weight in adapted.parameters() if weight.requires_grad)
    _check_merged(adapted)
    return Adapter(
        fitted,
        tuple(_share(kind, kinds, left, weights) for kind in (*_KINDS, "embedding", "head", "other")),
        count,
        _short(unfit) if everything else (),
        _named(left) if everything else (),
    )


def _share(kind: str, kinds: dict[str, str], left: dict[str, str], weights: dict[str, nn.Parameter]) -> Share:
    def count(names: dict[str, str]) -> int:
        return sum(weights[name].numel() for name, each in names.items() if each == kind)

    return Share(kind, count(kinds), count(kinds) - count(left))


def _skeleton(model_config: Any, trust_remote_code: bool) -> Any:
    """The model without weights."""
    with torch.device("meta"), making_models():
        return AutoModelForCausalLM.from_config(model_config, trust_remote_code=trust_remote_code)


def _shared(model: Any) -> dict[int, list[str]]:
    """The names of each weight that has several names."""
    found: dict[int, list[str]] = {}
    for name, weight in model.named_parameters(remove_duplicate=False):
        found.setdefault(id(weight), []).append(name)
    return {number: names for number, names in found.items() if len(names) > 1}


def _kind(model: Any, name: str, weight: nn.Parameter) -> str:
    ends = {"embedding": model.get_input_embeddings(), "head": model.get_output_embeddings()}
    for kind, module in ends.items():
        if module is not None and any(weight is each for each in module.parameters()):
            return kind
    if isinstance(model.get_submodule(name.rpartition(".")[0]), nn.Embedding):
        return "embedding"
    return next((kind for kind, parts in _KINDS.items() if any(part in name.lower() for part in parts)), "other")


def _unfit(model: Any) -> dict[str, str]:
    """Linear layers that an adapter does not fit, by name, and why."""
    found = {}
    for name, module in model.named_modules():
        for child, layer in module.named_children():
            if not isinstance(layer, nn.Linear):
                continue
            if not _is_product(layer):
                found[f"{name}.{child}".lstrip(".")] = "it computes something else than a product"
            elif child in _read_directly(module.__class__):
                found[f"{name}.{child}".lstrip(".")] = "its model reads the weight itself, past an adapter"
    return found


def _is_product(layer: nn.Linear) -> bool:
    if type(layer).forward is nn.Linear.forward:
        return True
    try:
        output = layer(torch.empty(2, layer.in_features, device="meta", dtype=layer.weight.dtype))
    except _PEFT_ERRORS:
        return False
    return isinstance(output, torch.Tensor) and output.shape == (2, layer.out_features)


@cache
def _read_directly(kind: type[nn.Module]) -> frozenset[str]:
    """Children of a module whose weights its own code reads directly: an adapter on them would have little effect."""
    try:
        lines = inspect.getsource(kind).splitlines()
    except (OSError, TypeError):
        return frozenset()
    # Code that reads only its type, initialises it, or slices it for tensor parallelism does not count.
    pattern = re.compile(r"self\.(\w+)\.weight\b(?!\[|\.(?:dtype|device|shape|size|ndim|data)\b)")
    return frozenset(name for line in lines if "init" not in line for name in pattern.findall(line))


def _without(lora: Any, unfit: dict[str, str]) -> Any:
    names = _short(unfit)
    given, fitted = lora.exclude_modules, copy.deepcopy(lora)
    if isinstance(given, str):
        pattern = "|".join(re.escape(name) for name in names)
        fitted.exclude_modules = rf"(?:{given})|(?:.*\.)?(?:{pattern})"
    else:
        fitted.exclude_modules = sorted({*(given or ()), *names})
    return fitted


def _short(names: dict[str, str]) -> tuple[str, ...]:
    """The names of a layer and its parent, which are the same in every layer of a model."""
    return tuple(sorted({".".join(name.split(".")[-2:]) for name in names}))


def _check_parameters(lora: Any, names: list[str]) -> None:
    for wanted in lora.target_parameters or ():
        if not any(name == wanted or name.endswith(f".{wanted}") for name in names):
            raise InputError(
                f"no weight of this model is called '{wanted}'",
                where="lora.target_parameters",
                fix="give the end of a name, such as experts.down_proj",
            )


def _adapted(model: Any, lora: Any) -> Any:
    from peft import get_peft_model

    try:
        with torch.device("meta"), warnings.catch_warnings():
            # The same warning comes again when the adapter is made.
            warnings.simplefilter("ignore")
            return get_peft_model(model, copy.deepcopy(lora))
    except _PEFT_ERRORS as error:
        raise InputError(
            f"peft cannot adapt this model so ({in_a_line(error)})",
            where="lora",
            fix="change lora.target_modules, or the field that it names",
        ) from error


def _reached(adapted: Any) -> Iterator[tuple[str, nn.Parameter]]:
    """The model's own weights that an adapter is added to, without those that are trained as copies."""
    from peft.tuners.lora import LoraLayer
    from peft.tuners.lora.layer import ParamWrapper

    for name, module in adapted.named_modules():
        if isinstance(module, ParamWrapper):
            yield name, module.get_param()
        elif isinstance(module, LoraLayer):
            yield from ((name, weight) for weight in module.get_base_layer().parameters() if weight.ndim > 1)


def _copied(adapted: Any) -> Iterator[nn.Parameter]:
    """The model's own weights that are trained as whole copies."""
    from peft.utils import ModulesToSaveWrapper

    for module in adapted.modules():
        if isinstance(module, ModulesToSaveWrapper):
            yield from module.original_module.parameters()


def _check_shared(reached: dict[int, str], shared: dict[int, list[str]]) -> None:
    """Raises InputError where merging an adapter into one part of a model would change another."""
    for number, name in reached.items():
        if number not in shared:
            continue
        others = ", ".join(shared[number][:3])
        raise InputError(
            f"an adapter on '{name.removeprefix('base_model.model.')}' reaches a weight that several parts of the "
            f"model share ({others}): merged, it would change them all, and be another policy than the one trained",
            where="lora.target_modules",
            fix="leave it out, or train a copy of it whole: name it in lora.modules_to_save",
        )


def _check_unfit(adapted: Any, unfit: dict[str, str]) -> None:
    from peft.tuners.lora import LoraLayer

    for name, module in adapted.named_modules():
        own = name.removeprefix("base_model.model.")
        if isinstance(module, LoraLayer) and own in unfit:
            raise InputError(
                f"an adapter on '{own}' would not work: {unfit[own]}",
                where="lora.target_modules",
                fix=f"leave {own.rpartition('.')[2]} out",
            )


def _check_merged(adapted: Any) -> None:
    """Raises InputError if peft cannot merge an adapter into its model, which must not be used afterwards."""
    try:
        adapted.merge_and_unload()
    except _PEFT_ERRORS as error:
        raise InputError(
            f"what is trained so cannot be merged into this model, or exported as one ({in_a_line(error)})",
            where="lora",
            fix="leave out the field that it names",
        ) from error


def _named(left: dict[str, str]) -> tuple[str, ...]:
    """The ends of the names of matrices of experts and MLPs that are left out."""
    # Of experts also bare parameters, but no biases.
    ends = {"experts": ("proj", "weight"), "shared experts": ("proj", "weight"), "MLP": ("weight",)}
    parts = [name.split(".") for name, kind in left.items() if kind in ends and name.endswith(ends[kind])]
    # The name of a layer's weight with its parent, since an MLP's layers have the names of an expert's.
    return tuple(sorted({".".join(part[-3 if part[-1] == "weight" else -2 :]) for part in parts}))
