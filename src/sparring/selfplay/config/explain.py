"""The errors of a configuration in words: the key, what is wrong, and the fix."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import fields
from typing import Any, get_args

from pydantic import BaseModel, Tag

from sparring.errors import did_you_mean
from sparring.selfplay.config.unknown_keys import fields_of, suggestion
from sparring.selfplay.config.yaml import shortened

_KINDS = {"int": "a whole number", "float": "a number", "bool": "true or false", "string": "text", "tuple": "a list"}
_LIMITS = {"ge": "{} or more", "gt": "more than {}", "le": "{} or less", "lt": "less than {}"}


def explain(model: type[BaseModel], error: Mapping[str, Any]) -> str:
    """One validation error of pydantic as 'key: problem; fix'."""
    path, annotation = _locate(model, error["loc"])
    key = ".".join(path)
    match error["type"]:
        case "extra_forbidden":
            return f"{key}: unknown key; {suggestion(model, path, annotation)}"
        case "missing":
            return f"{key}: missing; {key} is required"
        case "union_tag_invalid":
            name = error["ctx"]["tag"]
            return f"{key}.name: unknown name '{shortened(name)}'; {did_you_mean(name, _members(annotation))}"
        case "union_tag_not_found" | "model_type" | "dict_type":
            return f"{key}: must be a mapping of keys to values, got {_no_mapping(path, error['input'], annotation)}"
        case "value_error":
            return f"{key}: {error['msg'].removeprefix('Value error, ')}"
        case _:
            return f"{key}: {error['msg']}, got {_as_written(error['input'])}{_allowed(error, annotation)}"


def origin(model: type[BaseModel], error: Mapping[str, Any], overrides: Sequence[str]) -> str | None:
    """The override on the command line that caused an error, as a place; None where none did.

    It is the last override whose key is the error's key or leads to it; of an unknown key, also one below it.
    """
    path, _ = _locate(model, error["loc"])
    for override in reversed(overrides):
        key = override.partition("=")[0].split(".")
        unknown = error["type"] == "extra_forbidden" and key[: len(path)] == path
        if unknown or path[: len(key)] == key:
            return f"command line, {shortened(override)}"
    return None


def as_settings(component: Any) -> str:
    """The settings that describe a component given as an object: its name, and what differs from the defaults."""
    from sparring.judges import JUDGES
    from sparring.objectives import OBJECTIVES
    from sparring.opponents import OPPONENTS
    from sparring.regularizers import REGULARIZERS

    cls = type(component)
    home = cls.__module__ if cls.__module__ != "__main__" else "my_module"
    registries: list[Mapping[str, type]] = [OBJECTIVES, OPPONENTS, REGULARIZERS, JUDGES]
    names = [name for registry in registries for name, each in registry.items() if each is cls]
    settings = {field.name: getattr(component, field.name) for field in fields(component) if field.init}
    defaults = {field.name: field.default for field in fields(component)}
    changed = {name: value for name, value in settings.items() if value != defaults[name]}
    return repr({"name": names[0] if names else f"{home}:{cls.__qualname__}", **changed}).replace("'", '"')


def _allowed(error: Mapping[str, Any], annotation: Any) -> str:
    """The values that may stand in place of a wrong one, as the end of a sentence; empty where that is not known."""
    limits = [text.format(error["ctx"][name]) for name, text in _LIMITS.items() if name in error.get("ctx", {})]
    kind, _, wrong = error["type"].partition("_")
    if error["type"] == "literal_error":
        what = error["ctx"]["expected"]
    else:
        what = limits[0] if limits else _KINDS.get(kind, "") if wrong in {"type", "parsing", "from_float"} else ""
    return f"; write {what}{', or null' if type(None) in get_args(annotation) else ''}" if what else ""


def _as_written(value: Any) -> str:
    """A value as it is written in YAML, where that differs from Python."""
    return {"None": "null", "True": "true", "False": "false"}.get(repr(value), shortened(repr(value)))


def _no_mapping(path: Sequence[str], value: Any, annotation: Any) -> str:
    """A value where a mapping should be, and the mapping that was probably meant."""
    key, told = ".".join(path), _as_written(value)
    first = next((name for name in ("name", "source") if name in fields_of(annotation)), None)
    if isinstance(value, str) and first is not None:
        inside = f"{{{first}: {shortened(value)}}}"
        return f"{told}; write {inside}" if path[-1].isdecimal() else f"{told}; write {key}.{first}={shortened(value)}"
    if value is True:
        return f"{told}; write {key}: {{}} for the defaults, or {key}={{}} as an override"
    return f"{told}; write null to do without" if value is False else told


def _locate(model: type[BaseModel], loc: Sequence[int | str]) -> tuple[list[str], Any]:
    """The keys that lead to an error, as in the file, and the annotation of the last of them that is known."""
    path: list[str] = []
    here: Any = model
    for part in map(str, loc):
        # pydantic also names the member of a union that it tried, which is no key of the file.
        members = _members(here) | {getattr(each, "__name__", ""): each for each in get_args(here)}
        if part in members or part.startswith("literal["):
            here = members.get(part, here)
            continue
        path.append(part)
        here = fields_of(here).get(part, here)
    return path, here


def _members(annotation: Any) -> dict[str, Any]:
    """The members of a tagged union, by tag; empty where it is no such union."""
    tags = [each.tag for each in getattr(annotation, "__metadata__", ()) if isinstance(each, Tag)]
    if tags:
        return {tags[0]: get_args(annotation)[0]}
    return {tag: member for each in get_args(annotation) for tag, member in _members(each).items()}
