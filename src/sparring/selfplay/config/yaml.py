"""Configurations as YAML files, and overrides."""

from __future__ import annotations

import itertools
import re
import shlex
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import yaml

from sparring.data.sources import is_data
from sparring.errors import InputError
from sparring.inputs import check_settings, kind, read_text

_NO_YAML = (yaml.YAMLError, ValueError, RecursionError)
_MOST_MERGED = 10_000
# A resolved configuration has a few KiB, and is nested six deep.
_LARGEST, _DEEPEST = 256 * 2**10, 100
_BRACKETS = re.compile(r"[\[\]{}]")
_LONGEST_SHOWN = 300
_MERGE = "tag:yaml.org,2002:merge"


def apply_overrides(values: dict[str, Any], overrides: Sequence[str]) -> dict[str, Any]:
    """Sets `a.b.c=value` in nested mappings, creating what is missing; `value` is read as YAML.

    In a list the key is the entry's number: `phases.1.iterations=3`.

    Raises:
        InputError: The text is not an override, its value is not YAML, or a list has no such entry.
    """
    for override in overrides:
        key, separator, text = override.partition("=")
        if not separator or not key:
            source = is_data(Path(override)) and not separator
            fix = f"write data.source={shortened(override)}" if source else "write key.path=value"
            raise InputError(f"'{shortened(override)}' is not an override", fix=fix)
        *parents, last = key.split(".")
        target: Any = values
        for parent in parents:
            target = _entry(target, parent, where=override)
        target[_number(target, last, where=override)] = _parse(text, where=override)
    return values


def _entry(target: Any, key: str, *, where: str) -> Any:
    """The mapping or list under a key; a new mapping where there is none."""
    at = _number(target, key, where=where)
    entry = target[at] if isinstance(target, list) else target.get(at)
    if not isinstance(entry, dict | list):
        target[at] = entry = {}
    return entry


def _number(target: Any, key: str, *, where: str) -> Any:
    """The key itself; for a list the number that it is."""
    if not isinstance(target, list):
        return key
    if not key.isdecimal() or len(key) > 9 or int(key) >= len(target):
        problem = f"there is no entry {key[:40]} among the {len(target)}"
        raise InputError(problem, where=where, fix="count them from 0, or write them in the file")
    return int(key)


class _Loader(yaml.SafeLoader):
    """YAML as people write it: 1e-4 is a number although it has no dot. Quoted, it stays text.

    There is nothing but text, numbers, true and false, null, lists and mappings.
    """

    def construct_object(self, node: Any, deep: bool = False) -> Any:
        """A value; one that is not of the type that its tag says is an error of the file."""
        try:
            return super().construct_object(node, deep)
        except (LookupError, TypeError, AttributeError, ValueError, OverflowError) as error:
            problem = f"this is not {node.tag.rpartition(':')[2]}"
            raise yaml.constructor.ConstructorError(None, None, problem, node.start_mark) from error

    def compose_mapping_node(self, anchor: Any) -> Any:
        """A mapping; one with a key twice is an error, since one of the two values would be lost."""
        node = super().compose_mapping_node(anchor)
        seen = set()
        for key, _ in node.value:
            if isinstance(key, yaml.ScalarNode) and key.tag != _MERGE:
                if (key.tag, key.value) in seen:
                    problem = f"the key '{shortened(key.value)}' is there twice; remove one of the two"
                    raise yaml.constructor.ConstructorError(None, None, problem, key.start_mark)
                seen.add((key.tag, key.value))
        return node

    def flatten_mapping(self, node: Any) -> None:
        """Takes in what a mapping merges, which may in turn have merged as much."""
        super().flatten_mapping(node)
        if len(node.value) > _MOST_MERGED:
            problem = f"a mapping merges more than {_MOST_MERGED} keys"
            raise yaml.constructor.ConstructorError(None, None, problem, node.start_mark)


# A day is text here: nothing is set to one.
_Loader.yaml_implicit_resolvers = {
    first: [(tag, pattern) for tag, pattern in resolvers if not tag.endswith(":timestamp")]
    for first, resolvers in yaml.SafeLoader.yaml_implicit_resolvers.items()
}


def _refused(loader: _Loader, node: Any) -> None:
    loader.construct_undefined(node)


for _tag in ("timestamp", "binary", "set", "omap", "pairs"):
    _Loader.add_constructor(f"tag:yaml.org,2002:{_tag}", _refused)


class Dumper(yaml.SafeDumper):
    """Quotes what `_Loader` would take for a number."""


for _yaml in (_Loader, Dumper):
    _yaml.add_implicit_resolver(
        "tag:yaml.org,2002:float", re.compile(r"[-+]?(\d+(\.\d*)?|\.\d+)[eE][-+]?\d+$"), list("-+.0123456789")
    )


def _parse(text: str, where: str) -> Any:
    try:
        value = _load(text)
    except _NO_YAML as error:
        raise InputError(f"not a YAML value: {shortened(text)}", where=shortened(where), fix="quote it") from error
    check_settings(value, where=shortened(where))
    return value


def _load(text: str) -> Any:
    # PyYAML takes the square of the depth.
    depth = itertools.accumulate(1 if bracket[0] in "[{" else -1 for bracket in _BRACKETS.finditer(text))
    if max(depth, default=0) > _DEEPEST or len(text) > _LARGEST:
        raise RecursionError
    return yaml.load(text, _Loader)  # noqa: S506 - a SafeLoader


def read_yaml(path: Path) -> dict[str, Any]:
    """The mapping that a file holds.

    Raises:
        InputError: The file is missing, does not hold a YAML mapping, or holds data.
    """
    if kind(path) == "nothing":
        raise InputError("no such configuration", where=str(path), fix="see `sparring recipes` for ready ones")
    if _holds_rows(path):
        source = shlex.quote(str(path))
        fix = f"`sparring init {source}` writes a configuration for it; `sparring train auto data.source={source}` "
        fix += "plays without one"
        raise InputError("is a data file, and no configuration", where=str(path), fix=fix)
    text = read_text(path, fix="give a file of YAML", largest=_LARGEST)
    try:
        values = _load(text)
    except _NO_YAML as error:
        raise InputError(f"cannot be read as YAML: {_told(error)}", where=str(path), fix="correct it there") from error
    if not isinstance(values, dict):
        raise InputError("a configuration is a mapping of keys to values", where=str(path))
    check_settings(values, where=str(path))
    return values


def _holds_rows(path: Path) -> bool:
    """Whether a file is one of data. JSON is YAML too: a configuration in it is no list and not large."""
    if kind(path) != "file" or not is_data(path):
        return False
    if path.suffix.lower() != ".json" or path.stat().st_size > _LARGEST:
        return True
    with path.open("rb") as file:
        return file.read(_LARGEST).lstrip().startswith(b"[")


def _told(error: Exception) -> str:
    return "it nests too deeply" if isinstance(error, RecursionError) else str(error)


def shortened(text: str) -> str:
    """A text as an error shows it."""
    return text if len(text) <= _LONGEST_SHOWN else f"{text[:_LONGEST_SHOWN]}…"
