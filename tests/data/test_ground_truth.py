"""What a right response says, apart from the response that is imitated."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest

from sparring.data import FORMATS, DataConfig, Dataset, encode, load
from sparring.errors import InputError
from sparring.examples import Example
from sparring.models import ModelConfig, load_tokenizer

VERIFIED = {"objective 'sppo' with judge 'verifier'": frozenset({"reference_answer"})}
IMITATED = {"objective 'spif'": frozenset({"response"})}
# A row of every format with no answer of its own.
ASKED: dict[str, dict[str, Any]] = {
    "prompt-response": {"prompt": "3 + 4?", "response": None},
    "prompt-completion": {"prompt": "3 + 4?", "completion": None},
    "messages": {"messages": [{"role": "user", "content": "3 + 4?"}]},
    "alpaca": {"instruction": "3 + 4?", "output": None},
    "sharegpt": {"conversations": [{"from": "human", "value": "3 + 4?"}]},
    "preference": {"prompt": "3 + 4?", "chosen": None, "rejected": None},
    "comparison": {"prompt": "3 + 4?", "responses": None, "scores": None},
    "prompt-only": {"prompt": "3 + 4?"},
}


def loaded(folder: Path, rows: list[dict[str, Any]], needs: Any = None, **settings: Any) -> Dataset:
    path = folder / "data.jsonl"
    path.write_text("".join(json.dumps(row) + "\n" for row in rows))
    config = DataConfig.model_validate({"source": str(path), "held_out": 0} | settings)
    return load(config, 0, VERIFIED if needs is None else needs)


def test_every_format_is_tried() -> None:
    assert ASKED.keys() == FORMATS.keys()


@pytest.mark.parametrize("name", ASKED)
@pytest.mark.parametrize(("given", "text"), [("7", "7"), (7, "7"), (-0.5, "-0.5"), (1e21, "1" + 21 * "0")])
def test_every_format_takes_one(tmp_path: Path, name: str, given: object, text: str) -> None:
    (example,) = loaded(tmp_path, [ASKED[name] | {"ground_truth": given}]).train
    assert (example.response, example.ground_truth, example.reference_answer) == (None, text, text)


def test_its_column_may_have_another_name(tmp_path: Path) -> None:
    row = {"question": "3 + 4?", "key": "7"}
    (example,) = loaded(tmp_path, [row], columns={"prompt": "question", "ground_truth": "key"}).train
    assert (example.prompt, example.ground_truth) == ("3 + 4?", "7")


def test_it_is_what_is_verified_and_the_response_what_is_imitated(tmp_path: Path) -> None:
    rows = [{"prompt": "3 + 4?", "response": "so #### 7", "ground_truth": "7.0"}, {"prompt": "1?", "response": "1"}]
    data = {example.prompt: example for example in loaded(tmp_path, rows, verifier="final-number").train}
    assert (data["3 + 4?"].response, data["3 + 4?"].reference_answer) == ("so #### 7", "7.0")
    assert (data["1?"].ground_truth, data["1?"].reference_answer) == (None, "1")


@pytest.mark.parametrize(
    ("row", "needs", "problem"),
    [
        ({"ground_truth": "seven"}, VERIFIED, "verifier 'final-number' finds no answer in the ground truth"),
        ({"ground_truth": " "}, VERIFIED, "is empty"),
        ({"ground_truth": True}, VERIFIED, "must be text, got bool"),
        ({"ground_truth": ["7"]}, VERIFIED, "must be text, got list"),
        ({"ground_truth": "7"}, IMITATED, "objective 'spif' needs an expert response, and there is none"),
        ({"ground_truth": None}, VERIFIED, "needs a ground truth or an expert response, and there is none"),
    ],
)
def test_a_bad_row(tmp_path: Path, row: dict[str, object], needs: Any, problem: str) -> None:
    with pytest.raises(InputError) as caught:
        loaded(tmp_path, [{"prompt": "3 + 4?", "response": None} | row], needs, verifier="final-number")
    assert problem in caught.value.problem
    assert "line 1" in str(caught.value.where)


def test_a_rule_on_preferences_is_told_of_a_judge_that_needs_none(tmp_path: Path) -> None:
    with pytest.raises(InputError, match="needs a ground truth or an expert response") as caught:
        loaded(tmp_path, [{"prompt": "3 + 4?", "chosen": "7", "rejected": "8"}])
    assert "objective: {name: dpo} and responses: data" in str(caught.value.fix)
    assert "own samples with a class of yours that has needs_reference_answer = False" in str(caught.value.fix)


def test_prompts_alone_are_enough_beside_it_and_not_without(tmp_path: Path) -> None:
    assert loaded(tmp_path, [{"prompt": "3 + 4?", "ground_truth": "7"}]).train
    with pytest.raises(InputError) as caught:
        loaded(tmp_path, [{"prompt": "3 + 4?", "level": "easy"}])
    assert caught.value.problem == (
        "objective 'sppo' with judge 'verifier' needs a ground truth or an expert response; "
        "the rows hold prompts alone (columns: level, prompt)"
    )
    assert caught.value.fix == (
        "give every row a 'ground_truth', with which the judge compares; a judge that needs none is a class of yours "
        "with needs_reference_answer = False (docs/how-to/judge.md)"
    )


@pytest.mark.parametrize(
    ("field", "problem", "fix"),
    [
        ("response", "needs an expert response", "give every row one, or take an objective and a judge that need none"),
        ("comparison", "needs responses with preferences", "give every row 'chosen' and 'rejected', or leave out"),
    ],
)
def test_what_prompts_alone_lack_is_told_by_its_name(tmp_path: Path, field: str, problem: str, fix: str) -> None:
    with pytest.raises(InputError) as caught:
        loaded(tmp_path, [{"prompt": "3 + 4?"}], {"objective 'x'": frozenset({field})})
    assert problem in caught.value.problem
    assert str(caught.value.fix).startswith(fix)


@pytest.mark.parametrize(
    ("row", "same"),
    [
        ({}, "prompt"),
        ({"response": "7"}, "prompt and response"),
        ({"ground_truth": "7"}, "prompt and ground truth"),
        ({"response": "so 7", "ground_truth": "7"}, "prompt and response and ground truth"),
        ({"chosen": "7", "rejected": "8"}, "prompt and responses and preferences"),
    ],
)
def test_a_repeated_row_is_told_what_it_repeats(tmp_path: Path, row: dict[str, str], same: str) -> None:
    with pytest.raises(InputError, match=rf"line 1 \(same {same}\)"):
        loaded(tmp_path, [{"prompt": "3 + 4?"} | row] * 2, {"objective 'x'": frozenset()})


def test_two_rows_that_differ_in_it_alone_repeat_nothing(tmp_path: Path) -> None:
    assert len(loaded(tmp_path, [{"prompt": "x?", "ground_truth": truth} for truth in "12"]).train) == 2


def test_it_is_in_the_fingerprint(tmp_path: Path) -> None:
    prints = {loaded(tmp_path, [{"prompt": "x?", "ground_truth": truth}]).report.fingerprint for truth in "12"}
    assert len(prints) == 2


def test_those_with_it_are_held_out_where_nobody_has_a_response(tmp_path: Path) -> None:
    rows = [{"prompt": f"{n}?", "ground_truth": str(n) if n < 3 else None} for n in range(10)]
    data = loaded(tmp_path, rows, {"objective 'sppo' with judge 'consensus'": frozenset()}, held_out=3)
    assert sorted(example.prompt for example in data.held_out) == ["0?", "1?", "2?"]
    rows[9] |= {"response": "9"}
    data = loaded(tmp_path, rows, {"objective 'sppo' with judge 'consensus'": frozenset()}, held_out=1)
    assert [example.prompt for example in data.held_out] == ["9?"]


def test_an_expert_that_is_wrong_by_it_is_said(tmp_path: Path, tiny_folder: Path) -> None:
    rows = [{"prompt": f"{n}?", "response": f"it is {n}", "ground_truth": str(max(n, 2))} for n in range(4)]
    data = loaded(tmp_path, [*rows, {"prompt": "x", "response": "1"}], verifier="final-number")
    config = DataConfig(source="data.jsonl", max_response_tokens=32, verifier="final-number")
    tokenizer = load_tokenizer(ModelConfig(name=str(tiny_folder)))
    found = encode(data.train, tokenizer, config, context_length=256).findings
    (finding,) = [each for each in found if each.name == "wrong experts"]
    assert (finding.count, finding.of, finding.warning) == (2, 4, True)
    assert finding.sentence.startswith("2 of 4 expert responses beside a ground truth are wrong by it")
    assert "the ground truth is '2'" in finding.example


def experts(settings: dict[str, Any]) -> list[Example]:
    config = DataConfig.model_validate({"source": "arithmetic", "limit": 8, "held_out": 3} | settings)
    data = load(config, 0)
    assert all(example.response is not None and example.ground_truth is None for example in data.held_out)
    return data.train


def test_only_so_many_experts_are_kept_and_all_can_be_verified() -> None:
    everything, some = experts({}), experts({"experts": 2})
    assert [example.response for example in some[:2]] == [example.response for example in everything[:2]]
    assert [example.response for example in some[2:]] == [None] * 6
    assert [each.reference_answer for each in some] == [each.response for each in everything]
    assert [each.response for each in experts({"experts": 0})] == [None] * 8


def test_more_experts_keep_those_that_were_kept() -> None:
    few, more = experts({"experts": 2}), experts({"experts": 3, "limit": 9})
    assert [example.prompt for example in few if example.response] == [e.prompt for e in more if e.response][:2]


def test_experts_of_a_file_are_drawn_with_the_seed(tmp_path: Path) -> None:
    rows = [{"prompt": f"{n}?", "response": f"#### {n}", "ground_truth": f"{n}.0"} for n in range(20)]
    rows += [{"prompt": "none?", "ground_truth": "0"}]
    data = loaded(tmp_path, rows, experts=5)
    kept = [example.index for example in data.train if example.response is not None]
    assert len(kept) == 5
    assert sorted(kept) != list(range(5))
    assert all(str(example.ground_truth).endswith(("0", ".0")) for example in data.train)
    with pytest.raises(InputError, match=r"21 expert responses are wanted \(data.experts\), 20 training rows have one"):
        loaded(tmp_path, rows, experts=21)


def test_a_teacher_writes_all_of_them() -> None:
    with pytest.raises(ValueError, match="experts leaves out responses of the data, and a teacher writes them all"):
        DataConfig.model_validate({"source": "x.jsonl", "experts": 1, "teacher": {"temperature": 0.5}})


@pytest.mark.parametrize("form", ["auto", "prompt-response"])
def test_held_out_rows_of_another_file_may_have_it_alone(tmp_path: Path, form: str) -> None:
    other = tmp_path / "other.jsonl"
    other.write_text(json.dumps({"question": "1 + 1?", "final": 2}))
    rows = [{"question": "3 + 4?", "solution": "3 + 4 = 7", "final": 7}]
    columns = {"prompt": "question", "response": "solution", "ground_truth": "final"}
    settings = {"columns": columns, "format": form, "held_out": 1, "held_out_source": str(other)}
    data = loaded(tmp_path, rows, **settings)
    assert [(each.response, each.ground_truth) for each in data.held_out] == [(None, "2")]
    assert [(each.response, each.ground_truth) for each in data.train] == [("3 + 4 = 7", "7")]
    # In the file that they were mapped for they must be there, and so must the prompt's in both.
    with pytest.raises(InputError, match="maps 'response' to the column 'solution', which is not there"):
        loaded(tmp_path, [{"question": "3 + 4?", "final": 7}], **settings)
    other.write_text(json.dumps({"asked": "1 + 1?", "final": 2}))
    with pytest.raises(InputError, match="maps 'prompt' to the column 'question', which is not there"):
        loaded(tmp_path, rows, **settings)


def test_no_fix_maps_a_response_onto_the_prompts_column(tmp_path: Path) -> None:
    columns = {"prompt": "question", "response": "solution"}
    with pytest.raises(InputError) as error:
        loaded(tmp_path, [{"question": "3 + 4?"}], columns=columns)
    assert error.value.fix == "leave it out of data.columns, or add the column"
