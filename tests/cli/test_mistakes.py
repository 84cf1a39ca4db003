"""What people write who know other tools, and what each is told to write instead."""

from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path

import pytest

from sparring.cli.training import plan_command, resume_command, train_command
from sparring.errors import InputError
from sparring.run_directory import RunDirectory

CONFIG = """\
data: {source: sft.jsonl, held_out: 1}
objective: {name: spif, beta: 1.0, reward_bound: 2.0}
"""
MISTAKES = {
    "objective=spin": ["objective: must be a mapping of keys to values, got 'spin'; write objective.name=spin"],
    "objective.name=SPIN": ["unknown objective 'SPIN'", "fix: did you mean 'spin'?"],
    "learning_rate=1e-4": ["learning_rate: unknown key; did you mean 'training.learning_rate'?"],
    "lr=1e-4": ["lr: unknown key; did you mean 'training.learning_rate'?"],
    "warmup.learning_rate=1e-4": ["warmup.learning_rate: unknown key; did you mean 'warmup.training.learning_rate'?"],
    "training.per_device_batch_size=2": ["has no field", "fix: did you mean 'per_device_train_batch_size'?"],
    "training.lr=1e-4": ["has no field 'lr'", "fix: did you mean 'learning_rate'?"],
    "training.learning_rate=1e-4x": [
        "must be a number, got '1e-4x'",
        "fix: write digits alone, such as 0.0001 or 1e-4",
    ],
    "training.learning_rate='1e-4'": ["must be a number, got '1e-4'", "fix: write it without quotes"],
    "lora.rank=8": ["LoraConfig has no field 'rank'", "fix: did you mean 'r'?"],
    "lora=true": [
        "lora: must be a mapping of keys to values, got true;",
        "write lora: {} for the defaults, or lora={} as an override",
    ],
    "lora=false": ["lora: must be a mapping", "write null to do without"],
    "warmup=true": ["warmup: must be a mapping", "write warmup: {} for the defaults"],
    "objective.name=dpo": ["objective 'dpo' has no option 'reward_bound'", "fix: remove it: it is left from spif;"],
    "objective={name: dpo}": ["needs preferences", "where the data hold preferences, set responses: data"],
    "data.source=preferences.jsonl": [
        "line 1, field 'response': objective 'spif' needs an expert response",
        "the rows hold preferences: learn from those with objective: {name: dpo} and responses: data",
        "or imitate what was chosen, with data.columns: {response: chosen}",
    ],
    "data.source=compared.jsonl": ["the rows hold preferences", "and responses: data; or leave out"],
    "--output x": ["--output: is a setting, and no option", "fix: write output=x"],
    "--learning-rate=1e-4": ["--learning-rate: is a setting", "fix: write training.learning_rate=1e-4"],
    "--lora.r 8": ["fix: write lora.r=8"],
    "generation=vllm": ["got 'vllm'; write generation.name=vllm"],
    "regularizers=[sft]": ["regularizers.0: must be a mapping of keys to values, got 'sft'; write {name: sft}"],
    "evaluation.judge=verifier": ["evaluation.judge: must be a mapping", "write evaluation.judge.name=verifier"],
    "phases=[{learning_rate: 1}]": [
        "phases.0.learning_rate: unknown key; did you mean 'phases.0.training.learning_rate'?"
    ],
    "samples_per_prompt=4": ["'generation.samples_per_prompt' or 'evaluation.samples_per_prompt'?"],
    "warmup.until=null": [
        "sparring: command line, warmup.until=null: warmup.until: Input should be 'end' or 'plateau', got null",
        "; write 'end' or 'plateau'",
    ],
    "data.limit=many": ["command line, data.limit=many: data.limit: ", "got 'many'; write a whole number, or null"],
    "data.limit=0": ["got 0; write 1 or more, or null"],
    "warmup.patience=0": ["command line, warmup.patience=0: ", "got 0; write 1 or more"],
    "stop.enabled=maybe": ["got 'maybe'; write true or false"],
    "objectve.beta=2": ["sparring: command line, objectve.beta=2: objectve: unknown key; did you mean 'objective'?"],
    "beta=1": ["did you mean 'objective.beta'?"],
    # Of TRL.
    "training.beta=0.1": ["training.beta: 'beta' cannot be set here", "fix: did you mean 'objective.beta'?"],
    "training.loss_type=sigmoid": ["did you mean 'objective.name'?"],
    "objective={name: sigmoid}": ["unknown objective 'sigmoid'", "fix: 'sigmoid' is {name: dpo} here"],
    "objective={name: hinge}": ["fix: 'hinge' is {name: spin, link: hinge} here"],
    "objective.loss_type=sigmoid": ["no option 'loss_type'", "fix: remove it: 'sigmoid' is objective={name: dpo} here"],
    "objective.link=hinge": ["objective 'spif' has no option 'link'", "remove it: it is left from spin"],
    "objective.loss_type=ipo": ["fix: remove it: 'ipo' is objective={name: ipo} here"],
    "training.max_length=512": ["set data.max_prompt_tokens and data.max_response_tokens in its place"],
    "training.max_prompt_length=512": ["did you mean 'data.max_prompt_tokens'?"],
    "training.precompute_ref_log_probs=true": ["fix: remove it: the opponent's log-probs are always computed once"],
    "warmup={training: {max_length: 512}}": ["set data.max_prompt_tokens and data.max_response_tokens in its place"],
    "phases=[{training: {beta: 1}}]": ["phases.0, training.beta", "did you mean 'objective.beta'?"],
    "data.max_length=512": ["data.max_length: unknown key; set data.max_prompt_tokens and data.max_response_tokens"],
    "max_length=512": ["max_length: unknown key; set data.max_prompt_tokens and data.max_response_tokens"],
    "training.eval_strategy=steps": [
        "'eval_strategy' cannot be set here",
        "fix: remove it: the run evaluates by itself, after every stage; see `evaluation`",
    ],
    "data.dataset_name=x": ["did you mean 'data.source'?"],
    "generation.max_new_tokens=8": ["did you mean 'data.max_response_tokens'?"],
    "phases=[{generation: {num_generations: 4}}]": ["did you mean 'phases.0.generation.samples_per_prompt'?"],
    "peft.r=8": ["command line, peft.r=8: peft: unknown key; did you mean 'lora'?"],
    "use_peft=true": ["did you mean 'lora'?"],
    "lora_r=8": ["did you mean 'lora.r'?"],
    "lora.learning_rate=1e-4": ["fix: did you mean 'training.learning_rate'?"],
    "eval_strategy=steps": ["unknown key; remove it: the run evaluates by itself, after every stage"],
    "--model_name_or_path x": ["fix: write model.name=x"],
    "--max-length=512": ["fix: set data.max_prompt_tokens and data.max_response_tokens"],
    # Of another section.
    "data.iterations=3": ["data.iterations: unknown key; did you mean 'iterations' at the top?"],
    "training.iterations=3": ["fix: did you mean 'iterations' at the top?"],
    "training.seed=3": ["fix: set `seed` at the top"],
    "stop.name=x": ["stop.name: unknown key; known: alarms, enabled, max_drop, metric"],
    "data.verifier=my_rule:right": [
        "data.verifier: a function of your own is a judge's rule and no verifier of the data",
        "write judge (or evaluation.judge): {name: verifier, rule: my_rule:right}",
        "what can stand here: final-number, ",
    ],
    "data=rows.jsonl": ["got 'rows.jsonl'; write data.source=rows.jsonl"],
}


@pytest.fixture
def folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    rows = [{"prompt": f"{number}?", "response": f"{number}!"} for number in range(4)]
    write(tmp_path / "sft.jsonl", rows)
    write(
        tmp_path / "preferences.jsonl", [{"prompt": row["prompt"], "chosen": "yes", "rejected": "no"} for row in rows]
    )
    write(
        tmp_path / "compared.jsonl",
        [{"prompt": row["prompt"], "responses": ["a", "b"], "scores": [1, 2]} for row in rows],
    )
    (tmp_path / "mine.yaml").write_text(CONFIG, encoding="utf-8")
    monkeypatch.chdir(tmp_path)
    return tmp_path


def write(path: Path, rows: list[dict[str, object]]) -> None:
    path.write_text("".join(json.dumps(row) + "\n" for row in rows), encoding="utf-8")


@pytest.mark.parametrize("mistake", MISTAKES)
def test_a_mistake_is_told_what_to_write(
    sparring: Callable[..., tuple[object, str]], folder: Path, mistake: str
) -> None:
    # Options are separate arguments; a setting may hold spaces.
    given = mistake.split() if mistake.startswith("--") else [mistake]
    code, told = sparring("plan", "mine.yaml", *given)
    assert code == 2
    missing = [text for text in MISTAKES[mistake] if text not in told]
    assert not missing, f"{missing} not in: {told}"


def test_each_of_two_mistakes_is_told_where_it_stands(
    sparring: Callable[..., tuple[object, str]], folder: Path
) -> None:
    Path("mine.yaml").write_text(CONFIG + "iterations: few\n", encoding="utf-8")
    code, told = sparring("plan", "mine.yaml", "data.limit=many")
    assert code == 2
    assert "command line, data.limit=many: data.limit: " in told
    assert "mine.yaml: iterations: " in told


def test_the_first_word_of_a_run_comes_before_what_takes_time(
    folder: Path, tiny_folder: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    changes = ["data.source=preferences.jsonl", f"model.name={tiny_folder}"]
    with pytest.raises(InputError, match="needs an expert response"):
        train_command("mine.yaml", changes, skip_invalid=False, as_json=True)
    told = capsys.readouterr()
    assert (told.out, told.err.splitlines()[0]) == ("", "reading the data, then loading the model")


@pytest.mark.parametrize(
    ("calibrated", "line"),
    [(True, "reading the data, then loading the model and timing it here, half a minute"), (False, "reading the data")],
)
def test_a_plan_says_at_once_what_takes_time(
    folder: Path, tiny_folder: Path, capsys: pytest.CaptureFixture[str], calibrated: bool, line: str
) -> None:
    changes = ["data.source=preferences.jsonl", f"model.name={tiny_folder}"]
    with pytest.raises(InputError, match="needs an expert response"):
        plan_command(
            "mine.yaml",
            changes,
            processes=None,
            sharded=False,
            calibrated=calibrated,
            within=None,
            skip_invalid=False,
            as_json=True,
        )
    told = capsys.readouterr()
    assert (told.out, told.err.splitlines()[0].startswith(line)) == ("", True)
    assert ("timing" in told.err) == calibrated


_BEGUN = "output: x\ndata: {source: arithmetic, limit: 4}\n"


@pytest.mark.parametrize(
    ("there", "line"),
    [
        ([], "going on before any training ended: "),
        (["warmup/model", "iterations/000/model"], "going on after iterations/000: "),
        (["warmup/training/checkpoint-9", "warmup/training/checkpoint-15"], "going on from step 15 of warmup: "),
    ],
)
def test_a_resumed_run_says_first_what_it_goes_on_with(
    there: list[str], line: str, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    (tmp_path / "config.yaml").write_text(_BEGUN, encoding="utf-8")
    (tmp_path / "manifest.json").write_text("{}", encoding="utf-8")
    for folder in there:
        (tmp_path / folder).mkdir(parents=True)
    with pytest.raises(InputError):
        resume_command(tmp_path, trust_remote_code=False, as_json=True)
    told = capsys.readouterr()
    assert (told.out, told.err) == ("", f"{line}reading the data, then loading the model\n")


def test_a_run_that_cannot_go_on_is_not_said_to_go_on(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    (tmp_path / "config.yaml").write_text(f"{_BEGUN}objective: {{name: 'mine:Margin'}}\n", encoding="utf-8")
    (tmp_path / "manifest.json").write_text("{}", encoding="utf-8")
    with pytest.raises(InputError, match="would run with all your rights"):
        resume_command(tmp_path, trust_remote_code=False, as_json=True)
    with RunDirectory(tmp_path).held(), pytest.raises(InputError, match="another process is playing this run"):
        resume_command(tmp_path, trust_remote_code=True, as_json=True)
    assert capsys.readouterr().err == ""


def test_a_file_of_another_ending_is_named(sparring: Callable[..., tuple[object, str]], folder: Path) -> None:
    code, told = sparring("train", "mine.yml")
    assert (code, told.splitlines()[-1].strip()) == (2, "fix: did you mean 'mine.yaml', which is there?")
    code, told = sparring("train", folder / "mine.yml")
    assert (code, f"did you mean '{folder / 'mine.yaml'}', which is there?" in told) == (2, True)
    code, told = sparring("train", "quickstrat")
    assert (code, told.splitlines()[-1].strip()) == (2, "fix: did you mean 'quickstart'?")


@pytest.mark.parametrize("command", ["train", "plan", "launch"])
@pytest.mark.parametrize("name", ["sft.jsonl", "rows of mine.JSON", "rows.csv", "rows.parquet"])
def test_a_data_file_in_the_place_of_a_configuration_is_told(
    sparring: Callable[..., tuple[object, str]], folder: Path, command: str, name: str
) -> None:
    if not Path(name).exists():
        Path(name).write_bytes({"rows.csv": b"prompt,response\na,b\n"}.get(name, b' [{"prompt": "a"}]'))
    code, told = sparring(command, name)
    assert (code, f"{name}: is a data file, and no configuration" in told) == (2, True)
    shown = f"'{name}'" if " " in name else name
    assert f"fix: `sparring init {shown}` writes a configuration for it; `sparring train auto " in told
    assert f"data.source={shown}` plays without one" in told


def test_a_configuration_may_be_json(sparring: Callable[..., tuple[object, str]], folder: Path) -> None:
    Path("mine.json").write_text(json.dumps({"data": {"source": "sft.jsonl", "limt": 1}}), encoding="utf-8")
    code, told = sparring("plan", "mine.json")
    assert (code, "data.limt: unknown key; did you mean 'limit'?" in told) == (2, True)


def test_a_data_file_in_the_place_of_a_setting_is_told(
    sparring: Callable[..., tuple[object, str]], folder: Path
) -> None:
    code, told = sparring("train", "auto", "sft.jsonl")
    assert (code, "fix: write data.source=sft.jsonl" in told) == (2, True)


def test_what_is_no_setting_either_is_left_to_the_options(
    sparring: Callable[..., tuple[object, str]], folder: Path
) -> None:
    code, told = sparring("plan", "mine.yaml", "--jso")
    assert code == 2
    assert "No such option: --jso" in told
    assert "--json" in told


def test_following_the_advice_on_preferences_is_enough(
    sparring: Callable[..., tuple[object, str]], folder: Path, tiny_folder: Path
) -> None:
    common = ("plan", "mine.yaml", "data.source=preferences.jsonl", f"model.name={tiny_folder}", "--no-calibration")
    code, told = sparring(*common, "objective={name: dpo}", "responses=data", "data.max_response_tokens=8")
    assert code == 0, told
    code, told = sparring(*common, "data.columns={response: chosen}", "data.max_response_tokens=8")
    assert code == 0, told


def test_a_function_in_the_place_of_a_judge_is_told_that_it_is_a_rule(
    sparring: Callable[..., tuple[object, str]], folder: Path
) -> None:
    Path("plain_rule.py").write_text("def right(response, answer): return response == answer\n", encoding="utf-8")
    given = ("plan", "mine.yaml", "objective={name: sppo}", "generation.samples_per_prompt=2", "--no-calibration")
    code, told = sparring(*given, "judge.name=plain_rule:right")
    rule = "{name: verifier, rule: plain_rule:right}"
    assert code == 2
    assert "judge 'plain_rule:right' is a function, and no class" in told
    assert f"fix: write {rule}, or consensus in place of verifier; or write a class that derives from " in told
    code, told = sparring(*given, f"judge={rule}")
    assert code == 0, told
