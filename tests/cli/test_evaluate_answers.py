"""`evaluate answers`: the answers are the model's own, and so are the right ones that are counted."""

from __future__ import annotations

import json
from collections.abc import Callable
from itertools import islice
from pathlib import Path
from typing import Any

import pytest
import torch
from transformers import AutoModelForCausalLM, AutoTokenizer

from a_run import a_config
from sparring.metrics.held_out import wilson
from sparring.selfplay.loop import run

Sparring = Callable[..., tuple[object, str]]


def greedy(model: Any, tokenizer: Any, prompt: str, limit: int) -> str:
    """By transformers itself, one token after the other."""
    turns = [{"role": "user", "content": prompt}]
    ids = tokenizer.apply_chat_template(turns, add_generation_prompt=True, return_dict=True)["input_ids"]
    told: list[int] = []
    for _ in range(limit):
        with torch.no_grad():
            token = int(model(torch.tensor([[*ids, *told]])).logits[0, -1].argmax())
        if token == tokenizer.eos_token_id:
            break
        told.append(token)
    return str(tokenizer.decode(told))


@pytest.fixture
def rows(tiny_folder: Path, tmp_path: Path) -> Path:
    """Six prompts; the right answer of three is what the model says."""
    model, tokenizer = (kind.from_pretrained(tiny_folder) for kind in (AutoModelForCausalLM, AutoTokenizer))
    told = ((f"{n} and {n}?", greedy(model.eval(), tokenizer, f"{n} and {n}?", 2)) for n in range(300))
    prompts, said = zip(*islice(((prompt, text) for prompt, text in told if text.isprintable()), 6), strict=True)
    truths = [said[n] if n % 2 else f"no {said[n]}" for n in range(6)]
    path = tmp_path / "fresh.jsonl"
    lines = [json.dumps({"asked": prompt, "known": truth}) for prompt, truth in zip(prompts, truths, strict=True)]
    path.write_text("\n".join(lines), encoding="utf-8")
    return path


COLUMNS = "data.columns={prompt: asked, ground_truth: known}"


def printed(told: str) -> list[dict[str, Any]]:
    """The JSON that a command printed before what it said besides."""
    rows: list[dict[str, Any]] = json.JSONDecoder().raw_decode(told)[0]
    return rows


def test_right_answers_are_counted(sparring: Sparring, tiny_folder: Path, rows: Path) -> None:
    asked = ("evaluate", "answers", tiny_folder, rows, COLUMNS, "--verifier", "exact", "--max-tokens", "2")
    code, told = sparring(*asked, "--json")
    (row,) = printed(told)
    assert (code, row["policy"], row["verifier"], row["right"]["n"]) == (0, str(tiny_folder), "exact", 6)
    assert row["right"]["mean"] == 0.5
    assert tuple(row["right"]["interval"]) == wilson(0.5, 6)
    code, told = sparring(*asked)
    assert code == 0
    assert "3 of 6 (0.500)" in told
    assert "0.19 to 0.81" in told


def test_all_policies_of_a_run_are_measured(sparring: Sparring, tiny_folder: Path, tmp_path: Path, rows: Path) -> None:
    config = a_config(tiny_folder, tmp_path / "run", iterations=1, objective={"name": "sft"})
    run(config)
    code, told = sparring("evaluate", "answers", config.output, rows, COLUMNS, "--verifier", "exact", "--json")
    assert code == 0
    assert [row["policy"] for row in printed(told)] == ["base", "iterations/000"]


def test_a_file_without_a_rule_is_told(sparring: Sparring, tiny_folder: Path, tmp_path: Path) -> None:
    path = tmp_path / "experts.jsonl"
    path.write_text(json.dumps({"prompt": "1 + 1?", "response": "2"}), encoding="utf-8")
    code, told = sparring("evaluate", "answers", tiny_folder, path)
    assert code == 2
    assert "no rule says which answers are right" in told
    assert "fix: name one, such as final-number or exact" in told
