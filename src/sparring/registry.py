"""Builds a registered component from its name and options, with errors that say what to write instead.

A registry is a plain, visible dict from name to a frozen, keyword-only dataclass whose fields are its
options and whose `__post_init__` rejects nonsense.
"""

from __future__ import annotations

import dataclasses
import math
from collections.abc import Collection, Mapping
from typing import Any, TypeVar

from sparring.errors import InputError, did_you_mean

Component = TypeVar("Component")


def build(registry: Mapping[str, type[Component]], kind: str, name: str, options: Mapping[str, Any]) -> Component:
    """Returns `registry[name](**options)`.

    Args:
        registry: The dict that lists the components.
        kind: What they are, for the error message: "objective", "opponent", …
        name: The component's name.
        options: Its keyword arguments.

    Raises:
        InputError: The name or an option is unknown, or the component rejects a value.
    """
    if name not in registry:
        raise InputError(f"unknown {kind} '{name}'", where=f"{kind}.name", fix=did_you_mean(name, registry))
    component = registry[name]
    known = [field.name for field in dataclasses.fields(component) if field.init]  # type: ignore[arg-type]
    for option in options:
        if option not in known:
            fix = did_you_mean(option, known) if known else "it takes no options; remove it"
            raise InputError(f"{kind} '{name}' has no option '{option}'", where=f"{kind}.{option}", fix=fix)
    _check_options(component, kind, name, options)
    try:
        return component(**options)
    except (TypeError, ValueError) as error:
        raise InputError(str(error), where=f"{kind} '{name}'") from error


def _check_options(component: type, kind: str, name: str, options: Mapping[str, Any]) -> None:
    """Raises InputError where an option is missing that has no default, or a switch is neither true nor false."""
    for field in dataclasses.fields(component):
        required = field.init and field.default is field.default_factory is dataclasses.MISSING
        if required and field.name not in options:
            fix = f"add {field.name}: …, as `sparring recipes` and the reference do"
            raise InputError(f"{kind} '{name}' needs '{field.name}'", where=f"{kind}.{field.name}", fix=fix)
        value = options.get(field.name, False)
        # Annotations are text.
        if field.type == "bool" and not isinstance(value, bool):
            raise InputError(f"must be true or false, got {value!r}", where=f"{kind} '{name}', {field.name}")


def require_positive(name: str, value: float, why: str) -> None:
    """Raises ValueError unless `value` is a finite number above zero; `why` says what it would break."""
    number = isinstance(value, int | float) and not isinstance(value, bool)
    if not number or not math.isfinite(value) or value <= 0:
        raise ValueError(f"{name} must be a finite number > 0, got {value!r}: {why}")


def require_one_of(name: str, value: str, choices: Collection[str]) -> None:
    """Raises ValueError, naming the nearest choice, unless `value` is one of `choices`."""
    if not isinstance(value, str) or value not in choices:
        raise ValueError(f"{name} '{value}' is unknown; {did_you_mean(str(value), choices)}")
