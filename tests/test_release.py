"""What `make release` refuses, and that this checkout agrees with itself on its version."""

from __future__ import annotations

import shutil
import subprocess
from pathlib import Path

import pytest

from release import ROOT, NotReadyError, check_clean, version

FILES = ("pyproject.toml", "CITATION.cff", "CHANGELOG.md")


@pytest.fixture
def checkout(tmp_path: Path) -> Path:
    for name in FILES:
        shutil.copy(ROOT / name, tmp_path)
    return tmp_path


def test_this_checkout_agrees_on_its_version(checkout: Path) -> None:
    assert version(checkout) in (ROOT / "CHANGELOG.md").read_text(encoding="utf-8")


@pytest.mark.parametrize(
    ("file", "was", "becomes", "said"),
    [
        ("pyproject.toml", 'version = "', 'version = "9', r"pyproject.toml has version 9.*CITATION.cff has \['"),
        ("CITATION.cff", "date-released: 2", "date-released: 3", r"CHANGELOG.md begins .* expected was \['\[.*– 3"),
        ("CHANGELOG.md", "\n## ", "\n## [Unreleased]\n\n## ", r"begins with the section '\[Unreleased\]'"),
        ("CHANGELOG.md", "\n## ", "\n### ", "begins with the section None"),
    ],
)
def test_files_that_disagree(checkout: Path, file: str, was: str, becomes: str, said: str) -> None:
    path = checkout / file
    text = path.read_text(encoding="utf-8")
    assert was in text
    path.write_text(text.replace(was, becomes), encoding="utf-8")
    with pytest.raises(NotReadyError, match=said):
        version(checkout)


def test_a_release_is_of_a_commit(tmp_path: Path) -> None:
    subprocess.run(("git", "init", "--quiet"), cwd=tmp_path, check=True)
    check_clean(tmp_path)
    (tmp_path / "mine.txt").touch()
    with pytest.raises(NotReadyError, match=r"not committed:\n\?\? mine.txt$"):
        check_clean(tmp_path)
