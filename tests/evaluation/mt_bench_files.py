"""Small files in FastChat's formats: our own questions, and prompts as short as they can be."""

from __future__ import annotations

import json
from collections.abc import Iterable
from pathlib import Path
from typing import Any

QUESTIONS = [
    {"question_id": 1, "category": "writing", "turns": ["Write a line about rain.", "Now about snow."]},
    {"question_id": 2, "category": "math", "turns": ["2 + 2?", "Twice that?"], "reference": ["4", "8"]},
    {"question_id": 3, "category": "math", "turns": ["3 + 3?", "Half that?"]},
    {"question_id": 4, "category": "stem", "turns": ["Why is {sky} blue?", "And at dusk?"]},
]
REFERENCES = [
    {"question_id": 3, "model_id": "right", "choices": [{"index": 0, "turns": ["6", "3"]}]},
]
_SHOWN = {
    "single-v1": "{question} || {answer}",
    "single-v1-multi-turn": "{question_1} | {question_2} || {answer_1} | {answer_2}",
    "single-math-v1": "{question} (right: {ref_answer_1}) || {answer}",
    "single-math-v1-multi-turn": "{question_1} | {question_2} (right: {ref_answer_1} | {ref_answer_2}) "
    "|| {answer_1} | {answer_2}",
    "pair-v2": "{question} || A: {answer_a} || B: {answer_b}",
    "pair-v2-multi-turn": "{question_1} | {question_2} || A: {answer_a_1} | {answer_a_2} "
    "|| B: {answer_b_1} | {answer_b_2}",
    "pair-math-v1": "{question} (right: {ref_answer_1}) || A: {answer_a} || B: {answer_b}",
    "pair-math-v1-multi-turn": "{question_1} | {question_2} (right: {ref_answer_1} | {ref_answer_2}) "
    "|| A: {answer_a_1} | {answer_a_2} || B: {answer_b_1} | {answer_b_2}",
}
PROMPTS = [
    {"name": name, "system_prompt": f"You are {name}.", "prompt_template": text} for name, text in _SHOWN.items()
]


def answers(model: str, text: str) -> list[dict[str, Any]]:
    """The same kind of answer to every turn."""
    return [
        {
            "question_id": question["question_id"],
            "model_id": model,
            "choices": [
                {"index": 0, "turns": [f"{text}{question['question_id']}a", f"{text}{question['question_id']}b"]}
            ],
        }
        for question in QUESTIONS
    ]


def write(path: Path, rows: Iterable[dict[str, Any]]) -> Path:
    path.write_text("".join(f"{json.dumps(row)}\n" for row in rows), encoding="utf-8")
    return path
