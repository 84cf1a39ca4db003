"""What an unknown key of a configuration may have been meant to be.

Most people who write one know a key of TRL or of another section. The answers are tried in this order:

1. a misspelt key of the same section (`learning_rte`);
2. a key of the same section, or of a section in it, by its name or by the name that another library has for it;
3. such a key anywhere in the configuration, if it is one of a few;
4. why a key of transformers is not the user's to set (`MANAGED`);
5. the key of the same section that is spelt most like it.
"""

from __future__ import annotations

from collections.abc import Callable, Collection, Iterable, Iterator, Mapping, Sequence
from typing import Any, NamedTuple, get_args, get_origin

from pydantic import BaseModel

from sparring.data import config as data_config
from sparring.errors import InputError, did_you_mean, nearest
from sparring.generation import config as generation_config
from sparring.models import config as model_config
from sparring.models import lora
from sparring.trainer.fields import MANAGED, MEANT

# The names that TRL has for sections and for keys at the top, and what they are called here.
_TOP = {
    **dict.fromkeys(("peft", "peft_config", "use_peft"), "lora"),
    "ref_model": "opponent",
    "model_init_kwargs": "model",
    "output_dir": "output",
}
# The most keys that are named as what an unknown key may mean.
_FEW = 2
# A key as similar as this to a known one is taken for a misspelling of it, even if it means something elsewhere: `limt`
# in `data` is `limit`, not `lora_r`.
_MISSPELT = 0.85


class _Section(NamedTuple):
    """What is known of a section beyond the fields of its model.

    Attributes:
        fields: Returns the further keys that the section takes: those of another library or of its components. It
            imports these, which may take seconds, so it is called only when a key is unknown.
        meant: Names that other libraries have for keys of the section, and the keys.
    """

    fields: Callable[[], Collection[str]] = tuple
    meant: Mapping[str, str] = {}


def suggestion(model: Any, path: Sequence[str], section_model: Any) -> str:
    """The end of the message on an unknown key: what it may have been meant to be.

    Args:
        model: The configuration.
        path: The keys that lead to the unknown key, itself included.
        section_model: The model of the section that it stands in.
    """
    *above, name = path
    section = above[-1] if above else ""
    foreign = _sections().get(section, _Section()).meant
    if name not in foreign and (near := nearest(name, fields_of(section_model), like=_MISSPELT)):
        return f"did you mean '{near}'?"
    inside = keys_meant(section_model, name, section=section)
    if inside:
        named = "' or '".join(".".join((*above, key)) for key in inside)
        return f"did you mean '{named}'?"
    known = fields_of(section_model)
    return _elsewhere(model, name) or MANAGED.get(name) or did_you_mean(name, known, meant=foreign)


def keys_meant(model: Any, name: str, *, section: str = "") -> list[str]:
    """The dotted keys that a name may mean, of these the ones nearest to the top; empty if it means none.

    Args:
        model: The configuration, or a section of it, in which they are looked for.
        name: The name, of this configuration or of another library.
        section: The name of the section that `model` is of.
    """
    sections = _sections()
    own = sections.get(section, _Section()).meant.get(name, name)
    found = [(own,)] if own in fields_of(model) else list(_below(model, name, sections))
    shortest = min(map(len, found), default=0)
    return [".".join(path) for path in found if len(path) == shortest]


def check_section(model: type[BaseModel], section: str, names: Iterable[str], *, known: Collection[str]) -> None:
    """Checks the keys of a section whose keys are another library's: an unknown one must not be a key of elsewhere.

    Raises:
        InputError: A key that is not `known` is a key of another section.
    """
    for name in names:
        told = None if name in known else _elsewhere(model, name)
        if told:
            raise InputError(f"'{name}' cannot be set here", where=f"{section}.{name}", fix=told)


def fields_of(annotation: Any) -> dict[str, Any]:
    """The fields of the model that an annotation names, by name: `Model`, `Model | None` or `tuple[Model, ...]`."""
    if isinstance(annotation, type) and issubclass(annotation, BaseModel):
        return {name: field.annotation for name, field in annotation.model_fields.items()}
    found = (fields_of(each) for each in get_args(annotation))
    return next((fields for fields in found if fields), {})


def _elsewhere(model: Any, name: str) -> str | None:
    """The keys of the whole configuration that a name may mean, as a question; None where it means none, or many."""
    keys = keys_meant(model, name)
    named = "' or '".join(keys)
    if not 0 < len(keys) <= _FEW:
        return None
    return f"did you mean '{named}'?" if "." in named else f"did you mean '{named}' at the top?"


def _below(annotation: Any, name: str, sections: Mapping[str, _Section]) -> Iterator[tuple[str, ...]]:
    """The paths of the keys that a name may mean in the sections of a model, and in the sections of these."""
    for section, inner in fields_of(annotation).items():
        # The entries of a list have numbers, which nobody can guess.
        if get_origin(inner) is tuple:
            continue
        further, foreign = sections.get(section, _Section())
        own = foreign.get(name, name)
        if own in fields_of(inner) or own in further():
            yield section, own
        yield from ((section, *path) for path in _below(inner, name, sections))


def _sections() -> dict[str, _Section]:
    """The sections of which more is known than the fields of their models, by name."""

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
        "": _Section(meant=_TOP),
        "model": _Section(meant=model_config.MEANT),
        "data": _Section(meant=data_config.MEANT),
        "generation": _Section(meant=generation_config.MEANT),
        "objective": _Section(objectives, {"loss_type": "name"}),
        "opponent": _Section(opponents),
        "training": _Section(training, MEANT),
        "lora": _Section(lora.lora_fields, lora.MEANT),
    }


def _options(registry: Mapping[str, type]) -> set[str]:
    """The settings of all components of a registry."""
    return {option for each in registry.values() for option in getattr(each, "__dataclass_fields__", ())}
