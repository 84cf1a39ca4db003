"""What is wrong with a configuration, said with the key and the fix."""

from __future__ import annotations

from collections.abc import Callable, Collection, Iterable, Iterator, Mapping, Sequence
from dataclasses import fields
from typing import Any, NamedTuple, get_args, get_origin

from pydantic import BaseModel, Tag

from sparring.data import config as data_config
from sparring.errors import InputError, did_you_mean, nearest
from sparring.generation import config as generation_config
from sparring.models import config as model_config
from sparring.models import lora
from sparring.selfplay.config.yaml import shortened
from sparring.trainer.fields import MANAGED, MEANT

# Sections by what people write for them, who come from TRL.
_SECTIONS = {
    **dict.fromkeys(("peft", "peft_config", "use_peft"), "lora"),
    "ref_model": "opponent",
    "model_init_kwargs": "model",
    "output_dir": "output",
}
# More settings than these of the same name, and nobody is helped by all of them.
_FEW = 2
# A key as like another as this is a slip of the pen, whatever it is the name of elsewhere: `limt`, not `lora_r`.
_MISSPELT = 0.85


class _Section(NamedTuple):
    """What is known of a section beyond the fields of its model.

    Attributes:
        fields: Gives the keys that it takes of another library, or of its components. It imports them, which may take
            seconds, so it is called only where a key is unknown.
        meant: Its keys, by what people write for them.
    """

    fields: Callable[[], Collection[str]] = tuple
    meant: Mapping[str, str] = {}


def explain(model: type[BaseModel], error: Mapping[str, Any]) -> str:
    """One validation error as 'key: problem; fix'."""
    path, here = _locate(model, error["loc"])
    key = ".".join(path)
    match error["type"]:
        case "extra_forbidden":
            return f"{key}: unknown key; {_meant(model, path, here)}"
        case "missing":
            return f"{key}: missing; {key} is required"
        case "union_tag_invalid":
            name = error["ctx"]["tag"]
            return f"{key}.name: unknown name '{shortened(name)}'; {did_you_mean(name, _members(here))}"
        case "union_tag_not_found" | "model_type" | "dict_type":
            return f"{key}: must be a mapping of keys to values, got {_no_mapping(path, error['input'], here)}"
    if error["type"] == "value_error":
        return f"{key}: {error['msg'].removeprefix('Value error, ')}"
    return f"{key}: {error['msg']}, got {_as_written(error['input'])}{_allowed(error, here)}"


def origin(model: type[BaseModel], error: Mapping[str, Any], overrides: Sequence[str]) -> str | None:
    """The override that an error is about, as a place; None where it is about none.

    That is the last one whose key is the error's, or above it, or below it where the error's key is unknown.
    """
    path, _ = _locate(model, error["loc"])
    for override in reversed(overrides):
        key = override.partition("=")[0].split(".")
        unknown = error["type"] == "extra_forbidden" and key[: len(path)] == path
        if unknown or path[: len(key)] == key:
            return f"command line, {shortened(override)}"
    return None


_KINDS = {"int": "a whole number", "float": "a number", "bool": "true or false", "string": "text", "tuple": "a list"}
_LIMITS = {"ge": "{} or more", "gt": "more than {}", "le": "{} or less", "lt": "less than {}"}


def _allowed(error: Mapping[str, Any], here: Any) -> str:
    """What may be written in place of a value, as the end of a sentence; nothing where that is not known."""
    limits = [text.format(error["ctx"][name]) for name, text in _LIMITS.items() if name in error.get("ctx", {})]
    kind, _, wrong = error["type"].partition("_")
    if error["type"] == "literal_error":
        what = error["ctx"]["expected"]
    else:
        what = limits[0] if limits else _KINDS.get(kind, "") if wrong in {"type", "parsing", "from_float"} else ""
    return f"; write {what}{', or null' if type(None) in get_args(here) else ''}" if what else ""


def _as_written(value: Any) -> str:
    """A value as YAML has it, where Python's word for it is another."""
    return {"None": "null", "True": "true", "False": "false"}.get(repr(value), shortened(repr(value)))


def homes(model: Any, name: str, *, section: str = "") -> list[str]:
    """The dotted keys of the settings that a name alone may mean, of those nearest to the top; none for no setting.

    Args:
        model: Where they are looked for: the configuration, or a section of it.
        name: What was written.
        section: The name of that section.
    """
    sections = _sections()
    own = sections.get(section, _Section()).meant.get(name, name)
    found = [(own,)] if own in _fields(model) else list(_below(model, name, sections))
    shortest = min(map(len, found), default=0)
    return [".".join(path) for path in found if len(path) == shortest]


def check_section(model: type[BaseModel], section: str, names: Iterable[str], *, known: Collection[str]) -> None:
    """Checks that no key of a section that its library does not know is a setting of another section.

    Raises:
        InputError: One is.
    """
    for name in names:
        told = None if name in known else _elsewhere(model, name)
        if told:
            raise InputError(f"'{name}' cannot be set here", where=f"{section}.{name}", fix=told)


def _meant(model: Any, path: Sequence[str], here: Any) -> str:
    """What an unknown key may have been: a setting of its section or one below it, one elsewhere, or a name like it."""
    *above, name = path
    section = above[-1] if above else ""
    meant = _sections().get(section, _Section()).meant
    if name not in meant and (near := nearest(name, _fields(here), like=_MISSPELT)):
        return f"did you mean '{near}'?"
    inside = homes(here, name, section=section)
    if inside:
        named = "' or '".join(".".join((*above, key)) for key in inside)
        return f"did you mean '{named}'?"
    return _elsewhere(model, name) or MANAGED.get(name) or did_you_mean(name, _fields(here), meant=meant)


def _elsewhere(model: Any, name: str) -> str | None:
    """Which settings of the configuration a name may mean; None where it means none, or too many to tell."""
    keys = homes(model, name)
    named = "' or '".join(keys)
    if not 0 < len(keys) <= _FEW:
        return None
    return f"did you mean '{named}'?" if "." in named else f"did you mean '{named}' at the top?"


def as_settings(component: Any) -> str:
    """What to write for a component that was given as an object: its name, and what is not the default."""
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


def _no_mapping(path: Sequence[str], value: Any, here: Any) -> str:
    """A value that should have been a mapping, and how it is written."""
    key, told = ".".join(path), _as_written(value)
    first = next((name for name in ("name", "source") if name in _fields(here)), None)
    if isinstance(value, str) and first is not None:
        inside = f"{{{first}: {shortened(value)}}}"
        return f"{told}; write {inside}" if path[-1].isdecimal() else f"{told}; write {key}.{first}={shortened(value)}"
    if value is True:
        return f"{told}; write {key}: {{}} for the defaults, or {key}={{}} as an override"
    return f"{told}; write null to do without" if value is False else told


def _sections() -> dict[str, _Section]:
    """The sections of which more is known than their fields."""

    def objectives() -> set[str]:
        from sparring.objectives import OBJECTIVES

        return _options(OBJECTIVES)

    def opponents() -> set[str]:
        from sparring.opponents import OPPONENTS

        return _options(OPPONENTS)

    def training() -> Collection[str]:
        from sparring.trainer.arguments import training_fields

        return training_fields()

    return {
        "": _Section(meant=_SECTIONS),
        "model": _Section(meant=model_config.MEANT),
        "data": _Section(meant=data_config.MEANT),
        "generation": _Section(meant=generation_config.MEANT),
        "objective": _Section(objectives, {"loss_type": "name"}),
        "opponent": _Section(opponents),
        "training": _Section(training, MEANT),
        "lora": _Section(lora.lora_fields, lora.MEANT),
    }


def _options(registry: Mapping[str, type]) -> set[str]:
    return {option for each in registry.values() for option in getattr(each, "__dataclass_fields__", ())}


def _below(annotation: Any, name: str, sections: Mapping[str, _Section]) -> Iterator[tuple[str, ...]]:
    """The paths of the settings that a name may mean in the sections of a model, and in theirs."""
    for section, inner in _fields(annotation).items():
        # The entries of a list have numbers, which nobody can guess.
        if get_origin(inner) is tuple:
            continue
        fields, meant = sections.get(section, _Section())
        own = meant.get(name, name)
        if own in _fields(inner) or own in fields():
            yield section, own
        yield from ((section, *path) for path in _below(inner, name, sections))


def _locate(model: type[BaseModel], loc: Sequence[int | str]) -> tuple[list[str], Any]:
    """The keys that lead to an error, as in the file, and the type there, or above it where the key is unknown."""
    path: list[str] = []
    here: Any = model
    for part in map(str, loc):
        members = _members(here) | {getattr(each, "__name__", ""): each for each in get_args(here)}
        if part in members or part.startswith("literal["):
            # The name of a union's member is no key.
            here = members.get(part, here)
            continue
        path.append(part)
        here = _fields(here).get(part, here)
    return path, here


def _fields(annotation: Any) -> dict[str, Any]:
    """The fields of the model that an annotation names, alone, optional or in a sequence."""
    if isinstance(annotation, type) and issubclass(annotation, BaseModel):
        return {name: field.annotation for name, field in annotation.model_fields.items()}
    found = (_fields(each) for each in get_args(annotation))
    return next((fields for fields in found if fields), {})


def _members(annotation: Any) -> dict[str, Any]:
    """The members of a tagged union, by tag; none where it is something else."""
    tags = [each.tag for each in getattr(annotation, "__metadata__", ()) if isinstance(each, Tag)]
    if tags:
        return {tags[0]: get_args(annotation)[0]}
    return {tag: member for each in get_args(annotation) for tag, member in _members(each).items()}
