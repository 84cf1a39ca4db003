"""The other commands, and every objective, opponent and regularizer through the loop."""

from __future__ import annotations

import itertools
import json
from collections.abc import Callable
from pathlib import Path
from types import SimpleNamespace

import pytest

from sparring.log_ratios import PREFERENCE_FIELDS, SUPERVISED_FIELDS, TEAM_FIELDS
from sparring.objectives import OBJECTIVES
from sparring.opponents import OPPONENTS
from sparring.recipes import recipes
from sparring.regularizers import REGULARIZERS
from sparring.run_directory import RunDirectory
from sparring.types import Objective, Opponent

Cli = Callable[..., SimpleNamespace]
Config = Callable[..., Path]
DATA = {"source": "arithmetic", "limit": 4, "held_out": 1, "max_response_tokens": 16}


def events(run: Path) -> list[dict[str, object]]:
    return RunDirectory(run).events()


def test_plan(cli: Cli, tiny_config: Config, tmp_path: Path) -> None:
    config = tiny_config(objective={"name": "spin", "beta": 0.1})
    planned = json.loads(cli("plan", config, "--json").stdout)
    (phase,) = planned["phases"]
    assert (phase["objective"], phase["iterations"]) == ("spin", 2)
    assert phase["stability"]["value"] == 0.1
    assert phase["stability"]["contraction_factor"] == pytest.approx(9.0)
    assert phase["stability"]["verdict"].startswith("overshoots")
    assert planned["data"] == {"train": 12, "held_out": 4}
    assert all(value > 0 for part in ("tokens", "rates", "memory", "seconds") for value in planned[part].values())
    assert not (tmp_path / "run").exists()
    shown = cli("plan", config, "objective.beta=1.0", "--no-calibration").stdout
    assert "β = 1; converges" in " ".join(shown.split())


def test_recipes_and_help(cli: Cli) -> None:
    assert json.loads(cli("recipes", "--json").stdout) == recipes()
    assert set(recipes()) >= {"quickstart", "spin", "space", "sft", "lora", "gsm8k"}
    assert "resume" in cli("--help").stdout


def test_generate(cli: Cli, tiny_folder: Path, tmp_path: Path) -> None:
    ask = ("generate", tiny_folder, "-p", "one", "-p", "two", "-k", 2, "--max-tokens", 5, "--seed", 1, "--json")
    answers = json.loads(cli(*ask).stdout)
    assert [answer["prompt"] for answer in answers] == ["one", "one", "two", "two"]
    assert json.loads(cli(*ask).stdout) == answers
    file = tmp_path / "prompts.jsonl"
    file.write_text('{"prompt": "one"}\n', encoding="utf-8")
    assert "> one" in cli("generate", tiny_folder, "--data", file, "--max-tokens", 3).stdout
    assert cli("generate", tiny_folder).returncode == 2
    assert "top_k" in cli("generate", tiny_folder, "-p", "one", "-k", 2, "--top-k", 1).stderr


def test_a_collapse_ends_the_run(cli: Cli, tiny_config: Config, tmp_path: Path) -> None:
    # A learning rate that wrecks the model in its first iteration.
    config = tiny_config(
        data=DATA | {"verifier": None},
        training={"learning_rate": 0.5, "per_device_train_batch_size": 2},
        objective={"name": "spin", "beta": 0.1},
        warmup={"training": {"learning_rate": 1e-3}},
        iterations=3,
        stop={"metric": "log_likelihood/token"},
    )
    done = cli("train", config)
    assert done.returncode == 0, done.stderr
    result = json.loads((tmp_path / "run" / "result.json").read_text())
    assert result["stopped_early"]
    assert result["best"] == "warmup"
    assert "log_likelihood/token fell from" in result["reason"]
    assert "stopped early" in done.stdout
    assert not (tmp_path / "run" / "iterations" / "002").exists()


VERIFIER = {"name": "verifier", "rule": "final-number"}


def with_judge(name: str, **options: object) -> dict[str, object]:
    return {"objective": {"name": name, **options}, "iterations": 1, "judge": VERIFIER}


def playing(name: str, objective: Objective) -> dict[str, object]:
    if objective.requires & PREFERENCE_FIELDS:
        return with_judge(name)
    team = {"opponent": {"name": "team"}} if objective.requires & TEAM_FIELDS else {}
    return {"objective": {"name": name}, "iterations": 1, **team}


def meeting(name: str, opponent: Opponent) -> dict[str, object]:
    reads = {"objective": {"name": "tpaw"}} if opponent.spec(0).team else {}
    return {"opponent": {"name": name}, "iterations": 3, **reads}


# Of a scorer's next tokens none are computed for the held-out prompts.
UNMEASURED = {
    name
    for name, build in OBJECTIVES.items()
    if build().requires <= SUPERVISED_FIELDS or "generated_next_tokens" in build().requires
}


PENALTY = {"weight": 0.1}
UNJUDGED = [name for name, build in REGULARIZERS.items() if not build(weight=1.0).requires & PREFERENCE_FIELDS]


PLAYED = {
    **{name: playing(name, build()) for name, build in OBJECTIVES.items()},
    "all pairs": with_judge("inpo", pairs="all"),
    "judge expert": with_judge("dpo") | {"judge": {"name": "expert", "expert_plays": True}},
    "t-spin": {"objective": {"name": "t-spin"}, "iterations": 2},
    **{name: meeting(name, build()) for name, build in OPPONENTS.items()},
    "mixture": {"opponent": {"name": "geometric-mixture", "samples": "mixture"}, "iterations": 2},
    "mixture, lora": {
        "opponent": {"name": "geometric-mixture", "samples": "mixture", "alpha": 0.5},
        "iterations": 2,
        "lora": {"r": 2},
    },
    "regularizers": {"iterations": 1, "regularizers": [PENALTY | {"name": name} for name in UNJUDGED]},
    "judged regularizers": with_judge("dpo")
    | {"regularizers": [PENALTY | {"name": name} for name in REGULARIZERS if name not in UNJUDGED]},
    "length-normalized": {
        "iterations": 1,
        "regularizers": [{"name": "sft", "weight": 0.1, "length_normalized": True}],
    },
}


@pytest.mark.parametrize("case", PLAYED)
def test_everything_registered_plays(cli: Cli, tiny_config: Config, tmp_path: Path, case: str) -> None:
    settings = {
        "warmup": None,
        "data": DATA,
        "stop": {"enabled": False},
        "generation": {"samples_per_prompt": 2},
    } | PLAYED[case]
    done = cli("train", tiny_config(**settings))
    assert done.returncode == 0, done.stderr
    last = tmp_path / "run" / "iterations" / f"{settings['iterations'] - 1:03d}"
    measured = json.loads((last / "evaluation.json").read_text())
    judged = [event for event in events(tmp_path / "run") if event["stage"] == "judge"]
    assert ("judge" in settings) == (last / "judgements").exists() == bool(judged)
    assert case in UNMEASURED or "judge" in settings or "objective" in measured
    trained = {name for event in events(tmp_path / "run") if event["stage"] == "train" for name in event}
    added = {f"regularizer/{penalty['name']}" for penalty in settings.get("regularizers", ())}
    assert added <= trained
    assert case != "regularizers" or added <= set(measured)


@pytest.mark.parametrize(
    ("settings", "problem"),
    [
        ({"objective": {"name": "sppo"}}, "objective 'sppo' needs preferences, which only a judge can give"),
        ({"judge": VERIFIER}, "objective 'spif' reads no preferences"),
        (with_judge("sppo") | {"judge": {"name": "verifer"}}, "did you mean 'verifier'"),
        (with_judge("sppo") | {"judge": {"name": "verifier", "rul": "x"}}, "did you mean 'rule'"),
        (with_judge("sppo"), "nothing to compare one response with"),
        (with_judge("dpo") | {"judge": {"name": "expert"}}, "set judge.expert_plays: true"),
        (
            with_judge("dpo")
            | {"judge": {"name": "llm", "model": "m", "api_key_env": "NO_SUCH_KEY"}}
            | {"generation": {"samples_per_prompt": 2}},
            "NO_SUCH_KEY is not set",
        ),
    ],
)
def test_a_judge_that_is_missing_or_wrong_is_refused_first(
    cli: Cli, tiny_config: Config, tmp_path: Path, settings: dict[str, object], problem: str
) -> None:
    done = cli("train", tiny_config(**settings))
    assert done.returncode == 2
    assert problem in done.stderr
    assert not (tmp_path / "run" / "manifest.json").exists()


def test_game(cli: Cli, tmp_path: Path) -> None:
    page = tmp_path / "game.html"
    done = cli("game", "imitation", "spin:beta=0.8", "--iterations", 6, "--html", page, "--json")
    played = json.loads(done.stdout)
    # At β = 0.8 the error in log π shrinks by 1/β − 1 = ¼ an iteration.
    ratios = [after / before for before, after in itertools.pairwise(played["log_error"])]
    assert ratios == pytest.approx([0.25] * 6, rel=1e-6)
    assert "plotly" in page.read_text(encoding="utf-8")
    shown = cli("game", "preference", "sppo:eta=1", "-r", "reverse-kl:weight=0.5", "--iterations", 40)
    # The equilibrium of the regularised game, which the last iterate has reached.
    assert "0.422 0.383 0.196" in shown.stdout
    wrong = cli("game", "imitation", "spin:bta=1")
    assert wrong.returncode == 2
    assert "objective 'spin' has no option 'bta'" in wrong.stderr
    assert "no smooth minimiser" in cli("game", "imitation", "spin:link=hinge").stderr
    assert cli("game", "imitation", "--expert", "0.5,0.6").returncode == 2
