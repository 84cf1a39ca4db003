"""Components of the user's own, by import path: `package.module:Class`, found, checked and known again by its source.

The folder of a configuration goes on the import path, at its end, so that modules beside it are found and none of them
hides another package. It stays there: a module may import another when it is first used.
"""

from __future__ import annotations

import dataclasses
import hashlib
import importlib
import importlib.util
import inspect
import re
import sys
from importlib.machinery import ModuleSpec
from pathlib import Path
from typing import Any

from sparring.errors import InputError, did_you_mean

_PATH = re.compile(r"[^\W\d]\w*(\.[^\W\d]\w*)*:[^\W\d]\w*")


def is_own(name: str) -> bool:
    """Whether the name of a component is an import path, not that of a registered one."""
    return ":" in name


def importable_from(folder: Path) -> None:
    """Puts a folder at the end of the import path."""
    path = str(folder.resolve())
    if path not in sys.path:
        sys.path.append(path)


def own_class(kind: str, path: str, protocol: type) -> type[Any]:
    """Imports the class that an import path names, and checks that it is what components are.

    Args:
        kind: What it is, for messages: "objective", "opponent", …
        path: `package.module:Class`.
        protocol: What it must have; what the protocol itself defines, a class has that derives from it.

    Raises:
        InputError: It cannot be imported, is no frozen dataclass with keyword options, or lacks something.
    """
    found = _import(kind, path)
    where, name = f"{kind}.name", path.partition(":")[2]
    if not isinstance(found, type) or not dataclasses.is_dataclass(found):
        fix = f"write @dataclass(frozen=True, kw_only=True) above class {name}"
        raise InputError(f"{kind} '{path}' is not a dataclass", where=where, fix=fix)
    fields = [field for field in dataclasses.fields(found) if field.init]
    if not vars(found)["__dataclass_params__"].frozen or not all(field.kw_only for field in fields):
        problem = f"{kind} '{path}' is a dataclass that can be changed, or whose options have places, not names"
        raise InputError(problem, where=where, fix="write @dataclass(frozen=True, kw_only=True)")
    missing = _missing(found, protocol, {field.name for field in fields})
    if missing:
        home = f"{protocol.__module__}.{protocol.__name__}"
        fix = f"derive it from {home}, whose documentation says what they are, and add what has no default"
        raise InputError(f"{kind} '{path}' has no {' and no '.join(missing)}", where=where, fix=fix)
    return found


def _missing(found: type, protocol: type, fields: set[str]) -> list[str]:
    """What of a protocol a class has not: an attribute, or a method."""
    abstract: frozenset[str] = getattr(found, "__abstractmethods__", frozenset())
    missing = []
    for name in _members(protocol):
        # Not by getattr: any class can be called, to make an object.
        here = _defined(found, name)
        method = inspect.isfunction(_defined(protocol, name))
        there = (name in fields or here is not None) and name not in abstract
        if not there or (method and not callable(here) and not isinstance(here, classmethod)):
            missing.append(f"method '{name}'" if method else f"attribute '{name}'")
    return missing


def _defined(cls: type, name: str) -> object:
    return next((vars(each)[name] for each in cls.__mro__ if name in vars(each)), None)


def _members(protocol: type) -> list[str]:
    names = [*vars(protocol), *vars(protocol).get("__annotations__", {})]
    return [name for name in names if name == "__call__" or not name.startswith("_")]


def _import(kind: str, path: str) -> object:
    where = f"{kind}.name"
    if not _PATH.fullmatch(path):
        fix = "write package.module:Class, e.g. my_module:MyClass for one in my_module.py beside the configuration"
        raise InputError(f"'{path}' is no import path", where=where, fix=fix)
    name, _, attribute = path.partition(":")
    try:
        there = _find(name) is not None
        module = importlib.import_module(name) if there else None
    except Exception as error:  # a module runs when it is imported, and may fail in any way
        problem = f"{kind} '{path}' cannot be imported ({type(error).__name__}: {error})"
        raise InputError(problem, where=where, fix=f"mend the module, and check that `import {name}` runs") from error
    if module is None:
        fix = f"put {name.replace('.', '/')}.py beside the configuration, or its folder on PYTHONPATH"
        raise InputError(f"{kind} '{path}': there is no module '{name}'", where=where, fix=fix)
    if not hasattr(module, attribute):
        known = [each for each, value in vars(module).items() if isinstance(value, type)]
        fix = did_you_mean(attribute, known) if known else "define it there"
        raise InputError(f"the module '{name}' has no '{attribute}'", where=where, fix=fix)
    return getattr(module, attribute)


def _find(module: str) -> ModuleSpec | None:
    """Where a module is, without running it; only the packages around it run."""
    try:
        return importlib.util.find_spec(module)
    except ModuleNotFoundError as error:
        if error.name is None or not f"{module}.".startswith(f"{error.name}."):
            raise
        return None


def source(path: str) -> Path:
    """The file that the class of an import path is written in.

    Raises:
        InputError: There is none.
    """
    name = path.partition(":")[0]
    try:
        spec = _find(name)
    except Exception:  # noqa: BLE001 - a package around it runs, and may fail in any way
        spec = None
    if spec is None or spec.origin is None or not Path(spec.origin).is_file():
        fix = f"put the folder of {name.replace('.', '/')}.py on PYTHONPATH"
        raise InputError(f"the source of '{path}' is not to be found", where=f"module '{name}'", fix=fix)
    return Path(spec.origin)


def root(path: str) -> Path:
    """The folder on the import path that the class of an import path is found from."""
    file = source(path)
    return file.parents[path.partition(":")[0].count(".") + (file.name == "__init__.py")]


def digest(path: str) -> str:
    """A sha256 of the file that the class of an import path is written in; what that imports is not part of it."""
    return hashlib.sha256(source(path).read_bytes()).hexdigest()
