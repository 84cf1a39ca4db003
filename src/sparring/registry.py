"""Builds a registered component from its name and options, with errors that say what to write instead.

A registry is a plain, visible dict from names to frozen, keyword-only dataclasses, whose fields are their options and
whose `__post_init__` rejects nonsense. A name with a colon, `package.module:Class`, is the user's own component, which
is imported.
"""

from __future__ import annotations

import dataclasses
import math
import re
from collections.abc import Collection, Mapping
from typing import Any, TypeVar

from sparring.errors import InputError, did_you_mean
from sparring.option_types import as_declared, called, declared, fits
from sparring.own_code import is_own, own_class

Component = TypeVar("Component")


class Registry(dict[str, type[Component]]):
    """Components by name.

    Args:
        protocol: The protocol of all components, the user's own too.
        components: The registered components by name.
        meant: The settings to write for a component, by the name that other tools have for it.
    """

    def __init__(
        self, protocol: type, components: Mapping[str, type[Component]], *, meant: Mapping[str, str] | None = None
    ) -> None:
        super().__init__(components)
        self.protocol = protocol
        self._meant = {name: f"{{name: {name}}}" for name in components} | dict(meant) if meant else {}

    def __getitem__(self, name: str) -> Any:
        """The class of that name, typed as any class, since its options differ from those of other components."""
        return super().__getitem__(name)

    def elsewhere(self, name: object) -> str | None:
        """The settings for a name that other tools use; None if it has no counterpart here."""
        return self._meant.get(name) if isinstance(name, str) else None


def build(registry: Registry[Component], kind: str, name: str, options: Mapping[str, Any]) -> Component:
    """Returns `registry[name](**options)`, or of the class that an import path names.

    Args:
        registry: The dict that lists the components.
        kind: The kind of component, for messages: "objective", "opponent", …
        name: The component's name, or `package.module:Class`.
        options: Its keyword arguments.

    Raises:
        InputError: The name or an option is unknown, a value is of the wrong type, or the component rejects it; or the
            class cannot be imported, or is no such component.
    """
    if is_own(name):
        component: type[Component] = own_class(kind, name, registry.protocol)
    elif name in registry:
        component = registry[name]
    else:
        ours = registry.elsewhere(name)
        fix = f"'{name}' is {ours} here" if ours else did_you_mean(name, registry)
        raise InputError(f"unknown {kind} '{name}'", where=f"{kind}.name", fix=fix)
    _check_names(registry, component, kind, name, options)
    types = declared(component)
    wrong = [option for option, value in options.items() if option in types and not fits(value, types[option])]
    try:
        built = component(**{option: as_declared(value, types.get(option)) for option, value in options.items()})
    except Exception as error:  # one of the user's own may fail in any way
        # The component's own message is the best one, unless a value has the wrong type, of which it says nothing.
        if not wrong or isinstance(error, ValueError):
            told = str(error) if isinstance(error, ValueError) else f"{type(error).__name__}: {error}"
            # The message of a registered component begins with the option.
            said = [option for option in options if is_own(name) and re.search(rf"\b{re.escape(option)}\b", told)]
            raise InputError(told, where=f"{kind} '{name}'" + (f", {said[0]}" if len(said) == 1 else "")) from error
        built = None
    if wrong or built is None:
        problem = f"must be {called(types[wrong[0]])}, got {options[wrong[0]]!r}"
        raise InputError(problem, where=f"{kind} '{name}', {wrong[0]}")
    return built


def _check_names(
    registry: Registry[Component], component: type, kind: str, name: str, options: Mapping[str, Any]
) -> None:
    """Raises InputError for an unknown option, or a missing one that has no default."""
    fields = _options(component)
    for option in options:
        if option not in fields:
            others = [other for other, each in registry.items() if option in _options(each)]
            fix = did_you_mean(option, fields) if fields else "it takes no options; remove it"
            if fields and others:
                fix = f"remove it: it is left from {', '.join(others)}; or replace the whole, {kind}={{name: {name}}}"
            elif ours := registry.elsewhere(options[option]):
                fix = f"remove it: '{options[option]}' is {kind}={ours} here"
            raise InputError(f"{kind} '{name}' has no option '{option}'", where=f"{kind}.{option}", fix=fix)
    for option, field in fields.items():
        if field.default is field.default_factory is dataclasses.MISSING and option not in options:
            fix = f"add {option}: …, as `sparring recipes` and the reference do"
            raise InputError(f"{kind} '{name}' needs '{option}'", where=f"{kind}.{option}", fix=fix)


def _options(component: type) -> dict[str, dataclasses.Field[Any]]:
    return {field.name: field for field in dataclasses.fields(component) if field.init}


def require_positive(name: str, value: float, why: str) -> None:
    """Raises ValueError unless `value` is a finite number above zero; `why` ends the message."""
    number = isinstance(value, int | float) and not isinstance(value, bool)
    if not number or not math.isfinite(value) or value <= 0:
        raise ValueError(f"{name} must be a finite number > 0, got {value!r}: {why}")


def require_one_of(name: str, value: str, choices: Collection[str]) -> None:
    """Raises ValueError, naming the nearest choice, unless `value` is one of `choices`."""
    if not isinstance(value, str) or value not in choices:
        raise ValueError(f"{name} '{value}' is unknown; {did_you_mean(str(value), choices)}")
