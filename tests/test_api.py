"""A run from Python: its report is written, and every training has the user's callbacks."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest
from transformers import TrainerCallback, TrainerState

from a_run import a_config
from sparring import resume, run
from sparring.errors import InputError
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


@pytest.mark.parametrize(
    ("config", "fix"),
    [({"output": "runs/x"}, "from_mapping"), (Path("mine.yaml"), "from_yaml"), ("mine.yaml", "from_yaml")],
)
def test_what_is_no_configuration_is_told_how_to_become_one(config: Any, fix: str) -> None:
    with pytest.raises(InputError, match=f"must be a SelfPlayConfig, got .*\n.*{fix}"):
        run(config)


@pytest.mark.parametrize(("callbacks", "where"), [([Counts(), print], r"callbacks\[1\]"), (Counts(), "callbacks")])
def test_what_is_no_callback_is_told_before_the_run(
    tiny_folder: Path, tmp_path: Path, callbacks: Any, where: str
) -> None:
    with pytest.raises(InputError, match=where):
        run(a_config(tiny_folder, tmp_path / "run"), callbacks=callbacks)
    assert not (tmp_path / "run").exists()


def test_a_process_plays_one_run_at_a_time(tiny_folder: Path, tmp_path: Path) -> None:
    settings = {"iterations": 1, "training": {"max_steps": 1}, "stop": {"enabled": False}}
    data = {"source": "arithmetic", "limit": 4, "held_out": 1, "max_response_tokens": 4}
    told = list[InputError]()

    class Plays(TrainerCallback):
        def on_step_end(self, *_: Any, **__: Any) -> None:
            with pytest.raises(InputError, match="this process plays another run") as caught:
                run(a_config(tiny_folder, tmp_path / "inner", data=data, **settings))
            told.append(caught.value)

    config = a_config(tiny_folder, tmp_path / "outer", data=data, **settings)
    assert run(config, callbacks=[Plays()]).directory == tmp_path / "outer"
    assert [error.where for error in told] == [str(tmp_path / "inner")]
    # What was refused can be played when the other has ended.
    assert resume(run(a_config(tiny_folder, tmp_path / "later", data=data, **settings)).directory)
