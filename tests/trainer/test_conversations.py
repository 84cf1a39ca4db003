"""What a row of a conversation holds besides its words: tools, variables of the template, calls, thoughts."""

from __future__ import annotations

import json
from typing import Any

import pytest

from sparring.errors import InputError
from sparring.trainer.triples import Triple, triples_from
from tiny import CHATML, tiny_tokenizer

TOOLS = [{"type": "function", "function": {"name": "add", "parameters": {}}}]
READS = "{% for t in tools or [] %}<{{ t.function.name }}>{% endfor %}{% if think %}<think>{% endif %}" + CHATML


def row(**more: Any) -> dict[str, Any]:
    said = {name: [{"role": "assistant", "content": name}] for name in ("chosen", "rejected")}
    return {"prompt": [{"role": "user", "content": "1+1?"}], **said, **more}


def read(*rows: dict[str, Any], template: str = READS) -> Triple:
    (first, *_) = triples_from(rows, tiny_tokenizer(chat_template=template)).items
    return first


@pytest.mark.parametrize("tools", [TOOLS, json.dumps(TOOLS)], ids=["objects", "JSON"])
def test_the_template_is_told_the_tools_of_a_row_and_its_variables(tools: Any) -> None:
    tokenizer = tiny_tokenizer(chat_template=READS)
    given = row(tools=tools, chat_template_kwargs={"think": True, "unset": None})
    (whole,) = (
        tokenizer.apply_chat_template([*given["prompt"], *given[name]], tools=TOOLS, think=True, return_dict=False)
        for name in ("chosen",)
    )
    triple = read(given)
    assert tokenizer.decode(triple.prompt_ids).startswith("<add><think><|im_start|>user")
    assert [*triple.prompt_ids, *triple.expert_ids] == whole[:-1]


@pytest.mark.parametrize("nothing", [None, [], "", "[]"], ids=repr)
def test_a_row_without_tools_is_as_one_that_has_no_such_column(nothing: Any) -> None:
    assert read(row(tools=nothing, chat_template_kwargs=nothing)) == read(row())


@pytest.mark.parametrize(
    ("given", "where", "problem"),
    [
        (row(tools=TOOLS), "tools", "the chat template does not read them"),
        (row(tools="[{"), "tools", "is no JSON"),
        ({"prompt": "1+1?", "chosen": "2", "rejected": "3", "tools": TOOLS}, "tools", "by a chat template alone"),
        (
            row(
                chosen=[{"role": "assistant", "content": "Let me see.", "tool_calls": [{"function": {"name": "add"}}]}]
            ),
            "expert, tool_calls",
            "what stands beside the content is not trained on",
        ),
        (
            row(rejected=[{"role": "assistant", "content": "2", "reasoning_content": "one and one"}]),
            "generated, reasoning_content",
            "what stands beside the content is not trained on",
        ),
    ],
)
def test_what_the_model_would_not_be_shown_is_told(given: dict[str, Any], where: str, problem: str) -> None:
    with pytest.raises(InputError, match=problem) as caught:
        read(row(), given, template=CHATML)
    assert caught.value.where == f"train_dataset row 1, {where}"


def test_keys_of_a_message_that_hold_nothing_are_no_matter() -> None:
    empty = {"role": "assistant", "content": "chosen", "tool_calls": None, "reasoning_content": ""}
    assert read(row(chosen=[empty])) == read(row())
