"""`init` writes a configuration that works as it stands, from what a data file holds."""

from __future__ import annotations

import json
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

import pytest
import yaml

from sparring.errors import InputError
from sparring.selfplay.config.schema import SelfPlayConfig
from sparring.selfplay.prepared import prepare

Sparring = Callable[..., tuple[object, str]]


@pytest.fixture
def begin(sparring: Sparring, tiny_folder: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Callable[..., Any]:
    monkeypatch.chdir(tmp_path)

    def give(*rows: Any, settings: Sequence[str] = ()) -> tuple[object, str]:
        lines = [row if isinstance(row, str) else json.dumps(row) for row in rows]
        Path("mine.jsonl").write_text("\n".join(lines) + "\n", encoding="utf-8")
        return sparring("init", "mine.jsonl", *settings, "--model", tiny_folder)

    return give


def read() -> SelfPlayConfig:
    return SelfPlayConfig.from_yaml("sparring.yaml")


def test_a_file_of_demonstrations_is_imitated(begin: Callable[..., Any]) -> None:
    code, told = begin(*({"prompt": f"{n}?", "response": "x" * (n + 60)} for n in range(10)))
    assert (code, told.splitlines()) == (
        0,
        [
            "mine.jsonl: 10 rows",
            "  10 rows with an expert's response",
            "configuration: sparring.yaml",
            "next: sparring plan sparring.yaml",
        ],
    )
    config = read()
    assert (config.objective.name, config.responses, config.iterations) == ("spif", "opponent", 2)
    # A byte is a token of the tiny model: 69 and the end token.
    assert config.data.max_response_tokens == 128
    assert "the longest response has 70" in Path("sparring.yaml").read_text(encoding="utf-8")
    assert config.warmup is not None
    assert config.warmup.until == "plateau"
    assert not config.data.skip_invalid
    prepared = prepare(config)
    assert len(prepared.train.examples) == 8


def test_short_responses_have_a_limit_that_is_near(begin: Callable[..., Any]) -> None:
    begin(*({"prompt": f"{n}?", "response": "ab"} for n in range(10)))
    assert read().data.max_response_tokens == 16


def test_more_fine_tuning_is_offered_where_experts_are_all_there_is(begin: Callable[..., Any]) -> None:
    begin(*({"prompt": f"{n}?", "response": "b"} for n in range(10)))
    text = Path("sparring.yaml").read_text(encoding="utf-8")
    assert "more supervised fine-tuning is the better buy" in text
    assert "#   sparring train auto data.source=mine.jsonl\n" in text
    # What the comment says of `iterations: 0` holds.
    assert prepare(SelfPlayConfig.from_yaml("sparring.yaml", ["iterations=0"])).config.total_iterations == 0


def test_a_file_of_preferences_is_learned_from(begin: Callable[..., Any]) -> None:
    code, _ = begin(*({"prompt": f"{n}?", "chosen": "yes", "rejected": "no"} for n in range(10)))
    assert code == 0
    config = read()
    assert (config.objective.name, config.responses, config.warmup) == ("dpo", "data", None)
    prepare(config)


@pytest.mark.parametrize(
    ("others", "whose"), [([], ""), ([{}], " of the rows with an expert's response"), ([{"ground_truth": 7}], "")]
)
def test_of_which_rows_a_share_is_held_out(begin: Callable[..., Any], others: list[Any], whose: str) -> None:
    answered = ({"prompt": f"{n}?", "response": f"#### {n}"} for n in range(10))
    begin(*answered, *({"prompt": f"{n}!"} | each for each in others for n in range(5)))
    told = Path("sparring.yaml").read_text(encoding="utf-8")
    assert f"measure every policy on; by default a fifth{whose}, at most 32\n" in told


def test_what_is_commented_out_is_valid_too(begin: Callable[..., Any]) -> None:
    begin({"prompt": "a?", "response": "b"})
    text = Path("sparring.yaml").read_text(encoding="utf-8")
    shown = text.replace("# lora:\n#   r", "lora:\n  r").replace("  # held_out: 32  #", "  held_out: 32  #")
    config = SelfPlayConfig.from_mapping(yaml.safe_load(shown))
    assert (config.lora, config.data.held_out) == ({"r": 16}, 32)


def test_every_row_is_accounted_for(begin: Callable[..., Any]) -> None:
    experts = [{"prompt": f"{n}?", "response": "b"} for n in range(10)]
    compared = [{"prompt": f"{n}, of two?", "responses": ["a", "b"], "scores": [1, 2]} for n in range(2)]
    code, told = begin(*experts, {"prompt": "alone?"}, {"prompt": "c?", "response": " "}, *compared)
    assert code == 0
    kinds = [
        "10 rows with an expert's response",
        "2 rows with preferences",
        "1 row with a prompt alone: mine.jsonl, line 11",
        "1 row is wrong, left out: mine.jsonl, line 12, field 'response': is empty",
        "auto plays dpo on the data's own preferences",
        "1 row of no use to that, left out: those with neither preferences nor a response",
    ]
    assert told.splitlines()[:7] == ["mine.jsonl: 14 rows", *(f"  {kind}" for kind in kinds)]
    text = Path("sparring.yaml").read_text(encoding="utf-8")
    assert [f"#   {kind}" for kind in kinds] == text.splitlines()[1:7]
    assert "without this setting they stop the run.\n  skip_invalid: true\n" in text
    assert read().data.skip_invalid
    assert len(prepare(read()).train.examples) == 10
    with pytest.raises(InputError, match="line 12"):
        prepare(SelfPlayConfig.from_yaml("sparring.yaml", ["data.skip_invalid=false"]))


def test_a_prompt_alone_among_many_responses_may_be_a_slip(begin: Callable[..., Any]) -> None:
    _, told = begin(*({"prompt": f"{n}?", "response": "b"} for n in range(21)), {"prompt": "c?"})
    assert told.splitlines()[2] == (
        "  1 row with a prompt alone: mine.jsonl, line 22; if a response is missing there, add it: what is played "
        "hangs on such rows"
    )


def test_many_rows_of_a_kind_are_counted_alone(begin: Callable[..., Any]) -> None:
    alone, wrong = ({"prompt": f"{n}!"} for n in range(6)), [{"prompt": " ", "response": "b"}] * 7
    _, told = begin(*({"prompt": f"{n}?", "response": "b"} for n in range(10)), *alone, *wrong)
    assert told.splitlines()[2:4] == [
        "  6 rows with a prompt alone",
        "  7 rows are wrong, left out: "
        + "; ".join(f"mine.jsonl, line {line}, field 'prompt': is empty" for line in range(17, 22))
        + "; and 2 more",
    ]
    # Who judges the prompts alone is said, and they are played on.
    assert "auto plays sppo, judged by a discriminator" in told


@pytest.mark.parametrize(
    ("name", "answer", "verifier"),
    [("ground_truth", 7, "final-number"), ("answer", "x", "exact"), ("final", 7, "final-number")],
)
def test_right_answers_are_kept_and_verified(begin: Callable[..., Any], name: str, answer: Any, verifier: str) -> None:
    known = ({"prompt": f"{n}!", name: answer} for n in range(5))
    _, told = begin(*({"prompt": f"{n}?", "response": f"#### {n}"} for n in range(10)), *known)
    assert told.splitlines()[1:3] == ["  10 rows with an expert's response", "  5 rows with the right answer alone"]
    guessed = f"  the column '{name}' is taken for the right answer, by its name" in told.splitlines()
    assert guessed == (name != "ground_truth")
    config = read()
    assert (config.recipe, config.data.verifier, config.data.skip_invalid) == ("auto", verifier, False)
    assert config.data.columns == ({"ground_truth": name} if guessed else {})
    prepared = prepare(config)
    assert prepared.config.judge is not None
    assert (prepared.config.objective.name, prepared.config.judge.name) == ("raft", "verifier")
    # What init says is what the run says.
    assert next(each for each in prepared.reasons if each.startswith("auto plays")) in told
    # Three are held out, a fifth of the experts and one that has the right answer alone.
    assert sum(each.ground_truth == str(answer) for each in prepared.train.examples) == 4


def test_right_answers_alone_are_enough(begin: Callable[..., Any]) -> None:
    code, _ = begin(*({"prompt": f"{n}?", "answer": n} for n in range(10)), {"prompt": "why?"})
    config = read()
    assert (code, config.data.max_response_tokens, config.data.verifier) == (0, 256, "final-number")
    # One prompt has no answer, which the verifier cannot judge.
    prepared = prepare(config)
    assert prepared.config.judge is not None
    assert prepared.config.judge.name == "consensus"


def test_a_lone_column_that_no_name_tells_may_hold_the_responses(begin: Callable[..., Any]) -> None:
    rows = [{"id": n, "task": f"{n}?", "worked": f"it is {n}" if n % 5 == 0 else None, "result": n} for n in range(10)]
    code, told = begin(*rows)
    columns = "{prompt: task, ground_truth: result, response: worked}"
    line = f"  where 'worked' holds responses to imitate, add 'data.columns={columns}' to the command"
    assert (code, line in told.splitlines()) == (0, True)
    Path("sparring.yaml").unlink()
    code, told = begin(*rows, settings=[f"data.columns={columns}"])
    assert (code, "  2 rows with an expert's response" in told, "to imitate" in told) == (0, True, False)


@pytest.mark.parametrize(
    ("names", "mapped"),
    [
        (("question", "solution"), {"prompt": "question", "response": "solution"}),
        (("Query", "Answer"), {"prompt": "Query", "response": "Answer"}),
        (("prompt", "output"), {"response": "output"}),
        (("instruction", "answer"), {"prompt": "instruction", "response": "answer"}),
    ],
)
def test_prompts_and_responses_are_told_by_their_names(
    begin: Callable[..., Any], names: tuple[str, str], mapped: dict[str, str]
) -> None:
    code, told = begin(*({names[0]: f"{n}?", names[1]: f"it is {n}", "final": n} for n in range(10)))
    assert code == 0, told
    assert "  10 rows with an expert's response" in told
    for field, column in mapped.items():
        assert f"  the column '{column}' is taken for the {field}, by its name" in told.splitlines()
    assert "  columns that hold something and are not read: final" in told.splitlines()
    assert read().data.columns == mapped
    assert len(prepare(read()).train.examples) == 8
    # The command that the file shows maps them too.
    assert "#   sparring train auto data.source=mine.jsonl 'data.columns={" in Path("sparring.yaml").read_text("utf-8")


def test_an_instruction_keeps_its_input(begin: Callable[..., Any]) -> None:
    begin(*({"instruction": "add", "input": f"{n} and 1", "answer": f"it is {n + 1}"} for n in range(10)))
    assert read().data.columns == {"output": "answer"}
    assert {"add\n\n3 and 1"} & {each.prompt for each in prepare(read()).train.examples}


def test_preferences_get_their_prompt_by_its_name(begin: Callable[..., Any]) -> None:
    begin(*({"question": f"{n}?", "chosen": "yes", "rejected": "no"} for n in range(10)))
    assert read().data.columns == {"prompt": "question"}
    prepare(read())


def test_single_words_are_right_answers_rather_than_responses(begin: Callable[..., Any]) -> None:
    begin(*({"question": f"{n}?", "answer": n} for n in range(10)))
    assert read().data.columns == {"prompt": "question", "ground_truth": "answer"}
    prepare(read())


def test_of_two_columns_that_fit_none_is_guessed(begin: Callable[..., Any]) -> None:
    rows = [{"problem": f"{n}?", "solution": f"it is {n}", "answer": n} for n in range(10)]
    code, told = begin(*rows)
    assert (code, Path("sparring.yaml").exists()) == (2, False)
    assert "the columns answer and solution may each be the response, by their names" in told
    assert "'data.columns={prompt: problem, response: answer}'" in told
    columns = "{prompt: problem, response: solution, ground_truth: answer}"
    code, told = begin(*rows, settings=[f"data.columns={columns}"])
    assert code == 0, told
    assert read().data.columns == yaml.safe_load(columns)
    assert all(each.ground_truth is not None for each in prepare(read()).train.examples)


def test_a_setting_that_says_nothing_of_the_rows_is_refused(begin: Callable[..., Any]) -> None:
    code, told = begin({"prompt": "a?", "response": "b"}, settings=["training.learning_rate=1"])
    assert (code, "write it into sparring.yaml afterwards" in told) == (2, True), told


def test_the_command_that_the_file_shows_leaves_invalid_rows_out_too(begin: Callable[..., Any]) -> None:
    rows = [{"prompt": f"{n}?", "response": "b"} for n in range(10)]
    begin(*rows, rows[0])
    text = Path("sparring.yaml").read_text("utf-8")
    assert "#   sparring train auto data.source=mine.jsonl data.skip_invalid=true\n" in text


def test_rows_that_repeat_are_left_out_and_counted(begin: Callable[..., Any]) -> None:
    rows = [{"prompt": f"{n}?", "answer": n} for n in range(10)]
    code, told = begin(*rows, {"prompt": "3?", "answer": 4}, rows[0])
    assert code == 0, told
    assert "1 row is wrong, left out: mine.jsonl, line 12: repeats mine.jsonl, line 1" in told
    assert read().data.skip_invalid
    prepare(read())


@pytest.mark.parametrize(
    ("row", "said"),
    [
        ({"prompt": "a?"}, "mine.jsonl: holds prompts alone, so there is nobody to learn from"),
        ({"prompt": "a?", "response": 3}, "line 1, field 'response': must be text, got int"),
        ("{", "is not valid JSON"),
        ({"question": "a?", "reply": "b"}, "fit no format"),
    ],
)
def test_a_file_with_nothing_to_learn_from(begin: Callable[..., Any], row: Any, said: str) -> None:
    code, told = begin(row)
    assert (code, said in told, Path("sparring.yaml").exists()) == (2, True, False), told


def test_what_is_there_is_kept(begin: Callable[..., Any]) -> None:
    Path("sparring.yaml").write_text("mine", encoding="utf-8")
    code, told = begin({"prompt": "a?", "response": "b"})
    assert (code, "sparring.yaml: is there already" in told) == (2, True)
    assert Path("sparring.yaml").read_text(encoding="utf-8") == "mine"
