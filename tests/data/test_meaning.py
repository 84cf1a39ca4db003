"""What rows say besides prompt and response: used, refused by row, or named; and conversations as others write them."""

from __future__ import annotations

import json
import math
from pathlib import Path
from typing import Any

import pandas as pd
import pytest

from sparring.data import DataConfig, Dataset, load
from sparring.errors import InputError

PROMPTS = {"a judge": frozenset[str]()}
ASKED = {"role": "user", "content": "Which?"}
SAID = {"role": "assistant", "content": "That."}


def written(folder: Path, *rows: object) -> Path:
    path = folder / "rows.jsonl"
    path.write_text("\n".join(map(json.dumps, rows)))
    return path


def read(folder: Path, *rows: object, **settings: Any) -> Dataset:
    return load(DataConfig(source=str(written(folder, *rows)), held_out=0, **settings), 0, PROMPTS)


def turns(data: Dataset) -> list[tuple[str, str]]:
    (example,) = data.train
    return [(turn["role"], turn["content"]) for turn in example.messages or ()]


def refusal(folder: Path, row: object, **settings: Any) -> str:
    with pytest.raises(InputError) as caught:
        read(folder, row, **settings)
    message = str(caught.value).replace(str(folder / "rows.jsonl"), "…")
    assert "skip_invalid" in message
    return message


BEFORE = {
    "alpaca with a system turn and a history": (
        {"instruction": "Third?", "output": "3", "system": "Count.", "history": [["First?", "1"], ["Second?", "2"]]},
        [
            ("system", "Count."),
            *[("user", "First?"), ("assistant", "1"), ("user", "Second?"), ("assistant", "2")],
            ("user", "Third?"),
        ],
    ),
    "a history as JSON in a cell": (
        {"prompt": "Third?", "response": "3", "history": '[["First?", "1"]]'},
        [("user", "First?"), ("assistant", "1"), ("user", "Third?")],
    ),
    "a history of messages": (
        {"prompt": "Third?", "response": "3", "history": [ASKED, SAID]},
        [("user", "Which?"), ("assistant", "That."), ("user", "Third?")],
    ),
    "a system turn beside a conversation": (
        {"messages": [ASKED, SAID], "system_prompt": "Point."},
        [("system", "Point."), ("user", "Which?")],
    ),
    "the same system turn twice": (
        {"messages": [{"role": "system", "content": "Point."}, ASKED, SAID], "system": "Point."},
        [("system", "Point."), ("user", "Which?")],
    ),
    "a system turn beside preferences": (
        {"prompt": "Which?", "chosen": "That.", "rejected": "This.", "system": "Point."},
        [("system", "Point."), ("user", "Which?")],
    ),
    "a system turn beside prompts": (
        {"prompt": "Which?", "system": "Point."},
        [("system", "Point."), ("user", "Which?")],
    ),
    "a history after a prompt's own system turn": (
        {"prompt": [{"role": "system", "content": "Point."}, ASKED], "history": [["A?", "B."]], "response": "That."},
        [("system", "Point."), ("user", "A?"), ("assistant", "B."), ("user", "Which?")],
    ),
}


@pytest.mark.parametrize("name", BEFORE)
def test_columns_before_the_prompt_are_turns(tmp_path: Path, name: str) -> None:
    row, expected = BEFORE[name]
    data = read(tmp_path, row)
    assert turns(data) == expected
    assert data.report.unread == ()


@pytest.mark.parametrize("empty", ["", None, [], "[]", math.nan])
def test_columns_that_hold_nothing_say_nothing(tmp_path: Path, empty: object) -> None:
    row = {"instruction": "Which?", "output": "That."} | dict.fromkeys(["system", "history", "tools", "images"], empty)
    (example,) = read(tmp_path, row).train
    assert (example.messages, example.prompt) == (None, "Which?")


def test_context_and_input_belong_to_the_instruction(tmp_path: Path) -> None:
    row = {"instruction": "Who?", "input": "In short.", "context": "Lovelace wrote it.", "response": "Lovelace."}
    (example,) = read(tmp_path, row).train
    assert (example.prompt, example.response) == ("Who?\n\nIn short.\n\nLovelace wrote it.", "Lovelace.")


PAIR = {"prompt": "Which?", "response": "That."}
REFUSED = {
    "tools": (PAIR | {"tools": [{"name": "search"}]}, "field 'tools': tools are not shown to the model"),
    "tools as JSON": (PAIR | {"tools": '[{"name": "search"}]'}, "field 'tools': tools are not shown to the model"),
    "images": (PAIR | {"images": ["a.png"]}, "field 'images': sparring trains on text alone"),
    "context": (PAIR | {"context": "Long ago."}, "field 'context': what comes before the prompt is not shown"),
    "a thought": (PAIR | {"reasoning": "Hm."}, "field 'reasoning': a thought beside the response is not shown"),
    "history of a conversation": (
        {"messages": [ASKED, SAID], "history": [["A?", "B."]]},
        "field 'history': what comes before the prompt is not shown",
    ),
    "a history that is none": (
        PAIR | {"history": ["A?"]},
        "field 'history[0]': must be a list of [question, answer] pairs",
    ),
    "two system turns": (
        {"messages": [{"role": "system", "content": "A."}, ASKED, SAID], "system": "B."},
        "field 'system': is another system turn than that of the conversation",
    ),
    "a thought of a turn": (
        {"messages": [ASKED, SAID | {"reasoning_content": "Hm."}]},
        "field 'messages[1].reasoning_content': a thought beside the response is not shown to the model",
    ),
    "a call of a tool, and no words": (
        {"messages": [ASKED, {"role": "assistant", "content": None, "tool_calls": [{"id": 1}]}]},
        "field 'messages[1].tool_calls': a call of a tool is not shown to the model",
    ),
    "an image in a turn": (
        {"messages": [{"role": "user", "content": [{"type": "image"}, {"type": "text", "text": "Which?"}]}, SAID]},
        "field 'messages[0].content': holds a part that is no text (image): sparring trains on text alone",
    ),
    "a refusal in a turn": (
        {"messages": [ASKED, {"role": "assistant", "content": [{"type": "refusal", "refusal": "No."}]}]},
        "field 'messages[1].content': holds a part that is no text (refusal): sparring trains on text alone",
    ),
    "a switch of the template": (
        {"messages": [ASKED, SAID], "chat_template_kwargs": {"mood": "gay"}},
        "field 'chat_template_kwargs': what a row tells the chat template is not given to it",
    ),
    "an answer that is not to be given": (
        PAIR | {"label": False},
        "field 'label': the answer is marked as one that is not to be given",
    ),
    "the same in a text": (
        PAIR | {"kto_tag": "False"},
        "field 'kto_tag': the answer is marked as one that is not to be given",
    ),
    "a turn that is not trained on": (
        {"messages": [ASKED, SAID | {"weight": 0}]},
        "field 'messages[1]': is not to be trained on (weight: 0)",
    ),
    "the same by another name": (
        {"messages": [{"from": "human", "value": "Which?"}, {"from": "gpt", "value": "That.", "train": False}]},
        "field 'messages[1]': is not to be trained on (train: false)",
    ),
    "the same as a mask": (
        {"messages": [ASKED, SAID | {"loss_mask": 0}]},
        "field 'messages[1]': is not to be trained on (loss_mask: 0)",
    ),
    "the same as a training": (
        {"messages": [ASKED, SAID | {"training": False}]},
        "field 'messages[1]': is not to be trained on (training: false)",
    ),
    "words that are not trained on": (
        {"messages": [ASKED, SAID | {"train_detail": [{"begin_offset": 0, "end_offset": 2, "train": False}]}]},
        "field 'messages[1]': is not to be trained on (train_detail: not all of it)",
    ),
    "a part of a weight": (
        {"messages": [ASKED, SAID | {"weight": 0.5}]},
        "field 'messages[1]': is not to be trained on (weight: 0.5)",
    ),
    "a tool that speaks": (
        {"messages": [ASKED, SAID, {"role": "tool", "content": "3"}, SAID]},
        "field 'messages[2].role': unknown role 'tool'\n  fix: write a tool's call into an assistant's turn",
    ),
    "a part with a tool's call": (
        {"messages": [ASKED, {"role": "assistant", "content": [{"type": "text", "text": "3", "tool_calls": [1]}]}]},
        "field 'messages[1].content.tool_calls': a call of a tool is not shown to the model",
    ),
}


@pytest.mark.parametrize("name", REFUSED)
def test_what_the_model_would_not_see_is_refused_by_row(tmp_path: Path, name: str) -> None:
    row, problem = REFUSED[name]
    assert f"…, line 1, {problem}" in refusal(tmp_path, row)
    good = {key: value for key, value in row.items() if key in {"prompt", "response"}} or {"messages": [ASKED, SAID]}
    data = read(tmp_path, row, good, skip_invalid=True, format="prompt-response" if "prompt" in good else "auto")
    assert ([example.index for example in data.train], len(data.report.skipped)) == ([1], 1)


def test_what_is_ignored_on_purpose_is_left_out(tmp_path: Path) -> None:
    row = {"messages": [ASKED, SAID | {"reasoning_content": "Hm.", "weight": 0}], "tools": [{"name": "search"}]}
    data = read(tmp_path, row | {"system": "Point."}, ignore=("tools", "reasoning_content", "weight", "system"))
    assert turns(data) == [("user", "Which?")]
    assert data.report.unread == ()


@pytest.mark.parametrize("label", [True, 0, 2, "bad"])
def test_a_label_that_blames_no_answer_is_a_column_like_others(tmp_path: Path, label: object) -> None:
    data = read(tmp_path, PAIR | {"label": label})
    assert (len(data.train), data.report.unread) == (1, ("label",))


@pytest.mark.parametrize("weight", [{"loss_mask": 1}, {"training": True}, {"train_detail": [{"train": True}]}])
def test_a_turn_that_is_trained_on_as_a_whole_is_read(tmp_path: Path, weight: dict[str, object]) -> None:
    assert read(tmp_path, {"messages": [ASKED, SAID | weight]}).report.unread == ()


def test_a_part_of_a_turn_may_hold_more_than_its_text(tmp_path: Path) -> None:
    part = {"type": "text", "text": "Which?", "cache_control": {"type": "ephemeral"}}
    system = [{"type": "text", "text": "Point."}]
    data = read(tmp_path, {"system": system, "messages": [ASKED | {"content": [part]}, SAID]})
    assert turns(data) == [("system", "Point."), ("user", "Which?")]
    assert data.report.unread == ("messages[].cache_control",)


def test_a_cell_of_a_table_that_holds_nothing_may_be_nan(tmp_path: Path) -> None:
    nan = math.nan
    rows = [PAIR | {"system": nan}, {"prompt": "Why?", "response": nan, "system": "Point."}]
    found = {(example.response, example.messages is None) for example in read(tmp_path, *rows).train}
    assert found == {("That.", True), (None, False)}


def test_columns_that_are_not_read_are_named_once(tmp_path: Path) -> None:
    turn = SAID | {"weight": 1, "id": "x"}
    rows = [
        {"messages": [ASKED, turn], "source": "forum", "empty": None},
        {"messages": [ASKED | {"content": "Why?"}, SAID], "source": "book", "score": 3},
    ]
    assert read(tmp_path, *rows).report.unread == ("messages[].id", "score", "source")


SHAPES: dict[str, dict[str, Any]] = {
    "user and assistant by from and value": {
        "conversations": [{"from": "user", "value": "Which?"}, {"from": "assistant", "value": "That."}]
    },
    "role and content under conversations": {"conversations": [ASKED, SAID]},
    "from and value under messages": {
        "messages": [{"from": "human", "value": "Which?"}, {"from": "gpt", "value": "That."}]
    },
    "conversation": {"conversation": [{"from": "Human", "value": "Which?"}, {"from": "bing", "value": "That."}]},
    "dialogue": {"dialogue": [{"role": "prompter", "content": "Which?"}, {"role": "bard", "content": "That."}]},
    "text parts": {
        "messages": [
            {"role": "user", "content": [{"type": "text", "text": "Wh"}, {"type": "text", "text": "ich?"}]},
            {"role": "model", "content": [{"type": "output_text", "text": "That.", "image_url": None}]},
        ]
    },
}


@pytest.mark.parametrize("name", SHAPES)
def test_conversations_by_their_usual_names(tmp_path: Path, name: str) -> None:
    data = read(tmp_path, SHAPES[name])
    assert turns(data) == [("user", "Which?")]
    assert data.train[0].response == "That."
    assert data.report.unread == ()


def test_a_developer_is_the_system(tmp_path: Path) -> None:
    data = read(tmp_path, {"messages": [{"role": "developer", "content": "Point."}, ASKED, SAID]})
    assert turns(data) == [("system", "Point."), ("user", "Which?")]


def test_other_names_are_mapped(tmp_path: Path) -> None:
    row = {"dialog_turns": [{"who": "customer", "says": "Which?"}, {"who": "agent", "says": "That."}]}
    columns = {"messages": "dialog_turns", "role": "who", "content": "says"}
    data = read(tmp_path, row, columns=columns, roles={"customer": "user", "agent": "assistant"})
    assert turns(data) == [("user", "Which?")]
    assert data.train[0].response == "That."
    message = refusal(tmp_path, row, columns=columns, roles={"agent": "assistant"})
    assert "field 'dialog_turns[0].who': unknown role 'customer'" in message
    assert "or map it with data.roles, e.g. {customer: user}" in message


def test_a_column_of_another_name_is_taken_only_where_nothing_else_fits(tmp_path: Path) -> None:
    row = {"prompt": "Which?", "response": "That.", "conversation": [ASKED, SAID]}
    data = read(tmp_path, row)
    assert (data.train[0].messages, data.report.unread) == (None, ("conversation",))
    assert data.train[0].where == f"{tmp_path / 'rows.jsonl'}, line 1"


def test_an_answer_may_be_one_message(tmp_path: Path) -> None:
    row = {"conversations": [{"from": "human", "value": "Which?"}], "chosen": {"from": "gpt", "value": "That."}}
    row |= {"rejected": {"from": "gpt", "value": "This."}}
    data = read(tmp_path, row, columns={"prompt": "conversations"})
    assert turns(data) == [("user", "Which?")]
    comparison = data.train[0].comparison
    assert comparison is not None
    assert comparison.responses == ("That.", "This.")
    (example,) = read(tmp_path, {"prompt": [ASKED], "completion": SAID}).train
    assert example.response == "That."


@pytest.mark.parametrize("key", ["thinking_content", "reasoning_details", "reasoning_text"])
def test_a_thought_by_another_name_is_refused(tmp_path: Path, key: str) -> None:
    message = refusal(tmp_path, {"messages": [ASKED, {**SAID, key: "Since it is."}]})
    assert f"field 'messages[1].{key}': a thought beside the response is not shown" in message


def test_an_input_that_says_that_there_is_none_is_none(tmp_path: Path) -> None:
    (example,) = read(tmp_path, {"instruction": "Which?", "input": "<noinput>", "output": "That."}).train
    assert example.prompt == "Which?"


@pytest.mark.parametrize(("name", "value"), [("kto_tag", 0), ("is_good", "0"), ("desirable", 0.0), ("label", False)])
def test_an_answer_that_is_marked_as_bad_by_a_number_is_refused(tmp_path: Path, name: str, value: object) -> None:
    row = {"prompt": "Which?", "completion": "That."}
    assert "the answer is marked as one that is not to be given" in refusal(tmp_path, {**row, name: value})
    assert read(tmp_path, {**row, "label": 0}).report.unread == ("label",)


@pytest.mark.parametrize("answer", ["response", "completion", "chosen"])
def test_messages_in_the_cells_of_a_table_are_read(tmp_path: Path, answer: str) -> None:
    said = {"prompt": [{"role": "system", "content": "Point."}, ASKED], answer: [SAID]}
    if answer == "chosen":
        said |= {"rejected": [{**SAID, "content": "This."}], "response": [SAID]}
    (tmp_path / "x.csv").write_text(
        pd.DataFrame([{name: json.dumps(cell) for name, cell in said.items()}]).to_csv(index=False)
    )
    data = load(DataConfig(source=str(tmp_path / "x.csv"), held_out=0), 0)
    assert turns(data) == [("system", "Point."), ("user", "Which?")]
    assert data.train[0].response == "That."


def test_messages_that_python_printed_are_refused(tmp_path: Path) -> None:
    with pytest.raises(InputError) as caught:
        read(tmp_path, {"prompt": "Which?", "response": str([SAID])})
    assert "field 'response': must be a list of messages, got text that is not JSON" in str(caught.value)


def test_messages_that_begin_with_another_key_or_are_one_are_read_from_cells(tmp_path: Path) -> None:
    prompt = json.dumps([{"id": 7, **ASKED}])
    for asked in (prompt, json.dumps(ASKED)):
        data = read(tmp_path, {"prompt": asked, "response": json.dumps(SAID)})
        assert (turns(data), data.train[0].response) == ([("user", "Which?")], "That.")
    chosen, rejected = json.dumps(SAID), json.dumps({"content": "This.", "role": "assistant"})
    data = load(
        DataConfig(
            source=str(written(tmp_path, {"prompt": "Which?", "chosen": chosen, "rejected": rejected})), held_out=0
        ),
        0,
        PREFERENCES,
    )
    assert data.train[0].comparison is not None
    assert data.train[0].comparison.responses == ("That.", "This.")


@pytest.mark.parametrize("answer", [SAID, {"content": "That.", "role": "assistant"}])
def test_one_message_that_python_printed_is_refused(tmp_path: Path, answer: dict[str, str]) -> None:
    assert "field 'response': must be a list of messages" in refusal(
        tmp_path, {"prompt": "Which?", "response": str(answer)}
    )


@pytest.mark.parametrize(
    "text",
    [
        '{"role": "admin", "content": "all"}',
        '{"role": "user"}',
        '[{"id": 1, "from": "Bern", "value": 3}]',
        "{'role': 'admin', 'content': []}",
        "[1, 2]",
        "{broken",
    ],
)
def test_data_that_a_model_is_to_write_stay_text(tmp_path: Path, text: str) -> None:
    assert read(tmp_path, {"prompt": text, "response": text}).train[0].response == text


def test_messages_whose_keys_hold_lists_are_read_one_by_one(tmp_path: Path) -> None:
    """A sequence of objects becomes an object of lists in `datasets`."""
    said = {"role": ["system", "user", "assistant"], "content": ["Point.", "Which?", "That."], "name": None}
    expected = [("system", "Point."), ("user", "Which?")]
    assert turns(read(tmp_path, {"messages": said})) == expected
    from_to = {"from": said["role"], "value": said["content"], "weight": [math.nan, None, 1]}
    assert turns(read(tmp_path, {"conversations": from_to})) == expected
    asked = {"role": ["user"], "content": ["Which?"]}
    answers = {name: {"role": ["assistant"], "content": [name]} for name in ("chosen", "rejected")}
    data = load(DataConfig(source=str(written(tmp_path, {"prompt": asked, **answers})), held_out=0), 0, PREFERENCES)
    assert turns(data) == [("user", "Which?")]
    assert "field 'messages[0].content': must be text" in refusal(
        tmp_path, {"messages": {"role": "user", "content": [["Which?"]]}}
    )


def test_a_text_that_only_quotes_messages_stays_text(tmp_path: Path) -> None:
    text = f"Mend this: {json.dumps([ASKED])}"
    (example,) = read(tmp_path, {"prompt": text, "response": "Done."}).train
    assert (example.prompt, example.messages) == (text, None)


DIALOGUE = "\n\nHuman: Which?\n\nIn short, please.\n\nAssistant: This one.\n\nHuman: Why?\n\nAssistant:"
DIALOGUE_TURNS = [("user", "Which?\n\nIn short, please."), ("assistant", "This one."), ("user", "Why?")]
PREFERENCES = {"preferences": frozenset({"comparison"})}


def test_answers_that_write_out_who_speaks_are_conversations(tmp_path: Path) -> None:
    row = {"chosen": DIALOGUE + " It is red.", "rejected": DIALOGUE + " Human: is no turn here. "}
    path = tmp_path / "hh.jsonl"
    path.write_text(json.dumps(row), encoding="utf-8")
    config = DataConfig(source=str(path), held_out=0)
    data = load(config, 0, PREFERENCES)
    assert turns(data) == DIALOGUE_TURNS
    assert data.train[0].comparison is not None
    assert data.train[0].comparison.responses == ("It is red.", "Human: is no turn here.")
    imitated = load(config.model_copy(update={"columns": {"response": "chosen"}}), 0)
    assert (turns(imitated), imitated.train[0].response) == (DIALOGUE_TURNS, "It is red.")


def test_a_prompt_that_writes_out_who_speaks_stays_text(tmp_path: Path) -> None:
    (example,) = read(tmp_path, {"prompt": DIALOGUE, "response": "It is red."}).train
    assert (example.messages, example.prompt) == (None, DIALOGUE)


@pytest.mark.parametrize("text", ["Human: Why?", "He said:\n\nHuman: Why?\n\nAssistant: So.", "\n\nAssistant: So."])
def test_answers_without_a_prompt_say_what_to_do(tmp_path: Path, text: str) -> None:
    path = tmp_path / "data.jsonl"
    path.write_text(json.dumps({"question": "Why?", "chosen": text, "rejected": "No."}), encoding="utf-8")
    with pytest.raises(InputError) as caught:
        load(DataConfig(source=str(path), held_out=0), 0, PREFERENCES)
    assert "field 'prompt': is missing" in str(caught.value)
    assert "data.columns, e.g. {prompt: question}" in str(caught.value)
