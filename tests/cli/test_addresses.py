"""No user and password of an address is repeated, in what a command prints or writes."""

from __future__ import annotations

import re
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import yaml

from sparring.errors import InputError
from sparring.files import read_json
from sparring.selfplay.checks.addresses import check_addresses
from sparring.selfplay.config.schema import SelfPlayConfig

Sparring = Callable[..., tuple[object, str]]
SECRET = "pa55word"
URL = f"https://me:{SECRET}@host.invalid/x"
DATA = {"source": "arithmetic", "limit": 4, "held_out": 1}
QUESTIONS = Path(__file__).parent / "questions.jsonl"

JUDGE = ["--judge", "llm", "model=m", f"base_url={URL}", "--instructions", QUESTIONS]

OVERRIDES = {
    "data": f"data.source={URL}",
    "data file": f"data.source={URL}.jsonl",
    "data folder": f"data.source=/mnt/me:{SECRET}@host/rows",
    "as scp writes it": f"data.source=me:{SECRET}@host:/rows",
    "template": f"data.chat_template={URL}",
    "model": f"model.name={URL}",
    "teacher": f"data.teacher={{model: '{URL}'}}",
    "judge": f"evaluation.judge={{name: pairwise, model: '{URL}'}}",
    "judge's address": f"evaluation.judge={{name: llm, model: m, base_url: '{URL}'}}",
    "endpoint": f"generation={{name: openai, endpoints: ['{URL}'], model: m}}",
    "cluster": f"workers={{name: ray, address: '{URL}'}}",
    "run's name": f"training.run_name={URL}",
    "Hub": f"training.hub_model_id={URL}",
    "of a wrong type": f"iterations={URL}",
    "unknown key": f"{URL}=1",
    "a value that is no YAML": f"data={{{URL}",
}


@pytest.mark.parametrize("override", OVERRIDES.values(), ids=OVERRIDES)
@pytest.mark.parametrize("command", ["train", "plan"])
def test_a_configuration(command: str, override: str, tiny_folder: Path, tmp_path: Path, sparring: Sparring) -> None:
    config = {"output": str(tmp_path / "run"), "model": {"name": str(tiny_folder)}, "data": DATA}
    (tmp_path / "config.yaml").write_text(yaml.safe_dump(config))
    code, told = sparring(command, tmp_path / "config.yaml", override)
    assert code == 2
    # What comes first says what takes time, and names nothing.
    assert re.sub(r"\Areading the data[^\n]*\n", "", told).startswith("sparring: ")
    assert SECRET not in told
    assert not (tmp_path / "run").exists()


@pytest.mark.parametrize(
    "command",
    [
        ["report", URL],
        ["resume", URL],
        ["generate", URL, "--prompt", "1"],
        ["train", URL],
        ["export-samples", URL, "x.parquet"],
        ["evaluate", "outputs", URL, QUESTIONS, "x.json"],
        ["evaluate", "outputs", "m", URL, "x.json"],
        ["evaluate", "judge", "a.json", "b.json", "x.json", *JUDGE],
    ],
    ids=lambda command: " ".join(map(str, command[:2])).replace(URL, "URL"),
)
def test_an_argument(command: list[object], sparring: Sparring) -> None:
    code, told = sparring(*command)
    assert code == 2, told
    assert SECRET not in told


@pytest.mark.parametrize("where", ["data.source", "model.name", "output", "training.run_name"])
def test_what_a_run_would_write_down_is_refused_before_it_is(where: str) -> None:
    config: dict[str, Any] = {"data": DATA}
    section, _, key = where.partition(".")
    config |= {section: URL} if not key else {section: config.get(section, {}) | {key: URL}}
    with pytest.raises(InputError, match="holds a user or a password") as refused:
        check_addresses(SelfPlayConfig.from_mapping(config))
    assert refused.value.where == where
    assert SECRET not in str(refused.value)
    assert "api_key_env" in str(refused.value.fix)


def test_a_prompt_may_speak_of_an_address() -> None:
    teacher = {"system": f"Addresses look like {URL}."}
    check_addresses(SelfPlayConfig.from_mapping({"data": DATA | {"teacher": teacher}}))


def test_the_command_of_a_manifest(
    tiny_folder: Path, tmp_path: Path, sparring: Sparring, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A program of somebody's own, with options of its own, may play a run."""
    from a_run import a_config
    from sparring.selfplay.checks.folder import make_folder
    from sparring.selfplay.prepared import prepare
    from sparring.selfplay.set_up import claim

    config = a_config(tiny_folder, tmp_path / "run")
    monkeypatch.setattr("sys.argv", ["/home/me/play.py", f"--tracker={URL}"])
    claim(prepare(config), make_folder(config))
    assert read_json(tmp_path / "run" / "manifest.json")["command"] == [
        "play.py",
        "--tracker=https://***@host.invalid/x",
    ]
