"""The user's own components, named by an import path `package.module:Class`: found, checked, and identified by source.

The folder of a configuration is appended to Python's import path, so that modules beside it are found and none of them
hides another package. Where the configuration names an own component, the working directory is appended too: there the
modules lie when the configuration is an earlier run's. Both stay on the path, since a module may import another one
when it is first used.
"""

from __future__ import annotations

import dataclasses
import hashlib
import importlib
import importlib.util
import inspect
import re
import sys
import traceback
from pathlib import Path
from typing import Any

from sparring.errors import InputError, did_you_mean

_PATH = re.compile(r"[^\W\d]\w*(\.[^\W\d]\w*)*:[^\W\d]\w*")


def is_own(name: str) -> bool:
    """Whether the name of a component is an import path, not the name of a registered component."""
    return ":" in name


def importable_from(folder: Path) -> None:
    """Appends a folder to Python's import path."""
    path = str(folder.resolve())
    if path not in sys.path:
        sys.path.append(path)


def own_class(kind: str, path: str, protocol: type) -> type[Any]:
    """Imports the class that an import path names, and checks that it is a component.

    Args:
        kind: The kind of component, for messages: "objective", "opponent", …
        path: `package.module:Class`.
        protocol: The protocol of the kind, whose attributes and methods the class must have or inherit.

    Raises:
        InputError: It cannot be imported, is no frozen dataclass with keyword options, or lacks something.
    """
    found = _import(kind, path)
    where, name = f"{kind}.name", path.partition(":")[2]
    home = f"{protocol.__module__}.{protocol.__name__}"
    if inspect.isroutine(found):
        rule = f"write {{name: verifier, rule: {path}}}, or consensus in place of verifier; or " * (kind == "judge")
        fix = f"{rule}write a class that derives from {home}, with @dataclass(frozen=True, kw_only=True) above it"
        raise InputError(f"{kind} '{path}' is a function, and no class", where=where, fix=fix)
    # A class that only inherits from a dataclass has the options of its base, not those that it declares.
    if not isinstance(found, type) or "__dataclass_params__" not in vars(found):
        inherits = ", only a base of it is" if dataclasses.is_dataclass(found) else ""
        fix = f"write @dataclass(frozen=True, kw_only=True) above class {name}"
        raise InputError(f"{kind} '{path}' is not a dataclass{inherits}", where=where, fix=fix)
    fields = [field for field in dataclasses.fields(found) if field.init]
    if not vars(found)["__dataclass_params__"].frozen or not all(field.kw_only for field in fields):
        problem = f"{kind} '{path}' is a dataclass that can be changed, or whose options have places, not names"
        raise InputError(problem, where=where, fix="write @dataclass(frozen=True, kw_only=True)")
    missing = _missing(found, protocol, {field.name for field in fields})
    if missing:
        fix = f"derive it from {home}, whose documentation says what they are, and add what has no default"
        raise InputError(f"{kind} '{path}' has no {' and no '.join(missing)}", where=where, fix=fix)
    return found


def _missing(found: type, protocol: type, fields: set[str]) -> list[str]:
    """The attributes and methods of a protocol that a class lacks."""
    abstract: frozenset[str] = getattr(found, "__abstractmethods__", frozenset())
    missing = []
    for name in _members(protocol):
        # Not by getattr: it finds `__call__` for every class, since a call makes an object.
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
    if _find(name) is None:
        file = f"{name.replace('.', '/')}.py"
        fix = f"put {file} beside the configuration or into the folder that the command runs in, or its folder on "
        fix += "PYTHONPATH"
        if name.endswith(".py"):
            fix = f"write {name.removesuffix('.py')}:{attribute}: a module is named without the .py of its file"
        raise InputError(f"{kind} '{path}': there is no module '{name}'", where=where, fix=fix)
    try:
        module = importlib.import_module(name)
    except Exception as error:  # a module runs when it is imported, and may fail in any way
        problem = f"{kind} '{path}' cannot be imported ({type(error).__name__}: {error})"
        raise InputError(problem, where=where, fix=f"mend the module, and check that `import {name}` runs") from error
    if not hasattr(module, attribute):
        known = [each for each, value in vars(module).items() if isinstance(value, type)]
        fix = did_you_mean(attribute, known) if known else "define it there"
        raise InputError(f"the module '{name}' has no '{attribute}'", where=where, fix=fix)
    return getattr(module, attribute)


def _find(module: str) -> Path | None:
    """The source file of a module, or None; neither the module nor the packages around it are imported."""
    top, *inner = module.split(".")
    try:
        spec = importlib.util.find_spec(top)
    except ValueError:  # of a module that was not imported from a file, such as __main__
        return None
    if spec is None:
        return None
    files = [spec.origin] if spec.origin is not None else []
    if inner:
        stems = [Path(folder, *inner) for folder in spec.submodule_search_locations or ()]
        files = [str(file) for stem in stems for file in (stem.with_suffix(".py"), stem / "__init__.py")]
    return next((file for file in map(Path, files) if file.is_file()), None)


def modules_of(path: str) -> list[str]:
    """The modules that define an imported class or function: of a class, those of its bases too."""
    name, _, attribute = path.partition(":")
    found = getattr(sys.modules[name], attribute)
    written = [each.__module__ for each in getattr(found, "__mro__", ())]
    ours = {"sparring", *sys.stdlib_module_names}
    return list(dict.fromkeys([name, *(each for each in written if each.partition(".")[0] not in ours)]))


def place(path: str, error: BaseException | None = None) -> str:
    """The file and line of an imported class or function; if they are not known, its module.

    Args:
        path: Its import path.
        error: An error in it, or None. Then the place is the innermost line of its modules that the error went through.
    """
    name, _, attribute = path.partition(":")
    files = {getattr(sys.modules[module], "__file__", None) for module in modules_of(path)}
    through = [] if error is None else traceback.extract_tb(error.__traceback__)
    inside = [(frame.filename, frame.lineno) for frame in through if frame.filename in files]
    if inside:
        file, line = inside[-1]
    else:
        found = getattr(sys.modules[name], attribute)
        try:
            file, line = inspect.getfile(found), inspect.getsourcelines(found)[1]
        except (TypeError, OSError):  # no class and no function, or none of Python
            return name
    return f"{Path(file).name}, line {line}"


def source(module: str) -> Path:
    """The file of a module.

    Raises:
        InputError: There is none.
    """
    file = _find(module)
    if file is None:
        fix = f"put the folder of {module.replace('.', '/')}.py on PYTHONPATH"
        raise InputError(f"the source of the module '{module}' is not to be found", where="code of your own", fix=fix)
    return file


def root(module: str) -> Path:
    """The folder on the import path that a module is found from."""
    file = source(module)
    return file.parents[module.count(".") + (file.name == "__init__.py")]


def digest(module: str) -> str:
    """A sha256 of the source file of a module, without the modules that it imports."""
    return hashlib.sha256(source(module).read_bytes()).hexdigest()
