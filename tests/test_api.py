"""A run from Python: its report is written, and every training has the user's callbacks."""

from __future__ import annotations

from pathlib import Path
from typing import Any

from transformers import TrainerCallback, TrainerState

from a_run import a_config
from sparring import resume, run
from sparring.run_directory import RunDirectory


class Counts(TrainerCallback):
    """The steps of every training that it was part of."""

    def __init__(self) -> None:
        self.steps: list[int] = []

    def on_train_end(self, args: Any, state: TrainerState, *_: Any, **__: Any) -> None:
        self.steps.append(state.global_step)


def test_a_run_has_its_report_and_the_users_callbacks(tiny_folder: Path, tmp_path: Path) -> None:
    counts, data = Counts(), {"source": "arithmetic", "limit": 4, "held_out": 1, "max_response_tokens": 4}
    settings = {"warmup": {"training": {"max_steps": 2}}, "training": {"max_steps": 1}, "stop": {"enabled": False}}
    config = a_config(tiny_folder, tmp_path / "run", data=data, iterations=2, **settings)
    result = run(config, callbacks=[counts])
    assert counts.steps == [2, 1, 1]
    report = result.directory / "report.html"
    whole = report.read_text(encoding="utf-8")
    assert "iteration 1" in whole

    # As if it had been killed before its end.
    directory, again = RunDirectory(result.directory), Counts()
    directory.result.unlink()
    report.unlink()
    resume(result.directory, callbacks=[again])
    assert again.steps == []
    assert report.exists()
