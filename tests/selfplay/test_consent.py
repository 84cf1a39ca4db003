"""What a run directory may not do without consent, since it may be another person's."""

from __future__ import annotations

import signal
from pathlib import Path
from typing import Any

import pytest

from sparring import interruptions
from sparring.cli.training import resume_command
from sparring.errors import InputError, StopError
from sparring.files import write_json
from sparring.run_directory import RunDirectory
from sparring.selfplay import loop
from sparring.selfplay.checks.consent import going_on, read_config
from sparring.selfplay.config.schema import SelfPlayConfig
from sparring.selfplay.result import Result
from sparring.selfplay.set_up import reopen

SPPO = {"objective": {"name": "sppo"}, "generation": {"samples_per_prompt": 2}}
RULE = SPPO | {"judge": {"name": "verifier", "rule": "judges.rules:length"}}


def written(folder: Path, **sections: Any) -> RunDirectory:
    config = SelfPlayConfig.from_mapping({"data": {"source": "arithmetic", "limit": 8}} | sections)
    directory = RunDirectory(folder)
    directory.config.write_text(config.to_yaml(), encoding="utf-8")
    write_json(directory.manifest, {"fingerprints": {"config": "another"}, "own_code": {}})
    return directory


def llm(**settings: Any) -> dict[str, Any]:
    return SPPO | {"judge": {"name": "llm", "model": "m"} | settings}


def server(*endpoints: str, **settings: Any) -> dict[str, Any]:
    return {"generation": {"name": "server", "endpoints": list(endpoints)} | settings}


def ray(address: str) -> dict[str, Any]:
    return {"workers": {"name": "ray", "address": address}}


@pytest.mark.parametrize(
    ("sections", "wish"),
    [
        (RULE, "judges with the Python function 'judges.rules:length', which would run with all your rights"),
        (
            {"evaluation": {"judge": RULE["judge"]}},
            "judges with the Python function 'judges.rules:length', which would run with all your",
        ),
        (llm(), "would send the key in the variable OPENAI_API_KEY to https://api.openai.com/v1"),
        (
            llm(base_url="http://127.0.0.1.evil.org/v1", api_key_env="AWS_SECRET_ACCESS_KEY"),
            "would send the key in the variable AWS_SECRET_ACCESS_KEY to http://127.0.0.1.evil.org/v1",
        ),
        (
            server("http://localhost:8000", "http://10.0.0.1:8000", api_key_env="HF_TOKEN"),
            "would send the key in the variable HF_TOKEN to http://10.0.0.1:8000",
        ),
        (ray("ray://10.0.0.1:10001"), "would join the Ray cluster at ray://10.0.0.1:10001"),
        ({"training": {"report_to": "wandb"}}, "would report to the tracker 'wandb', with the account"),
        ({"training": {"report_to": ["tensorboard", "trackio"]}}, "would report to the tracker 'trackio'"),
        ({"warmup": {"training": {"report_to": "all"}}}, "would report to the tracker 'all'"),
        ({"phases": [{"training": {"report_to": ["mlflow"]}}]}, "would report to the tracker 'mlflow'"),
        (ray("10.0.0.1:6379"), "would join the Ray cluster at 10.0.0.1:6379"),
    ],
    ids=[
        "rule",
        "rule of held-out responses",
        "judge",
        "other key",
        "server",
        "tracker",
        "one of the trackers",
        "trackers of the warm-up",
        "tracker of a phase",
        "ray client",
        "ray",
    ],
)
def test_a_run_that_is_resumed_asks_first(tmp_path: Path, sections: dict[str, Any], wish: str) -> None:
    directory = written(tmp_path, **sections)
    with pytest.raises(InputError) as caught:
        read_config(directory, trust_remote_code=False, resumes=True)
    assert caught.value.problem.startswith(f"this run {wish}")
    assert "; and it" not in caught.value.problem
    # What is to be trusted the problem says: of some runs code, of others addresses.
    assert caught.value.fix == "check that you trust that, then give --trust-remote-code"
    trusted = read_config(directory, trust_remote_code=True, resumes=True)
    assert going_on(directory) == f"sparring resume {directory.path} --trust-remote-code"
    # Only its model is loaded, so nothing of this would come to pass.
    assert read_config(directory, trust_remote_code=False) == trusted


def test_code_of_the_users_own_is_asked_for_where_the_run_goes_on(tmp_path: Path) -> None:
    directory = written(tmp_path, generation={"name": "samplers.mine:Sampler", "width": 3})
    with pytest.raises(InputError, match=r"plays with Python code that it names \(samplers\.mine:Sampler\)"):
        read_config(directory, trust_remote_code=False, resumes=True)
    trusted = read_config(directory, trust_remote_code=True, resumes=True)
    assert read_config(directory, trust_remote_code=False) == trusted


@pytest.mark.parametrize(
    "sections",
    [
        SPPO | {"judge": {"name": "verifier", "rule": "regex", "pattern": "a:b"}},
        llm(base_url="http://127.0.0.1:8000/v1"),
        llm(base_url="https://judge.example.org/v1", api_key_env=None),
        server("http://localhost:8000", "http://[::1]:8000", api_key_env="VLLM_API_KEY"),
        server("http://10.0.0.1:8000"),
        ray("auto"),
        ray("127.0.0.1:6379"),
        ray("ray://localhost:10001"),
    ],
    ids=["regex", "judge", "no key", "server", "server without key", "auto", "ray", "ray client"],
)
def test_what_stays_on_this_machine_does_not(tmp_path: Path, sections: dict[str, Any]) -> None:
    directory = written(tmp_path, **sections)
    assert read_config(directory, trust_remote_code=False, resumes=True)
    assert going_on(directory) == f"sparring resume {directory.path}"


def test_a_judge_that_phases_share_is_named_once(tmp_path: Path) -> None:
    directory = written(tmp_path, **llm(), phases=[{}, {}])
    with pytest.raises(InputError) as caught:
        read_config(directory, trust_remote_code=False, resumes=True)
    assert caught.value.problem.count("OPENAI_API_KEY") == 1


def test_everything_is_named_at_once_before_anything_else_is_looked_at(tmp_path: Path) -> None:
    directory = written(tmp_path, **RULE | {"model": {"trust_remote_code": True}})
    with pytest.raises(InputError, match=r"brings its own Python code.*; and it judges with"):
        reopen(directory.path)
    with pytest.raises(InputError, match="the configuration was changed"):
        reopen(directory.path, trust_remote_code=True)


def test_a_model_with_its_own_code_goes_on_with_consent_alone(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    folder = tmp_path / "a run"
    folder.mkdir()
    directory = written(folder, model={"trust_remote_code": True})
    monkeypatch.setenv("WORLD_SIZE", "2")
    assert going_on(directory) == f"sparring launch '{folder}' --trust-remote-code"


def test_a_run_that_is_stopped_says_with_which_option_it_goes_on(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def stopped(*_: Any, **__: Any) -> None:
        raise interruptions.Interruption(signal.SIGINT)

    directory = written(tmp_path, **RULE)
    monkeypatch.setattr(loop, "resume", stopped)
    with pytest.raises(StopError, match=f"go on with `sparring resume {tmp_path} --trust-remote-code`"):
        resume_command(directory.path, trust_remote_code=True, as_json=True)


@pytest.mark.parametrize("best", ["base", "warmup"])
def test_a_run_that_has_ended_needs_no_consent_to_say_so(
    tmp_path: Path, capsys: pytest.CaptureFixture[str], best: str
) -> None:
    directory = written(tmp_path, **RULE)
    directory.warmup.model.mkdir(parents=True)
    write_json(directory.result, {"best": best, "reason": "all was played", "log_lines": 0})
    known = Result(
        directory=tmp_path,
        best=directory.warmup.model if best == "warmup" else None,
        stopped_early=False,
        reason="all was played",
    )
    assert loop.resume(tmp_path) == known
    assert "nothing is left to do; give --trust-remote-code to have" in " ".join(capsys.readouterr().err.split())
    with pytest.raises(InputError, match="the configuration was changed"):
        loop.resume(tmp_path, trust_remote_code=True)
    directory.result.write_text("{", encoding="utf-8")
    with pytest.raises(InputError, match="this run judges with the Python function"):
        loop.resume(tmp_path)
