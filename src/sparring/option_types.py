"""The declared types of a component's options: whether a value fits one, and its name for people."""

from __future__ import annotations

import types
import typing
from collections.abc import Iterable, Mapping, Sequence
from typing import Any, Literal, Union, get_args, get_origin

_CALLED = {
    bool: "true or false",
    int: "a whole number",
    float: "a number",
    str: "text",
    type(None): "null",
    tuple: "a list",
    list: "a list",
    dict: "a mapping",
}
_SEQUENCES = (tuple, list, Sequence)
_MAPPINGS = (dict, Mapping)


def declared(component: type) -> dict[str, Any]:
    """The declared types of a class's attributes by name; empty where they cannot be resolved, and so not checked."""
    try:
        return typing.get_type_hints(component)
    except (NameError, AttributeError, TypeError):
        return {}


def fits(value: object, kind: Any) -> bool:
    """Whether a value that was read from YAML fits a type; any value fits a type that is not a simple one."""
    origin, inner = get_origin(kind) or kind, get_args(kind)
    if origin in {Union, types.UnionType}:
        return any(fits(value, each) for each in inner)
    if origin is Literal:
        return any(value == each and type(value) is type(each) for each in inner)
    if origin in _SEQUENCES:
        return isinstance(value, tuple | list) and _all_fit(value, origin, inner)
    if origin in _MAPPINGS:
        return isinstance(value, Mapping)
    if origin in {int, float}:
        return isinstance(value, int if origin is int else int | float) and not isinstance(value, bool)
    return isinstance(value, origin) if origin in _CALLED else True


def _all_fit(values: Sequence[object], origin: Any, inner: tuple[Any, ...]) -> bool:
    if origin is tuple and inner and inner[-1] is not Ellipsis:
        return len(values) == len(inner) and all(map(fits, values, inner))
    return not inner or all(fits(value, inner[0]) for value in values)


def called(kind: Any) -> str:
    """A type in words, e.g. "a whole number or null"."""
    origin, inner = get_origin(kind) or kind, get_args(kind)
    if origin in {Union, types.UnionType}:
        return _either(called(each) for each in inner)
    if origin is Literal:
        return _either(str(each) for each in inner)
    if origin in _SEQUENCES and inner:
        fixed = origin is tuple and inner[-1] is not Ellipsis
        return (
            f"a list of {len(inner)}: {', '.join(map(called, inner))}" if fixed else f"a list, each {called(inner[0])}"
        )
    return "a list" if origin in _SEQUENCES else _CALLED.get(origin, "a mapping" if origin in _MAPPINGS else str(kind))


def _either(names: Iterable[str]) -> str:
    *others, last = dict.fromkeys(names)
    return f"{', '.join(others)} or {last}" if others else last


def as_declared(value: object, kind: Any) -> object:
    """A value from YAML in its declared type: a list as a tuple, a whole number as a float."""
    inner = get_args(kind)
    if get_origin(kind) in {Union, types.UnionType}:
        kind = next((each for each in inner if fits(value, each)), None)
        return as_declared(value, kind)
    if kind is float and type(value) is int:
        return float(value)
    if isinstance(value, list) and (kind is tuple or get_origin(kind) is tuple):
        variadic = len(inner) == 2 and inner[1] is Ellipsis
        kinds = [inner[0]] * len(value) if variadic else inner or [None] * len(value)
        return tuple(map(as_declared, value, kinds))
    return value
