"""The Dockerfile, without a daemon: what it copies is there, and its package builds from that alone."""

from __future__ import annotations

import re
import shlex
import shutil
import subprocess
import sys
import zipfile
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[1]


def stages() -> list[list[list[str]]]:
    """The words of each instruction, stage by stage."""
    text = re.sub(r"\\\n", "", (ROOT / "Dockerfile").read_text(encoding="utf-8"))
    found: list[list[list[str]]] = []
    for line in text.splitlines():
        if line.startswith("FROM "):
            found.append([])
        if line and not line.startswith("#") and found:
            found[-1].append(shlex.split(line))
    return found


def copied(stage: list[list[str]]) -> list[tuple[str, str]]:
    """What a stage takes from the checkout, each with where it goes."""
    copies = (words[1:] for words in stage if words[0] == "COPY" and not words[1].startswith("--from"))
    return [(source, to) for *sources, to in copies for source in sources]


@pytest.fixture
def source(tmp_path: Path) -> Path:
    """The working folder of the first stage."""
    for name, to in copied(stages()[0]):
        target = tmp_path / to / name if to == "./" else tmp_path / to
        if (ROOT / name).is_dir():
            shutil.copytree(ROOT / name, target, ignore=shutil.ignore_patterns("__pycache__"))
        else:
            shutil.copy(ROOT / name, target)
    return tmp_path


def test_what_it_copies_is_there_and_reaches_the_daemon() -> None:
    kept = {line[1:] for line in (ROOT / ".dockerignore").read_text(encoding="utf-8").splitlines() if line[:1] == "!"}
    needed = {source for stage in stages() for source, _ in copied(stage)}
    assert needed == kept
    assert all((ROOT / name).exists() for name in needed)


def test_the_package_builds_from_what_is_copied(source: Path) -> None:
    (libraries,) = (words for words in stages()[0] if words[:3] == ["RUN", "python", "-c"])
    asked = subprocess.run(
        (sys.executable, "-c", libraries[3]), cwd=source, check=True, capture_output=True, encoding="utf-8", timeout=60
    ).stdout.split("\n")
    assert {"torch>=2.11", "transformers>=5.16,<6"} <= set(asked)
    command = (sys.executable, "-m", "pip", "wheel", "--no-build-isolation", "--no-index", "--no-deps", "--quiet")
    subprocess.run((*command, "--wheel-dir", "wheels", "."), cwd=source, check=True, capture_output=True, timeout=120)
    (wheel,) = (source / "wheels").iterdir()
    with zipfile.ZipFile(wheel) as archive:
        names = set(archive.namelist())
    assert {"sparring/cli/app.py", "sparring/recipes/auto.yaml", "sparring/reports/templates/run.html"} <= names


def test_what_it_pins_has_one_version_in_the_constraints() -> None:
    constraints = (ROOT / "constraints.txt").read_text(encoding="utf-8").splitlines()
    pinned = re.findall(r"grep (\^[\w-]+==) constraints", (ROOT / "Dockerfile").read_text(encoding="utf-8"))
    assert len(pinned) == 3
    assert all(sum(line.startswith(name[1:]) for line in constraints) == 1 for name in pinned)


def test_it_runs_as_nobody_in_particular() -> None:
    *_, last = stages()
    assert [words[1] for words in last if words[0] == "USER"] == ["1000"]
