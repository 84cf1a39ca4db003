"""The JSON schema of a configuration, with which editors complete and check a YAML file as it is written."""

from __future__ import annotations

import dataclasses
import inspect
import re
from collections.abc import Iterator, Mapping
from typing import Any, get_args

from pydantic import BaseModel

from sparring.judges import JUDGES
from sparring.models.lora import lora_fields
from sparring.objectives import OBJECTIVES
from sparring.opponents import OPPONENTS
from sparring.registry import Registry
from sparring.regularizers import REGULARIZERS
from sparring.selfplay.config.schema import SelfPlayConfig
from sparring.trainer.arguments import training_fields

_FIELD = re.compile(r"^ {4}(\w+): (.*(?:\n {8}.*)*)", re.MULTILINE)
_OWN = {"type": "string", "pattern": "^[^:]+:[^:]+$"}


def json_schema() -> dict[str, Any]:
    """The schema, with the documentation of every key, and with the names and options of all components."""
    schema = SelfPlayConfig.model_json_schema()
    definitions: dict[str, Any] = schema["$defs"]
    definitions |= {
        "Training": _keys(training_fields()),
        "Adapter": _keys(lora_fields()),
        "Objective": _component(OBJECTIVES),
        "Opponent": _component(OPPONENTS),
        "Regularizer": _component(REGULARIZERS),
        "Judge": _component(JUDGES, definitions["JudgeConfig"]["properties"]),
    }
    for name, model in {model.__name__: model for model in _models(SelfPlayConfig)}.items():
        described = schema if model is SelfPlayConfig else definitions.get(name)
        if described is not None:
            described.pop("description", None)
            for field, text in _fields_told(model).items():
                described["properties"].get(field, {}).setdefault("description", text)
    for described in (schema, definitions["PhaseConfig"]):
        _name_components(described["properties"])
    schema["properties"]["lora"] |= {"anyOf": [_reference("Adapter"), {"type": "null"}]}
    definitions["WarmupConfig"]["properties"]["training"] |= _reference("Training")
    # Several generators' settings fit a generator that is not named.
    for described in (schema, definitions["PhaseConfig"]):
        generation = described["properties"]["generation"]
        generation["anyOf"] = generation.pop("oneOf")
    return {"$schema": "https://json-schema.org/draft/2020-12/schema", **schema}


def _name_components(properties: dict[str, Any]) -> None:
    properties["objective"] |= _reference("Objective")
    properties["opponent"] |= _reference("Opponent")
    properties["regularizers"]["items"] = _reference("Regularizer")
    properties["judge"]["anyOf"] = [_reference("Judge"), {"type": "null"}]
    properties["training"] |= _reference("Training")


def _reference(name: str) -> dict[str, str]:
    return {"$ref": f"#/$defs/{name}"}


def _keys(names: frozenset[str]) -> dict[str, Any]:
    return {"type": "object", "properties": {name: {} for name in sorted(names)}, "additionalProperties": False}


def _component(registry: Registry[Any], properties: Mapping[str, Any] = {}) -> dict[str, Any]:
    """The schema of a component: its name, or the import path of the user's own, and the options of all components."""
    options: dict[str, Any] = {
        field.name: {} for each in registry.values() for field in dataclasses.fields(each) if field.init
    }
    name = {"anyOf": [{"enum": sorted(registry)}, _OWN]}
    return {"type": "object", "properties": {**options, **properties, "name": name}, "required": ["name"]}


def _models(annotation: Any) -> Iterator[type[BaseModel]]:
    """Every model that an annotation names, and those of its fields."""
    if isinstance(annotation, type) and issubclass(annotation, BaseModel):
        yield annotation
        for field in annotation.model_fields.values():
            yield from _models(field.annotation)
    for each in get_args(annotation):
        yield from _models(each)


def documented(kind: type) -> dict[str, str]:
    """The documentation of a class's attributes, from its docstring and those of its bases."""
    told: dict[str, str] = {}
    for each in reversed(kind.__mro__):
        doc = inspect.getdoc(each) or ""
        told |= {name: " ".join(text.split()) for name, text in _FIELD.findall(doc.partition("Attributes:\n")[2])}
    return told


def _fields_told(model: type[BaseModel]) -> dict[str, str]:
    return {name: text for name, text in documented(model).items() if name in model.model_fields}
