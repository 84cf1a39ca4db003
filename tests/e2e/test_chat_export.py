"""Trained on chats with a system turn and a template that opens thoughts: what the exported folder says elsewhere."""

from __future__ import annotations

import json
import shutil
from collections.abc import Callable
from pathlib import Path
from types import SimpleNamespace

import pytest
import torch
import yaml
from transformers import AutoModelForCausalLM, AutoTokenizer, GenerationConfig

Cli = Callable[..., SimpleNamespace]
SYSTEM = "Answer with one word."
THINKING = (
    "{%- for message in messages %}<|im_start|>{{ message['role'] }}\n{{ message['content'] }}<|im_end|>\n"
    "{% endfor %}{%- if add_generation_prompt %}<|im_start|>assistant\n<think>\n"
    "{% if enable_thinking is defined and enable_thinking is false %}{{ '\n</think>\n\n' }}{% endif %}{%- endif %}"
)


@pytest.fixture(scope="module")
def run(cli: Cli, tiny_folder: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A warm-up and an iteration with LoRA, without thoughts, from a model that ships a penalty."""
    folder = tmp_path_factory.mktemp("chats")
    shutil.copytree(tiny_folder, folder / "model")
    GenerationConfig(eos_token_id=2, repetition_penalty=1.3).save_pretrained(folder / "model")
    (folder / "thinking.jinja").write_text(THINKING, encoding="utf-8")
    asked = [(f"What comes after {number}?", f"{number + 1}") for number in range(12)]
    turns = [[("system", SYSTEM), ("human", question), ("gpt", answer)] for question, answer in asked]
    rows = [{"conversations": [{"from": who, "value": said} for who, said in chat]} for chat in turns]
    (folder / "chats.jsonl").write_text("\n".join(map(json.dumps, rows)), encoding="utf-8")
    config = {
        "output": str(folder / "run"),
        "iterations": 1,
        "model": {"name": str(folder / "model")},
        "data": {
            "source": str(folder / "chats.jsonl"),
            "held_out": 2,
            "max_response_tokens": 8,
            "chat_template": str(folder / "thinking.jinja"),
            "template_options": {"enable_thinking": False},
        },
        "lora": {"r": 4},
        "warmup": {"training": {"num_train_epochs": 8, "learning_rate": 0.02}},
        "training": {"learning_rate": 0.01, "per_device_train_batch_size": 2},
        "stop": {"enabled": False},
    }
    (folder / "config.yaml").write_text(yaml.safe_dump(config), encoding="utf-8")
    done = cli("train", folder / "config.yaml")
    assert done.returncode == 0, done.stderr
    return folder / "run"


def test_an_exported_chat_model_answers_as_the_run_does(cli: Cli, run: Path, tmp_path: Path) -> None:
    exported = tmp_path / "exported"
    assert cli("export", run, exported, "--policy", "iterations/000").returncode == 0
    card = (exported / "README.md").read_text(encoding="utf-8")
    assert "template_options:\n    enable_thinking: false\n" in card
    assert "settings of its own (repetition_penalty: 1.3)" in card
    # A server may run as another user.
    assert len({file.stat().st_mode for file in exported.iterdir()}) == 1
    question = "What comes after 40?"
    ask = ("generate", run / "iterations/000", "-p", question, "--system", SYSTEM, "--top-k", 1, "--max-tokens", 8)
    done = cli(*ask, "--json")
    assert done.returncode == 0, done.stderr
    (said,) = json.loads(done.stdout)

    model, tokenizer = AutoModelForCausalLM.from_pretrained(exported), AutoTokenizer.from_pretrained(exported)
    turns = [{"role": "system", "content": SYSTEM}, {"role": "user", "content": question}]
    inputs = tokenizer.apply_chat_template(turns, add_generation_prompt=True, return_tensors="pt", return_dict=True)
    prompt = tokenizer.decode(inputs["input_ids"][0])
    assert prompt.endswith(f"{question}<|im_end|>\n<|im_start|>assistant\n<think>\n\n</think>\n\n")
    whole = model.generate(**inputs, max_new_tokens=8, repetition_penalty=1.0)
    answer = whole[0, inputs["input_ids"].shape[1] :]
    assert tokenizer.decode(answer, skip_special_tokens=True) == said["response"]
    assert (said["finish_reason"] == "stop") == (int(answer[-1]) == tokenizer.eos_token_id)
    # Without its system turn it is another prompt.
    other = tokenizer.apply_chat_template(turns[1:], add_generation_prompt=True, return_tensors="pt", return_dict=True)
    assert not torch.equal(other["input_ids"], inputs["input_ids"])
