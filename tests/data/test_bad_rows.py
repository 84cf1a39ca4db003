"""Every bad row, with the exact message that a person sees; `…` stands for the file's path."""

from __future__ import annotations

import json

import pytest

from bad_data import GOOD, SKIP, failure
from sparring.data import FORMATS, DataConfig, load
from sparring.errors import InputError


def chat(*turns):
    return json.dumps({"messages": [{"role": role, "content": content} for role, content in turns]})


# name, second line of a .jsonl file (the first is good where the format is the same), settings, problem, fix
ROWS = {
    "invalid JSON": (
        '{"prompt": ',
        {},
        "…, line 2: is not valid JSON: Expecting value: line 1 column 12 (char 11)",
        "write one JSON object a line; a file that is one JSON array ends in .json",
    ),
    "not an object": (
        "[1]",
        {},
        "…, line 2: must be a JSON object, got list",
        'write an object, e.g. {"prompt": "…", "response": "…"}',
    ),
    "missing field": (
        '{"prompt": "p"}',
        {},
        "…, line 2, field 'response': imitation needs an expert response, and there is none",
        "give every row one, or take an objective and a judge that need none",
    ),
    "null": (
        '{"prompt": "p", "response": null}',
        {},
        "…, line 2, field 'response': imitation needs an expert response, and there is none",
        "give every row one, or take an objective and a judge that need none",
    ),
    "wrong type": (
        '{"prompt": "p", "response": 3}',
        {},
        "…, line 2, field 'response': must be text, got int",
        "write it as text, in quotes",
    ),
    "empty response": (
        '{"prompt": "p", "response": " \\n"}',
        {},
        "…, line 2, field 'response': is empty",
        "fill it in or remove the row",
    ),
    "empty prompt": (
        '{"prompt": "", "response": "a"}',
        {},
        "…, line 2, field 'prompt': is empty",
        "fill it in or remove the row",
    ),
    "NUL": (
        '{"prompt": "p\\u0000", "response": "a"}',
        {},
        "…, line 2, field 'prompt': holds a NUL character",
        "remove the character",
    ),
    "lone surrogate": (
        '{"prompt": "p\\ud83d", "response": "a"}',
        {},
        "…, line 2, field 'prompt': holds a lone surrogate, which is no character",
        "write the character as UTF-8 rather than as half of a \\u escape",
    ),
    "duplicate": (
        GOOD,
        {},
        "…, line 2: repeats …, line 1 (same prompt and response)",
        "remove one of the two",
    ),
    "no answer to verify": (
        '{"prompt": "p", "response": "none"}',
        {"verifier": "final-number"},
        "…, line 2: verifier 'final-number' finds no answer in the expert response",
        "end the response with '#### ' and the number",
    ),
    "completion of two messages": (
        '{"prompt": "p", "response": [{"role": "user", "content": "x"}, {"role": "assistant", "content": "y"}]}',
        {},
        "…, line 2, field 'response': must be one assistant message, got 2 messages",
        "move the earlier turns to the prompt",
    ),
}
PAIR = {"prompt": "q", "chosen": "a", "rejected": "b"}
MANY = {"prompt": "q", "responses": ["a", "b", "c"]}


def turns(*texts):
    return [{"role": ("user", "assistant")[n % 2], "content": text} for n, text in enumerate(texts)]


# A row with preferences, settings, problem, fix
COMPARED = {
    "nothing preferred": (
        PAIR | {"rejected": "a"},
        "…, line 1, field 'rejected': is the same as what was chosen",
        "remove the row: it prefers nothing",
    ),
    "no rejected one": (
        PAIR | {"rejected": None},
        "…, line 1, field 'rejected': is null",
        "give every row this field",
    ),
    "no chosen one": (
        PAIR | {"chosen": None},
        "…, line 1, field 'chosen': is null",
        "give every row this field",
    ),
    "neither": (
        {"prompt": "q", "chosen": None},
        "…, line 1, field 'response': imitation needs an expert response, and there is none",
        "give every row one, or take an objective and a judge that need none",
    ),
    "scores alone": (
        {"prompt": "q", "scores": [1, 2]},
        "…, line 1, field 'responses': is null",
        "give every row this field",
    ),
    "no prompt": (
        PAIR | {"prompt": None},
        "…, line 1, field 'prompt': is null",
        "name its column with data.columns, e.g. {prompt: question}, or begin both answers with it: as messages, or as "
        r"a text, '\n\nHuman: …\n\nAssistant: …'",
    ),
    "a prompt beside another": (
        {"prompt": "q ", "chosen": turns("q", "a"), "rejected": turns("q", "b")},
        "…, line 1, field 'chosen': begins with other turns than the prompt",
        "write the same turns there as in the prompt, white space included, or none of them",
    ),
    "two prompts": (
        {"chosen": turns("q", "a"), "rejected": turns("p", "b")},
        "…, line 1, field 'rejected': begins with another prompt than the other answer",
        "remove the row: only answers to the same prompt can be compared",
    ),
    "answered by the user": (
        PAIR | {"chosen": turns("a")},
        "…, line 1, field 'chosen': must end with an assistant turn, ends with a user turn",
        "end the conversation with the expert's turn, or remove what follows it",
    ),
    "prompt that ends with the assistant": (
        PAIR | {"prompt": turns("q", "a")},
        "…, line 1, field 'prompt': must have a user turn before the last assistant turn, has role 'assistant' there",
        "put the user's turn that the response answers before it",
    ),
    "one response": (
        MANY | {"responses": ["a"], "scores": [1]},
        "…, line 1, field 'responses': must be two or more",
        "remove the row: it prefers nothing",
    ),
    "no text": (
        MANY | {"responses": ["a", 2], "scores": [1, 2]},
        "…, line 1, field 'responses[1]': must be text, got int",
        "write it as text, in quotes",
    ),
    "neither scores nor pairwise": (
        MANY,
        "…, line 1, field 'responses': must come with scores or with pairwise",
        "give one of the two",
    ),
    "too few scores": (
        MANY | {"scores": [1, 2]},
        "…, line 1, field 'scores': must hold 3 numbers, got 2",
        "give one number for each response",
    ),
    "a score that is none": (
        MANY | {"scores": [1, "2", 3]},
        "…, line 1, field 'scores[1]': must be a number, got '2'",
        "write a finite number, without quotes",
    ),
    "a row too few": (
        MANY | {"pairwise": [[0.5, 1, 1], [0, 0.5, 1]]},
        "…, line 1, field 'pairwise': has 2 rows for 3 responses",
        "give a row for each response",
    ),
    "a column too few": (
        MANY | {"pairwise": [[0.5, 1, 1], [0, 0.5], [0, 0, 0.5]]},
        "…, line 1, field 'pairwise[1]': must hold 3 numbers, got 2",
        "give one number for each response",
    ),
    "both win": (
        MANY | {"pairwise": [[0.5, 1, 1], [0.5, 0.5, 1], [0, 0, 0.5]]},
        "…, line 1, field 'pairwise': holds 1.0 and 0.5 for responses 0 and 1",
        "give probabilities: P_ij + P_ji = 1, so ½ on the diagonal",
    ),
}
CHATS = {
    "ends with user": (
        chat(("user", "a"), ("assistant", "b"), ("user", "c")),
        "…, line 1, field 'messages': imitation needs an expert response, and there is none",
        "end the conversation with the expert's turn, or remove what follows it; or give every row one, or take an "
        "objective and a judge that need none",
    ),
    "no user turn": (
        chat(("assistant", "b")),
        "…, line 1, field 'messages': must have a user turn before the last assistant turn, has nothing there",
        "put the user's turn that the response answers before it",
    ),
    "two answers in a row": (
        chat(("user", "a"), ("assistant", "b"), ("assistant", "c")),
        "…, line 1, field 'messages': must have a user turn before the last assistant turn, has role 'assistant' there",
        "put the user's turn that the response answers before it",
    ),
    "unknown role": (
        chat(("usr", "a"), ("assistant", "b")),
        "…, line 1, field 'messages[0].role': unknown role 'usr'",
        "did you mean 'user'?; or map it with data.roles, e.g. {usr: user}",
    ),
    "empty answer": (
        chat(("user", "a"), ("assistant", " ")),
        "…, line 1, field 'messages[1].content': is empty",
        "fill it in or remove the row",
    ),
    "content of parts": (
        chat(("user", [{"type": "text"}]), ("assistant", "b")),
        "…, line 1, field 'messages[0].content': must be text, got list",
        "write it as text, in quotes",
    ),
    "no content": (
        '{"messages": [{"role": "user"}]}',
        "…, line 1, field 'messages[0].content': is missing",
        "give every message this field, or name its key with data.columns, e.g. {content: text}",
    ),
    "no list": (
        '{"messages": 3}',
        "…, line 1, field 'messages': must be a list of messages, got int",
        "write a list of messages",
    ),
    "text that is no list": (
        '{"messages": "hello"}',
        "…, line 1, field 'messages': must be a list of messages, got text that is not JSON",
        "write the list of messages as JSON",
    ),
    "empty list": (
        '{"messages": []}',
        "…, line 1, field 'messages': is empty",
        "fill it in or remove the row",
    ),
    "no object": (
        '{"messages": ["hello"]}',
        "…, line 1, field 'messages[0]': must be an object, got str",
        "write it as {role, content}",
    ),
    "tool calls": (
        '{"messages": [{"role": "user", "content": "a"}, {"role": "assistant", "content": "b", "tool_calls": [1]}]}',
        "…, line 1, field 'messages[1].tool_calls': a call of a tool is not shown to the model",
        "write the call as text in the response, as the model is to write it, or name it in data.ignore where the "
        "answer does not need it",
    ),
    "unknown sharegpt role": (
        '{"conversations": [{"from": "humann", "value": "a"}]}',
        "…, line 1, field 'conversations[0].from': unknown role 'humann'",
        "did you mean 'human'?; or map it with data.roles, e.g. {humann: user}",
    ),
}


@pytest.mark.parametrize("name", ROWS)
def test_a_bad_row(tmp_path, name):
    row, settings, problem, fix = ROWS[name]
    path = tmp_path / "d.jsonl"
    first = '{"prompt": "q", "response": "1"}' if settings else GOOD
    path.write_text(f"{first}\n{row}\n")
    assert failure(path, **settings) == f"{problem}\n  fix: {fix}{SKIP}"


@pytest.mark.parametrize("name", CHATS)
def test_a_bad_conversation(tmp_path, name):
    row, problem, fix = CHATS[name]
    path = tmp_path / "d.jsonl"
    path.write_text(row)
    assert failure(path) == f"{problem}\n  fix: {fix}{SKIP}"


@pytest.mark.parametrize("name", COMPARED)
def test_a_bad_comparison(tmp_path, name):
    row, problem, fix = COMPARED[name]
    path = tmp_path / "d.jsonl"
    form = "preference" if "chosen" in row else "comparison"
    path.write_text(json.dumps(dict.fromkeys(FORMATS[form].fields) | row))
    assert failure(path, format=form) == f"{problem}\n  fix: {fix}{SKIP}"


@pytest.mark.parametrize(
    ("needs", "problem"),
    [
        ({"objective 'spin'": {"response"}}, "objective 'spin' needs an expert response, and there is none"),
        (
            {"phase 0": {"response"}, "phase 1": {"comparison"}},
            "phase 0 needs an expert response, phase 1 needs responses with preferences, and there is none",
        ),
    ],
)
def test_a_row_that_is_of_use_to_nobody(tmp_path, needs, problem):
    path = tmp_path / "d.jsonl"
    path.write_text('{"prompt": "q", "response": null}')
    with pytest.raises(InputError) as caught:
        load(DataConfig(source=str(path), held_out=0), 0, {who: frozenset(parts) for who, parts in needs.items()})
    assert caught.value.problem == problem
    assert caught.value.where == f"{path}, line 1, field 'response'"
    assert load(DataConfig(source=str(path), held_out=0), 0, {**needs, "phase 2": frozenset()}).train[0].prompt == "q"


def test_the_error_uses_the_files_own_column_name_and_counts_bad_rows(tmp_path):
    path = tmp_path / "d.jsonl"
    path.write_text('{"question": "q", "answer": ""}\n{"question": 1, "answer": "a"}\n')
    assert failure(path, columns={"prompt": "question", "response": "answer"}) == (
        "…, line 1, field 'answer': is empty\n  fix: fill it in or remove the row; "
        "or leave out all 2 invalid rows with data.skip_invalid: true"
    )
    assert failure(path, columns={"prompt": "question", "response": "answer"}, skip_invalid=True) == (
        "…: all 2 rows are invalid; the first, …, line 1, field 'answer': is empty\n  fix: fill it in or remove the row"
    )
