"""Makes a release ready, `make release`: checks it, builds it, and says how to publish it. It publishes nothing itself.

It needs git, and `build`, `twine` and `cffconvert` in the environment that runs it.
"""

from __future__ import annotations

import re
import shutil
import subprocess
import sys
import tomllib
from pathlib import Path

ROOT = Path(__file__).parents[1]


class NotReadyError(Exception):
    """What must be mended before a release."""


def version(root: Path) -> str:
    """The version that pyproject.toml, CITATION.cff and the first section of CHANGELOG.md agree on.

    Raises:
        NotReadyError: They do not agree, on the version or on its date, or there are changes that are not yet released.
    """
    project: str = tomllib.loads((root / "pyproject.toml").read_text(encoding="utf-8"))["project"]["version"]
    cited = (root / "CITATION.cff").read_text(encoding="utf-8")
    citation = {field: re.findall(rf"^{field}: (\S+)$", cited, re.MULTILINE) for field in ("version", "date-released")}
    if citation["version"] != [project]:
        raise NotReadyError(f"pyproject.toml has version {project}, CITATION.cff has {citation['version']}")
    changes = re.search(r"^## (.+)$", (root / "CHANGELOG.md").read_text(encoding="utf-8"), re.MULTILINE)
    wanted = [f"[{project}] – {date}" for date in citation["date-released"]]
    if changes is None or [changes[1]] != wanted:
        raise NotReadyError(f"CHANGELOG.md begins with the section {changes and changes[1]!r}; expected was {wanted}")
    return project


def check_clean(root: Path) -> None:
    """Raises NotReadyError where the working tree is not its last commit, from which a release can be built again."""
    status = subprocess.run(
        ("git", "status", "--porcelain"), cwd=root, check=True, capture_output=True, encoding="utf-8"
    ).stdout
    if status:
        raise NotReadyError(f"the working tree has changes that are not committed:\n{status.rstrip()}")


def build(root: Path) -> list[Path]:
    """The source distribution and the wheel, made from it, in `dist/`, which holds nothing else; checked by twine."""
    folder = root / "dist"
    shutil.rmtree(folder, ignore_errors=True)
    _run("cffconvert", "--validate", at=root)
    _run("pyproject-build", "--outdir", str(folder), at=root)
    files = sorted(folder.iterdir())
    _run("twine", "check", "--strict", *map(str, files), at=root)
    return files


def _run(command: str, *arguments: str, at: Path) -> None:
    """Runs a command of this environment."""
    subprocess.run((Path(sys.executable).with_name(command), *arguments), cwd=at, check=True)


def main() -> None:
    """Checks, builds, and says what is left to do."""
    try:
        released = version(ROOT)
        check_clean(ROOT)
        files = build(ROOT)
    except NotReadyError as problem:
        sys.exit(f"not ready: {problem}")
    except FileNotFoundError as missing:
        sys.exit(f"not ready: {missing.filename} is not there; `make release` makes an environment that has it")
    except subprocess.CalledProcessError as failure:
        sys.exit(f"not ready: `{' '.join(map(str, failure.cmd))}` failed")
    names = " ".join(str(file.relative_to(ROOT)) for file in files)
    print(f"\nsparring {released} is ready, and nothing has left this machine. To publish it:\n")
    print(f"  make test && git tag -a v{released} -m 'sparring {released}' && git push origin v{released}")
    print(f"  {Path(sys.executable).with_name('twine')} upload {names}")


if __name__ == "__main__":
    main()
