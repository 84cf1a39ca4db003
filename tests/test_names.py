"""One word, one thing: a public class has its name to itself."""

from __future__ import annotations

import ast
from collections import defaultdict
from pathlib import Path

SOURCE = Path(__file__).parents[1] / "src" / "sparring"


def shared(folder: Path) -> dict[str, list[str]]:
    """The names that several public classes have, with the modules that they are in."""
    modules: dict[str, list[str]] = defaultdict(list)
    for file in sorted(folder.rglob("*.py")):
        for node in ast.walk(ast.parse(file.read_text(encoding="utf-8"))):
            if isinstance(node, ast.ClassDef) and not node.name.startswith("_"):
                modules[node.name].append(str(file.relative_to(folder)))
    return {name: where for name, where in modules.items() if len(where) > 1}


def test_no_two_public_classes_share_a_name() -> None:
    assert shared(SOURCE) == {}


def test_a_name_that_is_taken_is_found_with_its_places(tmp_path: Path) -> None:
    (tmp_path / "one").mkdir()
    (tmp_path / "one" / "a.py").write_text("class Verdict: ...\nclass _Row: ...\n")
    (tmp_path / "b.py").write_text("class _Row: ...\nif True:\n    class Verdict: ...\nclass Other: ...\n")
    assert shared(tmp_path) == {"Verdict": ["b.py", "one/a.py"]}
