"""The page on an objective of one's own does what it says: its code is run from the page."""

from __future__ import annotations

import json
import re
import subprocess
import sys
from pathlib import Path

import pytest
import torch

from sparring.log_ratios import LogRatios
from sparring.selfplay.config.schema import SelfPlayConfig
from sparring.selfplay.phases import phases_of

PAGE = (Path(__file__).parents[2] / "docs" / "your-own.md").read_text(encoding="utf-8")


def blocks(language: str) -> list[str]:
    """The code of that language on the page, in order."""
    return re.findall(rf"^```{language}\n(.*?)^```", PAGE, flags=re.MULTILINE | re.DOTALL)


@pytest.fixture
def folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A folder with the page's module, in which Python stands."""
    (tmp_path / "my_objective.py").write_text(blocks("python")[0], encoding="utf-8")
    monkeypatch.chdir(tmp_path)
    monkeypatch.setattr(sys, "path", list(sys.path))
    monkeypatch.delitem(sys.modules, "my_objective", raising=False)
    return tmp_path


def test_the_page_stays_short() -> None:
    assert len([line for line in blocks("python")[0].splitlines() if line.strip()]) <= 20


def test_it_finds_the_expert_of_an_exact_game(folder: Path) -> None:
    code = blocks("python")[1] + "assert play.kl[-1] < 1e-9 < play.kl[0]\n"
    done = subprocess.run([sys.executable, "-c", code], cwd=folder, capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr


def test_its_stability_number_is_that_of_the_exact_iteration(folder: Path) -> None:
    (folder / "my_stable_objective.py").write_text(blocks("python")[2], encoding="utf-8")
    done = subprocess.run(
        [sys.executable, "-c", blocks("python")[3]], cwd=folder, capture_output=True, text=True, check=False
    )
    assert done.returncode == 0, done.stderr
    for line in done.stdout.splitlines():
        told, exact = map(float, line.split())
        assert told == pytest.approx(exact)
    assert len(done.stdout.splitlines()) == 3


def test_what_learns_from_preferences_ends_at_the_scores_behind_them(folder: Path) -> None:
    (folder / "my_preference.py").write_text(blocks("python")[4], encoding="utf-8")
    code = blocks("python")[5] + (
        "wanted = torch.softmax(game.reference.log() + score.double() / 2.0, 0)\n"
        "assert (play.policies[-1] - wanted).abs().max() < 1e-6\n"
        "from sparring.log_ratios import LogRatios\n"
        "table, ratio = torch.tensor([[[0.5, 0.9], [0.1, 0.5]]]), torch.tensor([[0.3, -0.2]])\n"
        "loss = Pairs()(LogRatios(generated=ratio, pairwise=table)).loss\n"
        "even = LogRatios(generated=ratio, pairwise=table, generated_weight=torch.full((1, 2), 0.5))\n"
        "assert torch.equal(loss, Pairs()(even).loss)\n"
    )
    done = subprocess.run([sys.executable, "-c", code], cwd=folder, capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr


def test_it_plays_from_the_command_line(folder: Path) -> None:
    (command,) = (line.removeprefix("$ sparring ") for line in blocks("console")[0].splitlines())
    done = subprocess.run(
        [sys.executable, "-P", "-m", "sparring", *command.split(), "--json"],
        cwd=folder,
        capture_output=True,
        text=True,
        check=False,
    )
    assert done.returncode == 0, done.stderr
    assert json.loads(done.stdout)["kl"][-1] < 0.01


def test_it_is_found_beside_the_configuration(folder: Path) -> None:
    (folder / "config.yaml").write_text(blocks("yaml")[0], encoding="utf-8")
    config = SelfPlayConfig.from_yaml(folder / "config.yaml")
    (phase,) = phases_of(config)
    ratios = LogRatios(expert=torch.tensor([1.0]), generated=torch.tensor([[0.0, 0.5]]))
    # ½ (2 (1 − ¼) − 1)²
    assert phase.objective(ratios).loss.item() == 0.125
