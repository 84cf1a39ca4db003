"""Bad input ends with exit code 2, before anything expensive, and says what, where, and how to mend it."""

from __future__ import annotations

import json
import re
import shutil
from collections.abc import Callable
from pathlib import Path
from types import SimpleNamespace

import pytest
from pyarrow import parquet

from sparring.files import lock, read_json, write_json
from sparring.run_directory import RunDirectory
from tiny import CHATML, save_tiny

Cli = Callable[..., SimpleNamespace]
Config = Callable[..., Path]

GOOD = [{"prompt": f"What is {n} + 1?", "response": f"{n} + 1 = {n + 1}\n#### {n + 1}"} for n in range(12)]


def rows(folder: Path, *changed: object) -> dict[str, object]:
    """A data section on a file with good rows and, in their place from the third on, the changed ones."""
    path = folder / "data.jsonl"
    lines = [json.dumps(row) for row in GOOD]
    lines[2 : 2 + len(changed)] = [row if isinstance(row, str) else json.dumps(row) for row in changed]
    path.write_text("\n".join(lines), encoding="utf-8")
    return {"source": str(path), "limit": 6, "held_out": 2, "max_response_tokens": 40}


def empty_file(folder: Path) -> dict[str, object]:
    (folder / "empty.jsonl").touch()
    return {"source": str(folder / "empty.jsonl")}


LLM = {"objective": {"name": "sppo"}, "judge": {"name": "pairwise", "model": "m"}, "warmup": None}
LLM |= {"generation": {"samples_per_prompt": 2}}
GIVEN = {"objective": {"name": "dpo"}, "responses": "data"}
COMPARED = [
    {"prompt": f"{n}?", "responses": ["a", "b", "c"][: 2 + n % 2], "scores": [3, 2, 1][: 2 + n % 2]} for n in range(12)
]
FILES = {
    "good": GOOD,
    "prompts": [{"prompt": row["prompt"]} for row in GOOD],
    "comparisons": COMPARED,
}


def file(folder: Path, name: str) -> dict[str, object]:
    path = folder / f"{name}.jsonl"
    path.write_text("\n".join(map(json.dumps, FILES[name])), encoding="utf-8")
    return {"source": str(path), "limit": 6, "held_out": 2, "max_response_tokens": 40}


def chats(folder: Path, turns: object, **settings: object) -> dict[str, object]:
    """A data section on chats, of which the third has the turns."""
    good = [
        {"messages": [{"role": "user", "content": f"{n}?"}, {"role": "assistant", "content": "Yes."}]}
        for n in range(12)
    ]
    good[2] = {"messages": turns}
    path = folder / "chats.jsonl"
    path.write_text("\n".join(map(json.dumps, good)), encoding="utf-8")
    return {"source": str(path), "limit": 10, "held_out": 2, "max_response_tokens": 40} | settings


def strict_template(folder: Path) -> str:
    """A chat template that takes no system turn."""
    path = folder / "strict.jinja"
    refusal = "{% if messages[0]['role'] == 'system' %}{{ raise_exception('no system turns') }}{% endif %}"
    path.write_text(refusal + CHATML, encoding="utf-8")
    return str(path)


def near_duplicates(folder: Path) -> dict[str, object]:
    """Training rows that ask in capitals what the held-out file asks."""
    loud, quiet = folder / "loud.jsonl", folder / "quiet.jsonl"
    quiet.write_text("\n".join(map(json.dumps, GOOD)), encoding="utf-8")
    shouted = [row | {"prompt": row["prompt"].upper()} for row in GOOD]
    loud.write_text("\n".join(map(json.dumps, shouted)), encoding="utf-8")
    return {"source": str(loud), "held_out_source": str(quiet), "limit": 6, "held_out": 2, "max_response_tokens": 40}


# What is wrong → the change of the configuration (given a folder) and what the error must say.
DATA: dict[str, tuple[Callable[[Path], dict[str, object]], list[str]]] = {
    "no file": (lambda f: {"source": str(f / "gone.jsonl")}, ["gone.jsonl", "no such file", "fix:"]),
    "empty data": (empty_file, ["empty.jsonl", "has no rows", "fix:"]),
    "missing field": (lambda f: rows(f, {"response": "Hi."}), ["line 3", "'prompt'", "is missing", "fix:"]),
    "no response to imitate": (
        lambda f: rows(f, {"prompt": "Hi?"}),
        ["line 3, field 'response': objective 'spif' needs an expert response, and there is none", "fix: give every"],
    ),
    "wrong type": (
        lambda f: rows(f, {"prompt": "Hi?", "response": 7}),
        ["line 3", "'response'", "must be text, got int"],
    ),
    "empty response": (lambda f: rows(f, {"prompt": "Hi?", "response": " "}), ["line 3", "'response'", "is empty"]),
    "duplicate rows": (lambda f: rows(f, GOOD[0]), ["line 3", "repeats", "line 1", "data.skip_invalid"]),
    "invalid JSON": (lambda f: rows(f, '{"prompt": '), ["line 3", "is not valid JSON", "fix:"]),
    "too few rows": (lambda f: rows(f) | {"limit": 50}, ["52 usable rows are needed", "12 are there", "data.limit"]),
    "fewer experts than wanted": (
        lambda f: rows(f) | {"experts": 13},
        ["13 expert responses are wanted (data.experts), 6 training rows have one", "lower data.experts"],
    ),
    "prompt over the context": (
        lambda f: rows(f, {"prompt": "long " * 500, "response": "1"}) | {"overlong_prompt": "error", "limit": 10},
        ["tokens, over the limit of", "data.overlong_prompt"],
    ),
    "no room for a prompt": (
        lambda f: rows(f) | {"max_response_tokens": 512},
        ["context of 512 tokens leaves no room", "data.max_response_tokens"],
    ),
    "end token in a response": (
        lambda f: rows(f, {"prompt": "Hi?", "response": "Bye.<|im_end|>"}) | {"limit": 10, "special_tokens": "tokens"},
        ["line 3", "the response holds the end token '<|im_end|>'", "data.skip_invalid"],
    ),
    "what the model would not see": (
        lambda f: rows(f, GOOD[3] | {"tools": [{"name": "add"}]}),
        ["line 3, field 'tools'", "tools are not shown to the model", "data.ignore"],
    ),
    "unknown role": (
        lambda f: chats(f, [{"role": "customer", "content": "Hi?"}, {"role": "assistant", "content": "Hi."}]),
        ["line 3, field 'messages[0].role': unknown role 'customer'", "data.roles, e.g. {customer: user}"],
    ),
    "answer that is not trained on": (
        lambda f: chats(f, [{"role": "user", "content": "Hi?"}, {"role": "assistant", "content": "Hi.", "weight": 0}]),
        ["line 3, field 'messages[1]': is not to be trained on (weight: 0)", "end the conversation before it"],
    ),
    "row that the template refuses": (
        lambda f: chats(
            f,
            [{"role": role, "content": "Hi."} for role in ("system", "user", "assistant")],
            chat_template=strict_template(f),
        ),
        ["line 3", "at turn 1 of 2, the system's: TemplateError: no system turns", "data.skip_invalid: true"],
    ),
    "near-duplicate of a held-out prompt": (
        near_duplicates,
        ["has the prompt of the held-out", ", apart from white space, case or Unicode form", "fix: remove it from one"],
    ),
    "huge row": (
        lambda f: rows(f, {"prompt": "word " * 400_000, "response": "1"}) | {"limit": 10, "overlong_prompt": "error"},
        ["the prompt has 2,000,000 characters, which is over the limit of", "data.overlong_prompt"],
    ),
    "variable that is not the template's to set": (
        lambda f: rows(f) | {"template_options": {"messages": []}},
        ["data.template_options", "'messages' is given to the template by whoever renders it"],
    ),
    "unknown verifier": (lambda f: rows(f) | {"verifier": "exat"}, ["data.verifier", "did you mean 'exact'?"]),
    "unknown column": (lambda f: rows(f) | {"columns": {"prompt": "promt"}}, ["'promt'", "did you mean 'prompt'?"]),
}
SETTINGS: dict[str, tuple[dict[str, object], list[str]]] = {
    "unknown objective": ({"objective": {"name": "spiff"}}, ["unknown objective 'spiff'", "did you mean 'spif'?"]),
    "beta not positive": ({"objective": {"name": "spin", "beta": 0}}, ["beta must be a finite number > 0, got 0"]),
    "reward bound not positive": (
        {"objective": {"name": "spif", "reward_bound": -1}},
        ["reward_bound must be a finite number > 0, got -1"],
    ),
    "unknown option": (
        {"objective": {"name": "spif", "reward_bond": 1}},
        ["objective 'spif' has no option 'reward_bond'", "did you mean 'reward_bound'?"],
    ),
    "wrong type of an option": (
        {"regularizers": [{"name": "entropy", "weight": 0.1, "importance": "no"}]},
        ["regularizer 'entropy', importance: must be true or false, got 'no'"],
    ),
    "no module of your own": (
        {"objective": {"name": "my_module:Mine"}},
        [
            "objective.name: objective 'my_module:Mine': there is no module 'my_module'",
            "fix: put my_module.py beside the configuration",
        ],
    ),
    "unknown opponent": ({"opponent": {"name": "previos"}}, ["unknown opponent 'previos'", "did you mean 'previous'?"]),
    "typo at the top": ({"iteratons": 2}, ["iteratons: unknown key", "did you mean 'iterations'?"]),
    "typo below": ({"generation": {"temprature": 1}}, ["generation.temprature", "did you mean 'temperature'?"]),
    "wrong type of a setting": ({"iterations": "many"}, ["iterations:", "integer", "'many'"]),
    "unknown training argument": (
        {"training": {"learning_rat": 1e-4}},
        ["training.learning_rat", "did you mean 'learning_rate'?"],
    ),
    "argument of the loop": (
        {"training": {"seed": 3}},
        ["training.seed", "cannot be set here", "set `seed` at the top"],
    ),
    "unknown lora field": ({"lora": {"rank": 8}}, ["LoraConfig has no field 'rank'"]),
    "trained biases below a mixture": (
        {"lora": {"bias": "all"}, "opponent": {"name": "geometric-mixture", "samples": "mixture"}},
        ["lora.bias", "trained biases (all)", "fix: set it to none"],
    ),
    "mixture that no engine samples": (
        {"generation": {"name": "vllm"}, "opponent": {"name": "geometric-mixture", "samples": "mixture"}},
        ["generation.name", "'vllm' cannot", "set it to transformers, or the opponent's samples to policy"],
    ),
    "server without address": ({"generation": {"name": "server"}}, ["generation.endpoints: missing"]),
    "unknown generator": (
        {"generation": {"name": "vlm"}},
        ["generation.name: unknown name 'vlm'", "did you mean 'vllm'?"],
    ),
    "key of another generator": (
        {"generation": {"name": "vllm", "endpoints": ["http://127.0.0.1:9"]}},
        ["generation.endpoints: unknown key; known: batch_size, dtype"],
    ),
    "generator of your own that is not there": (
        {"generation": {"name": "no.such.module:Sampler"}},
        ["generation.name", "cannot be imported", "put its folder on PYTHONPATH"],
    ),
    "generator of your own that is none": (
        {"generation": {"name": "pathlib:Path"}},
        ["'pathlib:Path' is no generator: it has no of and no plan and no sample"],
    ),
    "no endpoint there": (
        {"generation": {"name": "server", "endpoints": ["http://127.0.0.1:9"]}},
        ["no endpoint answers (http://127.0.0.1:9", "start them, or correct their addresses"],
    ),
    "key that is not set": (
        {"generation": {"name": "server", "endpoints": ["http://127.0.0.1:9"], "api_key_env": "NO_KEY"}},
        ["generation.api_key_env: the variable NO_KEY is not set", "export NO_KEY=… before the run"],
    ),
    "adapter that no engine plays": (
        {"generation": {"name": "vllm"}, "lora": {"r": 4, "use_dora": True}},
        ["lora.use_dora", "set generation.name: transformers"],
    ),
    "metric without verifier": (
        {"data": "good", "stop": {"metric": "accuracy/greedy"}},
        ["stop.metric", "needs a verifier", "set data.verifier"],
    ),
    "metric without an expert": (
        {"data": "prompts", "stop": {"metric": "log_likelihood/token"}, **LLM},
        ["stop.metric", "'log_likelihood/token' needs an expert response, and no held-out row has that"],
    ),
    "metric without preferences": (
        {"data": "good", "stop": {"metric": "preference/accuracy"}},
        ["stop.metric", "'preference/accuracy' needs responses with preferences, and no held-out row has that"],
    ),
    "warm-up without an expert": (
        {"data": "prompts", **LLM, "warmup": {}},
        ["warmup: no training row has an expert response, which the warm-up needs", "or remove the warm-up"],
    ),
    "warm-up with nothing to train on": (
        {"data": "good", "warmup": {"until": "plateau", "validation": 6}},
        ["warmup.validation: all 6 training rows with an expert response are set apart", "lower it, add rows"],
    ),
    "patience without a plateau": (
        {"warmup": {"patience": 3}},
        ["warmup: patience is for until: plateau; set that, or remove it"],
    ),
    "auto with phases": (
        {"recipe": "auto", "phases": [{}]},
        ["phases: the recipe auto chooses what is played, and there are phases", "remove recipe: auto"],
    ),
    "control without an expert": (
        {"data": "prompts", **LLM, "warmup": None, "control": True},
        ["control: no training row has an expert response, which the control trains on", "remove control"],
    ),
    "nothing to train": (
        {"iterations": 0, "warmup": None},
        ["warmup: without iterations and without a warm-up nothing is trained; set one of the two"],
    ),
    "prompts alone for a verifier": (
        {"data": "prompts", **LLM, "judge": {"name": "verifier"}},
        ["objective 'sppo' with judge 'verifier' needs a ground truth", "needs_reference_answer = False"],
    ),
    "phase that is wrong": (
        {"phases": [{}, {"objective": {"name": "spin", "beta": 0}}]},
        ["phases.1, objective 'spin': beta must be a finite number > 0, got 0"],
    ),
    "unknown key of a phase": ({"phases": [{"objectve": {}}]}, ["phases.0.objectve: unknown key", "'objective'?"]),
    "phase without rows": (
        {"phases": [{}, GIVEN]},
        ["phases.1, objective.name: no training row has what objective 'dpo' needs: responses with preferences"],
    ),
    "generator of a phase": (
        {"phases": [{"generation": {"name": "vllm"}}]},
        ["phases.0, generation.name: the run has one generator", "leave it out here"],
    ),
    "judge of the data's responses": (
        GIVEN | {"judge": {"name": "verifier"}},
        ["judge: the data say themselves who beats whom", "remove the judge"],
    ),
    "objective of draws on the data's responses": (
        GIVEN | {"objective": {"name": "sppo"}},
        ["objective 'sppo' learns from draws of the opponent", "dpo, ipo, inpo"],
    ),
    "different numbers of the data's responses": (
        GIVEN | {"data": "comparisons", "warmup": None},
        ["responses: the rows have different numbers of responses to compare", "the same number for every prompt"],
    ),
    "teacher without a difference": (
        {"data": {"source": "arithmetic", "limit": 6, "teacher": {}}},
        ["data.teacher", "would be the base model itself", "set system, temperature or model"],
    ),
    "teacher with a verifier": (
        {"data": {"source": "arithmetic", "limit": 6, "verifier": "exact", "teacher": {"temperature": 0.5}}},
        ["data: verifier", "a teacher's need not be right", "remove one"],
    ),
    "alarm of no check": (
        {"stop": {"alarms": ["oscilation"]}},
        ["stop.alarms", "did you mean 'oscillation'?"],
    ),
    "limits in the wrong order": (
        {"stability": {"length": {"warn": 2, "alarm": 1}}},
        ["stability.length", "alarm (1) must not be below warn (2)"],
    ),
    "copies of layers": (
        {"lora": {"layer_replication": [[0, 1], [0, 2]]}},
        ["lora.layer_replication: copies of layers share their weights", "fix: leave it out"],
    ),
    "LoRA on a weight that is not there": (
        {"lora": {"target_modules": [], "target_parameters": ["experts.up"]}},
        ["lora.target_parameters: no weight of this model is called 'experts.up'", "give the end of a name"],
    ),
    "LoRA that peft refuses": (
        {"lora": {"target_modules": ["nowhere"]}},
        ["lora: peft cannot adapt this model so", "nowhere", "change lora.target_modules"],
    ),
    "quantisation without LoRA": (
        {"model": {"quantization": "nf4"}},
        ["model.quantization: weights of nf4 cannot be trained themselves", "add lora: {r: 16}"],
    ),
    "a team and an objective that reads none": (
        {"opponent": {"name": "team"}},
        ["opponent.name: opponent 'team' is a team, and 'spif' reads one opponent alone", "fix: take the opponent"],
    ),
    "an objective of a team without one": (
        {"objective": {"name": "tpaw"}},
        ["opponent.name: objective 'tpaw' plays against a team, and 'previous' is none", "{name: team}"],
    ),
    "a scorer and an objective that reads none": (
        {"scorer": {"policy": "base"}},
        ["scorer: objective 'spif' reads no scorer's next tokens", "fix: remove the scorer", "set scorer: null"],
    ),
    "a teacher that is not there scores": (
        {"objective": {"name": "distill"}, "scorer": {"policy": "teacher"}},
        ["scorer.policy: the run has no teacher", "fix: add data.teacher, or set it to previous or base"],
    ),
    "words that do not show the demonstration": (
        {"objective": {"name": "distill"}, "scorer": {"template": "{prompt}"}},
        ["scorer.template: must have {demonstration} in it, which stands for what the scorer is shown"],
    ),
    "demonstrations over the context": (
        {"objective": {"name": "distill"}, "scorer": {"template": "{prompt}" + "{demonstration}" * 40}},
        ["scorer: ", "prompts with their demonstration are over the", "that the model's context leaves", "fix: lower"],
    ),
    "implicit reward of the base model": (
        {
            "objective": {"name": "dpo"},
            "judge": {"name": "implicit"},
            "generation": {"samples_per_prompt": 2},
            "warmup": None,
        },
        ["judge.name: the judge reads how far the policy has moved", "every pair would tie", "fix: add warmup"],
    ),
    "prompts by iteration with earlier policies' responses": (
        {"objective": {"name": "t-spin"}, "data": {"source": "arithmetic", "limit": 8, "prompts_per_iteration": 4}},
        ["data.prompts_per_iteration: objective 't-spin' learns from earlier policies' responses", "fix: remove it"],
    ),
    "missing model": ({"model": {"name": "./no/such/model"}}, ["no/such/model", "fix:"]),
    "unwritable output": ({"output": "/proc/sparring"}, ["/proc/sparring", "cannot be written", "output=PATH"]),
}


def check(done: SimpleNamespace, expected: list[str]) -> None:
    assert done.returncode == 2, done.stderr
    missing = [text for text in expected if text not in done.stderr]
    assert not missing, f"{missing} not in: {done.stderr}"
    assert "Traceback" not in done.stderr


def test_the_page_of_errors_has_the_programs_words() -> None:
    page = Path(__file__).parents[2] / "docs" / "errors.md"
    cells = [re.split(r"(?<!\\)\|", line)[1:4] for line in page.read_text().splitlines() if line.startswith("| ")]
    said = {what.strip(): f"{error}fix:{fix}".replace("\\|", "|") for what, error, fix in cells}
    for what, (_, expected) in {**DATA, **SETTINGS}.items():
        assert what in said, f"docs/errors.md lacks: {what}"
        assert any(text in said[what] for text in expected if text != "fix:"), what


@pytest.mark.parametrize("case", DATA)
def test_bad_data(cli: Cli, tiny_config: Config, tmp_path: Path, case: str) -> None:
    section, expected = DATA[case]
    check(cli("train", tiny_config(data=section(tmp_path))), expected)
    assert not (tmp_path / "run").exists()


@pytest.mark.parametrize("case", SETTINGS)
def test_bad_setting(cli: Cli, tiny_config: Config, tmp_path: Path, case: str) -> None:
    changes, expected = SETTINGS[case]
    if isinstance(named := changes.get("data"), str):
        changes = changes | {"data": file(tmp_path, named)}
    check(cli("train", tiny_config(**changes)), expected)
    assert not (tmp_path / "run").exists()


def test_messages_without_chat_template(cli: Cli, tiny_config: Config, tmp_path: Path) -> None:
    plain = save_tiny(tmp_path / "plain", chat_template=None)
    turns = [{"role": "system", "content": "Be brief."}, {"role": "user", "content": "Hi"}]
    path = tmp_path / "chat.jsonl"
    lines = [{"messages": [*turns, {"role": "assistant", "content": f"Hello {n}"}]} for n in range(8)]
    path.write_text("\n".join(map(json.dumps, lines)), encoding="utf-8")
    config = tiny_config(model={"name": str(plain)}, data={"source": str(path), "limit": 1, "held_out": 0})
    check(cli("train", config), ["no chat template", "data.chat_template"])


def test_command_line(cli: Cli, tiny_config: Config, tmp_path: Path) -> None:
    check(cli("train", "quickstrat"), ["quickstrat", "did you mean 'quickstart'?"])
    check(cli("train", tiny_config(), "iterations"), ["'iterations' is not an override", "key.path=value"])
    check(cli("train", tiny_config(), "seed=[1"), ["not a YAML value"])
    check(cli("resume", tmp_path), ["not a run directory", "sparring train CONFIG"])
    check(cli("report", tmp_path), ["not a run directory"])
    broken = tmp_path / "broken.yaml"
    broken.write_text("a: [1", encoding="utf-8")
    check(cli("train", broken), ["broken.yaml", "cannot be read as YAML"])


def test_skip_invalid_counts_and_lists(cli: Cli, tiny_config: Config, tmp_path: Path) -> None:
    config = tiny_config(data=rows(tmp_path, {"response": "Hi."}, GOOD[0]), iterations=1, warmup=None)
    done = cli("train", config, "--skip-invalid")
    assert done.returncode == 0, done.stderr
    data = json.loads((tmp_path / "run" / "manifest.json").read_text())["data"]
    assert (data["read"], data["kept"]) == (12, 10)
    assert [where.split(", ")[1] for where, _ in data["skipped"]] == ["line 3", "line 4"]
    assert "2 rows were left out" in done.stderr


def test_a_run_that_is_there(cli: Cli, tiny_config: Config, tmp_path: Path) -> None:
    config, run = tiny_config(), tmp_path / "run"
    # Killed while it samples the base model, so there is something to damage.
    cli("train", config, kill_at=("sparring.selfplay.stages.evaluate:write_json", 1))
    check(cli("train", config), ["this run was started before", f"sparring resume {run}"])
    check(cli("train", config, "seed=9"), ["another configuration: seed is 3 there and 9 here", "output=PATH"])

    kept = run.with_name("kept")
    shutil.copytree(run, kept)
    shard = next((run / "base" / "held_out").glob("sampled-*.parquet"))
    shard.write_bytes(shard.read_bytes()[:100])
    done = cli("resume", run)
    assert done.returncode == 0, done.stderr
    # A path may be broken at the end of a line.
    assert f"{shard} is damaged, and computed again".replace(" ", "") in "".join(done.stderr.split())

    text = (kept / "config.yaml").read_text().replace("iterations: 2", "iterations: 3")
    (kept / "config.yaml").write_text(text, encoding="utf-8")
    check(cli("resume", kept), ["the configuration was changed after the run started", "undo the change"])


def test_data_that_changed(cli: Cli, tiny_config: Config, tmp_path: Path) -> None:
    config = tiny_config(data=rows(tmp_path))
    cli("train", config, kill_at=("sparring.selfplay.stages.evaluate:write_json", 1))
    rows(tmp_path, {"prompt": "Something else?", "response": "Yes. #### 1"})
    check(cli("resume", tmp_path / "run"), ["the data changed after the run started", "restore it"])


def test_disk_full(cli: Cli, tiny_config: Config, tmp_path: Path) -> None:
    config = tiny_config(iterations=1, warmup=None)
    done = cli("train", config, disk_full_at=("sparring.work.fill:write_shard", 3))
    assert done.returncode == 1
    assert "the disk is full; free some space, then `sparring resume RUN`" in done.stderr
    assert "Traceback" not in done.stderr
    assert cli("resume", tmp_path / "run").returncode == 0


def test_no_space_within_torch_save(cli: Cli, tiny_config: Config, tmp_path: Path) -> None:
    """Which says nothing of space, and leaves half of a file."""
    config = tiny_config(iterations=1, warmup=None)
    done = cli("train", config, largest_file=200_000)
    assert done.returncode == 1
    assert "there is no space, or it would be larger than is allowed" in done.stderr
    assert "ulimit -f), then `sparring resume RUN`: nothing finished is lost" in done.stderr
    assert "Traceback" not in done.stderr
    checkpoint = tmp_path / "run" / "iterations" / "000" / "training" / "checkpoint-2"
    assert {"model.safetensors", "optimizer.pt"} <= {path.name for path in checkpoint.iterdir()}
    assert not (checkpoint / "trainer_state.json").exists()
    assert cli("resume", tmp_path / "run").returncode == 0


def test_what_a_resumed_run_must_find_again(cli: Cli, tiny_folder: Path, tiny_config: Config, tmp_path: Path) -> None:
    model = tmp_path / "model"
    shutil.copytree(tiny_folder, model)
    template = tmp_path / "chat.jinja"
    template.write_text("{% for m in messages %}{{ m.content }}<|im_end|>{% endfor %}", encoding="utf-8")
    data = rows(tmp_path) | {"chat_template": str(template)}
    config = tiny_config(model={"name": str(model)}, data=data, iterations=1, warmup=None)
    cli("train", config, kill_at=("sparring.selfplay.stages.evaluate:write_json", 1))
    run = tmp_path / "run"

    template.write_text("{% for m in messages %}> {{ m.content }}<|im_end|>{% endfor %}", encoding="utf-8")
    check(cli("resume", run), ["the tokenizer or chat template changed after the run started", "restore it"])
    template.write_text("{% for m in messages %}{{ m.content }}<|im_end|>{% endfor %}", encoding="utf-8")
    save_tiny(model, seed=1)
    check(cli("resume", run), ["the model changed after the run started", "restore it"])

    (run / "config.yaml").unlink()
    check(cli("train", config), ["the folder holds parts of a run (base) without its configuration"])


def test_code_that_a_model_brings_needs_consent_each_time(cli: Cli, tiny_config: Config, tmp_path: Path) -> None:
    cli("train", tiny_config(), kill_at=("sparring.selfplay.stages.evaluate:write_json", 1))
    run = RunDirectory(tmp_path / "run")
    run.config.write_text(run.config.read_text().replace("trust_remote_code: false", "trust_remote_code: true"))
    # Whoever may write a file may write its digest.
    write_json(run.manifest, read_json(run.manifest) | {"config": run.config_digest()})
    for command in (("resume", tmp_path / "run"), ("export", tmp_path / "run", tmp_path / "to", "--policy", "base")):
        check(cli(*command), ["brings its own Python code", "--trust-remote-code"])


def test_one_process_plays_a_run(cli: Cli, tiny_config: Config, tmp_path: Path) -> None:
    cli("train", tiny_config(), kill_at=("sparring.selfplay.stages.evaluate:write_json", 1))
    with lock(tmp_path / "run" / ".lock"):
        check(cli("resume", tmp_path / "run"), ["another process is playing this run"])


def test_a_shard_that_was_deleted_is_sampled_again_from_its_own_policy(
    cli: Cli, tiny_config: Config, tmp_path: Path
) -> None:
    cli("train", tiny_config(iterations=1), kill_at=("sparring.selfplay.stages.evaluate:write_json", 3))
    # Killed at the end of iteration 0; its evaluation needs what the policy before it, the warm-up's, had answered.
    shard = next((tmp_path / "run" / "warmup" / "held_out").glob("sampled-*.parquet"))
    before = parquet.read_table(shard).to_pylist()
    shard.unlink()
    scores = tmp_path / "run" / "iterations" / "000" / "held_out"
    for path in scores.glob("scores-policy-0-sampled-*.parquet"):
        path.unlink()
    assert cli("resume", tmp_path / "run").returncode == 0
    assert parquet.read_table(shard).to_pylist() == before
