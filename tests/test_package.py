"""The package as it is published: what is in it, and that it runs where no checkout is."""

from __future__ import annotations

import os
import subprocess
import sys
import sysconfig
import tarfile
import tomllib
import venv
import zipfile
from email import message_from_bytes
from email.message import Message
from pathlib import Path, PurePosixPath

import pytest

from e2e.command import write_tiny_config

ROOT = Path(__file__).parents[1]


@pytest.fixture(scope="module")
def project() -> dict[str, object]:
    return tomllib.loads((ROOT / "pyproject.toml").read_text(encoding="utf-8"))["project"]


@pytest.fixture(scope="module")
def sdist(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("sdist")
    command = (sys.executable, "-m", "hatchling", "build", "--target", "sdist", "--directory", str(folder))
    subprocess.run(command, cwd=ROOT, check=True, capture_output=True, timeout=120)
    (built,) = folder.iterdir()
    return built


@pytest.fixture(scope="module")
def wheel(sdist: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Built from the source distribution, as pip builds it, so that nothing is missing there."""
    folder = tmp_path_factory.mktemp("wheel")
    pip("wheel", "--no-deps", "--no-build-isolation", "--no-index", "--wheel-dir", folder, sdist)
    (built,) = folder.iterdir()
    return built


def pip(*arguments: object) -> None:
    command = (sys.executable, "-m", "pip", "--quiet", "--disable-pip-version-check", *map(str, arguments))
    subprocess.run(command, check=True, capture_output=True, timeout=120)


def sources() -> set[str]:
    """The files of the package in the checkout, e.g. `sparring/types.py`."""
    files = (path.relative_to(ROOT / "src") for path in (ROOT / "src" / "sparring").rglob("*") if path.is_file())
    return {path.as_posix() for path in files if "__pycache__" not in path.parts}


def metadata(wheel: Path) -> Message:
    with zipfile.ZipFile(wheel) as archive:
        (name,) = (each for each in archive.namelist() if each.endswith(".dist-info/METADATA"))
        return message_from_bytes(archive.read(name))


def test_the_source_distribution_holds_what_a_build_needs(sdist: Path) -> None:
    with tarfile.open(sdist) as archive:
        names = {PurePosixPath(*PurePosixPath(name).parts[1:]).as_posix() for name in archive.getnames()}
    about = {".gitignore", "CHANGELOG.md", "CITATION.cff", "LICENSE", "PKG-INFO", "README.md", "pyproject.toml"}
    assert names == about | {f"src/{name}" for name in sources()}


def test_the_wheel_holds_the_package_and_its_files(wheel: Path) -> None:
    with zipfile.ZipFile(wheel) as archive:
        names = {name for name in archive.namelist() if ".dist-info/" not in name}
    assert names == sources()
    assert {"sparring/py.typed", "sparring/recipes/accelerate/ddp.yaml", "sparring/reports/templates/run.html"} <= names


def test_what_an_index_shows_leads_somewhere(wheel: Path, project: dict[str, object]) -> None:
    about = metadata(wheel)
    assert (about["Version"], about["License-Expression"]) == (project["version"], "Apache-2.0")
    page = about.get_payload()
    assert isinstance(page, str)
    assert ".md)" not in page
    assert "(https://sparring.readthedocs.io/studies/#prompts-without-an-expert)" in page


@pytest.fixture(scope="module")
def installed(wheel: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The folder of the commands of an environment that has the wheel, and the libraries of this one."""
    home = tmp_path_factory.mktemp("installed")
    venv.create(home)
    python = home / "bin" / "python"
    pip("--python", python, "install", "--no-deps", "--no-index", wheel)
    packages = Path(sysconfig.get_path("purelib", vars={"base": str(home), "platbase": str(home)}))
    # A path in a .pth file is not searched for .pth files in its turn, so an editable installation in this environment
    # leads nobody to the checkout.
    (packages / "libraries.pth").write_text(sysconfig.get_path("purelib"), encoding="utf-8")
    where = said(python, "-c", "import sparring; print(sparring.__file__)", at=home).strip()
    assert where == str(packages / "sparring" / "__init__.py")
    return python.parent


def said(*arguments: object, at: Path) -> str:
    """What a command writes on its standard output, run in the folder `at` without this environment's variables."""
    environment = {name: value for name, value in os.environ.items() if not name.startswith("PYTHON")}
    command = [str(argument) for argument in arguments]
    done = subprocess.run(command, cwd=at, env=environment, check=False, capture_output=True, text=True, timeout=120)
    assert done.returncode == 0, done.stderr
    return done.stdout


def test_the_command_is_there_with_its_recipes(installed: Path, wheel: Path, tmp_path: Path) -> None:
    assert said(installed / "sparring", "--version", at=tmp_path).strip() == metadata(wheel)["Version"]
    assert "quickstart" in said(installed / "python", "-m", "sparring", "recipes", at=tmp_path)


@pytest.mark.slow
def test_it_plays_where_no_checkout_is(installed: Path, tiny_folder: Path, tmp_path: Path) -> None:
    data = {"source": "arithmetic", "limit": 2, "held_out": 1, "max_response_tokens": 8}
    config = write_tiny_config(tmp_path / "config.yaml", tiny_folder, iterations=1, warmup=None, data=data)
    assert "to train on, 1 held out" in said(installed / "sparring", "plan", config, "--no-calibration", at=tmp_path)
    assert "iteration 0" in said(installed / "sparring", "train", config, at=tmp_path)
    assert "</html>" in (tmp_path / "run" / "report.html").read_text(encoding="utf-8")
