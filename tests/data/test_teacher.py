"""What a teacher is asked, and data whose responses it writes."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest
from pydantic import ValidationError

from sparring.data import DataConfig, PromptTemplate, encode, load, teacher_prompts
from sparring.errors import InputError
from sparring.examples import EncodedExample
from tiny import tiny_tokenizer

TEACHER = {"system": "Be brief."}
CHAT = [{"role": "system", "content": "Be long."}, {"role": "user", "content": "Why?"}]


@pytest.mark.parametrize(
    ("values", "message"),
    [
        ({"teacher": {}}, "the teacher would be the base model itself; set system, temperature or model"),
        ({"teacher": {"temperature": 0}}, "greater than 0"),
        ({"teacher": {"system": "x", "revision": "main"}}, "revision is the teacher's own model's"),
        ({"teacher": {"sytem": "x"}}, "Extra inputs are not permitted"),
        ({"teacher": TEACHER, "verifier": "exact"}, "a teacher's need not be right"),
    ],
)
def test_nonsense_is_rejected_with_the_reason(values: dict[str, Any], message: str) -> None:
    with pytest.raises(ValidationError) as caught:
        DataConfig(source="x.jsonl", **values)
    assert message in str(caught.value)


def test_a_task_gives_a_teacher_its_prompts_and_no_verifier() -> None:
    config = DataConfig(source="arithmetic", limit=4, held_out=2, teacher=TEACHER)
    assert config.verifier is None
    assert DataConfig(**config.model_dump()) == config
    taught, worked = load(config, 0), load(DataConfig(source="arithmetic", limit=4, held_out=2), 0)
    assert [example.prompt for example in taught.train] == [example.prompt for example in worked.train]
    assert {example.response for example in (*taught.train, *taught.held_out)} == {""}


def rows(folder: Path, *values: object, **others: str) -> DataConfig:
    path = folder / "prompts.jsonl"
    path.write_text("\n".join(json.dumps({"question": value} | others) for value in values))
    return DataConfig(
        source=str(path), held_out=0, columns={"prompt": "question"}, teacher=TEACHER, max_response_tokens=8
    )


NEEDS = {"objective 'spif'": frozenset({"response"})}


@pytest.mark.parametrize("others", [{}, {"response": "Somebody's."}], ids=["prompts alone", "answered by another"])
def test_of_a_file_only_the_prompts_are_read(tmp_path: Path, others: dict[str, str]) -> None:
    config = rows(tmp_path, "How?", CHAT, **others)
    data = load(config, 0, NEEDS)
    assert sorted(example.prompt for example in data.train) == ["How?", "Why?"]
    assert {example.response for example in data.train} == {""}
    encoded = encode(data.train, tiny_tokenizer(), config, context_length=200)
    assert [example.expert_ids for example in encoded.examples] == [[2], [2]]


def test_a_wrong_prompt_is_named(tmp_path: Path) -> None:
    with pytest.raises(InputError, match="is empty") as caught:
        load(rows(tmp_path, "How?", " "), 0, NEEDS)
    assert "line 2, field 'question'" in str(caught.value.where)


def asked(system: str | None, example: EncodedExample, *, template: str = "auto", limit: int = 500) -> str:
    tokenizer = tiny_tokenizer()
    written = PromptTemplate.choose(tokenizer, template)
    (read,) = teacher_prompts([example], written, system=system, limit=limit)
    assert (read.index, read.expert_ids) == (example.index, example.expert_ids)
    text: str = tokenizer.decode(read.prompt_ids)
    return text


PLAIN = EncodedExample(index=3, prompt_ids=[9], expert_ids=[], prompt="Why?", response="")
TURNS = EncodedExample(index=0, prompt_ids=[9], expert_ids=[], prompt="Why?", response="", messages=tuple(CHAT))


def test_the_system_turn_stands_first_and_in_place_of_another() -> None:
    expected = "<|im_start|>system\nBe brief.<|im_end|>\n<|im_start|>user\nWhy?<|im_end|>\n<|im_start|>assistant\n"
    assert asked("Be brief.", PLAIN) == asked("Be brief.", TURNS) == expected
    assert asked(None, TURNS).startswith("<|im_start|>system\nBe long.")
    assert asked(None, PLAIN).startswith("<|im_start|>user\nWhy?")
    assert asked(None, PLAIN, template="none") == "Why?"
    assert teacher_prompts([], PromptTemplate.choose(tiny_tokenizer(), "auto"), system=None, limit=1) == []


def test_a_prompt_without_room_or_without_a_template_is_refused() -> None:
    with pytest.raises(InputError, match="tokens before row 4, its context has room for 20") as caught:
        asked("Be brief.", PLAIN, limit=20)
    assert caught.value.where == "data.teacher.system"
    with pytest.raises(InputError, match="there is no chat template"):
        asked("Be brief.", PLAIN, template="none")
