"""`generate` asks a run's policy as it was trained; what is given goes before."""

from __future__ import annotations

import json
import shutil
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from a_run import a_config
from sparring.data import DataConfig, read_prompts
from sparring.files import read_json, write_json
from sparring.selfplay.loop import run

Sparring = Callable[..., tuple[object, str]]
ROWS = [{"question": f"{n} and {n}?", "answer": f"{n + n}."} for n in range(6)]


def write(path: Path, rows: list[dict[str, Any]]) -> Path:
    path.write_text("".join(json.dumps(row) + "\n" for row in rows), encoding="utf-8")
    return path


@pytest.fixture(scope="module")
def trained(tiny_folder: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("generate")
    data = {
        "source": str(write(folder / "own.jsonl", ROWS)),
        "columns": {"prompt": "question", "response": "answer"},
        "held_out": 1,
        "max_response_tokens": 3,
    }
    settings = {"generation": {"temperature": 0.5, "top_k": 4}, "training": {"max_steps": 1}, "iterations": 1}
    run(a_config(tiny_folder, folder / "run", data=data, stop={"enabled": False}, **settings))
    return folder / "run"


def answers(sparring: Sparring, *arguments: object) -> list[dict[str, str]]:
    code, told = sparring("generate", *arguments, "--json")
    assert code == 0, told
    found: list[dict[str, str]] = json.JSONDecoder().raw_decode(told)[0]
    return found


def test_a_runs_limits_and_sampling_are_its_own_unless_given(sparring: Sparring, trained: Path) -> None:
    own = answers(sparring, trained, "-p", "1 and 1?")
    alike = ("--temperature", 0.5, "--top-k", 4, "--max-tokens", 3)
    assert answers(sparring, trained, "-p", "1 and 1?", *alike) == own
    (longer,) = answers(sparring, trained, "-p", "1 and 1?", "--max-tokens", 9)
    assert longer["finish_reason"] == "stop" or len(longer["response"]) > len(own[0]["response"])


def test_a_file_is_read_as_the_run_read_its_data(sparring: Sparring, trained: Path, tmp_path: Path) -> None:
    asked = answers(sparring, trained, "--data", write(tmp_path / "more.jsonl", ROWS[:2]))
    assert [each["prompt"] for each in asked] == ["0 and 0?", "1 and 1?"]


def test_a_file_of_other_columns_is_read_by_what_they_are(tmp_path: Path) -> None:
    config = DataConfig(
        source="x.jsonl", columns={"prompt": "question", "response": "answer"}, format="prompt-response"
    )
    file = write(tmp_path / "bare.jsonl", [{"prompt": "One?"}, {"prompt": "One?"}])
    assert read_prompts(file, config) == ["One?", "One?"]
    assert read_prompts(file, DataConfig(source="arithmetic", limit=1)) == ["One?", "One?"]
    assert read_prompts(write(tmp_path / "own.jsonl", ROWS[:1]), config) == ["0 and 0?"]


def test_conversations_are_asked_with_their_system_turn_or_with_the_one_that_is_given(
    sparring: Sparring, tiny_folder: Path, tmp_path: Path
) -> None:
    turns = [{"role": "system", "content": "Be brief."}, {"role": "user", "content": "One?"}]
    file = write(tmp_path / "chats.jsonl", [{"messages": [*turns, {"role": "assistant", "content": "1"}]}])
    assert read_prompts(file) == [tuple(turns)]
    common = (tiny_folder, "--max-tokens", 8, "--seed", 3)
    read = answers(sparring, *common, "--data", file)
    assert read == answers(sparring, *common, "-p", "One?", "--system", "Be brief.")
    other = answers(sparring, *common, "--data", file, "--system", "Be long.")
    assert other == answers(sparring, *common, "-p", "One?", "--system", "Be long.")
    assert other != read


def test_which_policy_of_a_run_answers_is_told_beside_the_answers(
    sparring: Sparring, trained: Path, tmp_path: Path
) -> None:
    code, told = sparring("generate", trained, "-p", "1 and 1?", "--max-tokens", 2)
    assert (code, f"{trained}: its best policy, the run's iterations/000\n" in told) == (0, True)
    copy = tmp_path / "run"
    shutil.copytree(trained, copy)
    write_json(copy / "result.json", read_json(copy / "result.json") | {"best": "base"})
    code, told = sparring("generate", copy, "-p", "1 and 1?", "--max-tokens", 2)
    better = f"no policy that was trained after it was better; {copy / 'iterations/000'} is the last iteration"
    assert (code, f"{copy}: its best policy, the base model: {better}" in " ".join(told.split())) == (0, True)
    code, told = sparring("generate", copy / "base", "-p", "1 and 1?", "--max-tokens", 2)
    assert (code, "its best policy" in told) == (0, False)
