"""What MODEL|RUN names, without loading any of it."""

from __future__ import annotations

from pathlib import Path

import pytest

from sparring.cli.candidates import candidate, candidates, results_folder
from sparring.errors import InputError
from sparring.files import write_json
from tiny import save_tiny


@pytest.fixture
def run(tmp_path: Path) -> Path:
    """The bare folders of a run of eleven iterations, of which the last is not done."""
    folder = tmp_path / "run"
    for name in ("warmup", *(f"iterations/{number:03d}" for number in range(10))):
        (folder / name / "model").mkdir(parents=True)
    (folder / "iterations" / "010").mkdir()
    for name in ("config.yaml", "manifest.json"):
        (folder / name).touch()
    write_json(folder / "result.json", {"best": "iterations/002"})
    return folder


def test_a_run_is_all_its_policies_or_its_best(run: Path) -> None:
    names = [item.name for item in candidates(str(run), trust_remote_code=False)]
    assert names == ["base", "warmup", *(f"iterations/{number:03d}" for number in range(10))]
    best = candidate(str(run), trust_remote_code=False)
    assert best.stage is not None
    assert best.stage.path == run / "iterations" / "002"
    assert results_folder(best, None) == run / "iterations" / "002" / "benchmarks"


def test_a_policy_by_its_folder(run: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    (only,) = candidates(str(run / "iterations" / "004"), trust_remote_code=False)
    assert only.stage is not None
    assert only.stage.path == run / "iterations" / "004"
    with pytest.raises(InputError, match="no policy 'iterations/010'"):
        candidate(str(run / "iterations" / "010"), trust_remote_code=False)
    with pytest.raises(InputError, match="a run keeps its own results"):
        results_folder(only, run)
    monkeypatch.chdir(run)
    assert candidate("base", trust_remote_code=False).stage is not None
    assert candidate("some/model", trust_remote_code=False).stage is None


def test_models_of_one_name_are_kept_apart(tmp_path: Path) -> None:
    folders = set()
    for seed in (0, 1):
        path = save_tiny(tmp_path / str(seed) / "model", seed=seed)
        folders.add(results_folder(candidate(str(path), trust_remote_code=False), tmp_path / "kept"))
    assert len(folders) == 2
    assert all(folder is not None and folder.name.startswith("model-") for folder in folders)
    assert results_folder(candidate(str(path), trust_remote_code=False), None) is None
