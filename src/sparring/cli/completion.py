"""Completions of arguments in a shell; see `sparring --install-completion`."""

from __future__ import annotations

from pathlib import Path

_CONFIGURATIONS = {".yaml", ".yml"}


def recipe_names(incomplete: str) -> list[str]:
    """The recipes whose names begin with the text so far."""
    from sparring.recipes import recipes

    return [name for name in recipes() if name.startswith(incomplete)]


def configurations(incomplete: str) -> list[str]:
    """The recipes, YAML files and folders whose names begin with the text so far."""
    head, slash, start = incomplete.rpartition("/")
    folder = Path(head + slash or ".")
    there = sorted(folder.iterdir()) if folder.is_dir() else []
    fitting = (each for each in there if each.name.startswith(start))
    found = [each.name + "/" if each.is_dir() else each.name for each in fitting if _is_offered(each)]
    return recipe_names(incomplete) + [head + slash + name for name in found]


def _is_offered(path: Path) -> bool:
    return path.suffix in _CONFIGURATIONS or path.is_dir()
