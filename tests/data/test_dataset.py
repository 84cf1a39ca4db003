from __future__ import annotations

import csv
import json

import datasets
import pyarrow
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from pyarrow import parquet

from sparring.data import FORMATS, TASKS, VERIFIERS, DataConfig, load
from sparring.data.detection import detect
from sparring.data.sources import READERS
from sparring.errors import InputError
from sparring.examples import Comparison, Example

USER, ANSWER = {"role": "user", "content": "Why?"}, {"role": "assistant", "content": "Because."}
SYSTEM, EARLIER = {"role": "system", "content": ""}, {"role": "assistant", "content": "Yes."}
PLAIN = Example(index=0, prompt="Why?", response="Because.")
CHAT = Example(index=0, messages=(USER,), prompt="Why?", response="Because.")
LONG = Example(index=0, messages=(SYSTEM, USER, EARLIER, USER), prompt="Why?", response="Because.")
RANKED = Comparison(responses=("Because.", "No."), pairwise=((0.5, 1.0), (0.0, 0.5)))
COMPARED = Example(index=0, prompt="Why?", comparison=RANKED)
SHAREGPT = [{"from": "human", "value": "Why?"}, {"from": "gpt", "value": "Because."}]

SHAPES = {
    "prompt-response": ({"prompt": "Why?", "response": "Because."}, PLAIN),
    "prompt-completion": ({"prompt": "Why?", "completion": "Because."}, PLAIN),
    "messages": ({"messages": [SYSTEM, USER, EARLIER, USER, ANSWER]}, LONG),
    "alpaca": ({"instruction": "Why?", "input": "", "output": "Because."}, PLAIN),
    "sharegpt": ({"conversations": SHAREGPT}, CHAT),
    "preference": ({"prompt": "Why?", "chosen": "Because.", "rejected": "No."}, COMPARED),
    "comparison": ({"prompt": "Why?", "responses": ["Because.", "No."], "scores": [0.5, -1]}, COMPARED),
    "prompt-only": ({"prompt": "Why?"}, Example(index=0, prompt="Why?")),
}


def as_jsonl(path, rows):
    path.with_suffix(".jsonl").write_text("\n\n".join(json.dumps(row) for row in rows) + "\n")
    return path.with_suffix(".jsonl")


def as_json(path, rows):
    path.with_suffix(".json").write_text(json.dumps(rows, indent=1))
    return path.with_suffix(".json")


def as_parquet(path, rows):
    parquet.write_table(pyarrow.Table.from_pylist(rows), path.with_suffix(".parquet"))
    return path.with_suffix(".parquet")


def as_ndjson(path, rows):
    return as_jsonl(path, rows).rename(path.with_suffix(".ndjson"))


def as_csv(path, rows, *, ending=".csv", **layout):
    with path.with_suffix(ending).open("w", newline="") as file:
        writer = csv.DictWriter(file, rows[0], **layout)
        writer.writeheader()
        for row in rows:
            cells = {name: value if isinstance(value, str) else json.dumps(value) for name, value in row.items()}
            writer.writerow(cells)
    return path.with_suffix(ending)


def as_tsv(path, rows):
    return as_csv(path, rows, ending=".tsv", delimiter="\t")


def as_saved(path, rows):
    datasets.Dataset.from_list(rows).save_to_disk(path)
    return path


PROMPTS = {"a judge": frozenset()}
WRITERS = {
    "jsonl": as_jsonl,
    "ndjson": as_ndjson,
    "json": as_json,
    "parquet": as_parquet,
    "csv": as_csv,
    "tsv": as_tsv,
    "saved": as_saved,
}


def test_every_format_and_reader_has_its_row_here():
    assert set(SHAPES) == set(FORMATS)
    assert {f".{kind}" for kind in WRITERS} >= set(READERS)


@pytest.mark.parametrize("name", TASKS)
def test_every_task_keeps_its_contract(name):
    task = TASKS[name]
    verifier = VERIFIERS[task.verifier]()
    examples = task.generate(20, 1, 0)
    assert examples == task.generate(30, 1, 0)[:20]
    assert len({example.prompt for example in examples}) == 20
    assert all(verifier(example.response, example.response) for example in examples)


@pytest.mark.parametrize("kind", WRITERS)
@pytest.mark.parametrize("shape", SHAPES)
@pytest.mark.parametrize("auto", [True, False])
def test_every_format_from_every_kind_of_file(tmp_path, kind, shape, auto):
    row, expected = SHAPES[shape]
    path = WRITERS[kind](tmp_path / "data", [row])
    data = load(DataConfig(source=str(path), format="auto" if auto else shape, held_out=0), 0, PROMPTS)
    assert data.train == [expected]
    assert data.held_out == []
    assert (data.report.read, data.report.kept, data.report.skipped) == (1, 1, [])


@pytest.mark.parametrize(
    ("row", "expected"),
    [
        ({"prompt": [USER], "completion": [ANSWER]}, CHAT),
        ({"prompt": "Why?", "completion": [ANSWER]}, CHAT),
        ({"prompt": [SYSTEM, USER, EARLIER, USER], "response": "Because."}, LONG),
        (
            {"instruction": "Add.", "input": "1 2", "output": "3"},
            Example(index=0, prompt="Add.\n\n1 2", response="3"),
        ),
        ({"instruction": "Why?", "output": "Because."}, PLAIN),
    ],
)
def test_other_shapes_of_a_row(tmp_path, row, expected):
    assert load(DataConfig(source=str(as_jsonl(tmp_path / "d", [row])), held_out=0), 0).train == [expected]


def numbered(count):
    return [{"prompt": f"q{number}", "response": f"a{number}"} for number in range(count)]


def prompts(examples):
    return [example.prompt for example in examples]


def test_columns_are_mapped(tmp_path):
    path = as_jsonl(tmp_path / "d", [{"question": "Why?", "answer": "Because.", "prompt": "other"}])
    config = DataConfig(source=str(path), columns={"prompt": "question", "response": "answer"}, held_out=0)
    assert load(config, 0).train == [PLAIN]


def test_the_fingerprint_depends_on_content_alone(tmp_path):
    rows = numbered(6)

    def fingerprint(path, seed=0):
        return load(DataConfig(source=str(path), held_out=2), seed).report.fingerprint

    prints = {fingerprint(write(tmp_path / kind, rows)) for kind, write in WRITERS.items()}
    assert len(prints) == 1
    assert fingerprint(as_jsonl(tmp_path / "x", [*rows[:-1], {"prompt": "q5", "response": "b"}])) not in prints
    assert fingerprint(tmp_path / "jsonl.jsonl", seed=1) not in prints


@settings(max_examples=25, deadline=None)
@given(st.integers(1, 6), st.integers(0, 4), st.integers(0, 1000))
def test_splits_are_disjoint_and_do_not_depend_on_the_limit(tmp_path_factory, limit, held_out, seed):
    path = as_jsonl(tmp_path_factory.mktemp("d") / "d", numbered(10))
    data = load(DataConfig(source=str(path), limit=limit, held_out=held_out), seed)
    whole = load(DataConfig(source=str(path), held_out=held_out), seed)
    assert (len(data.train), len(data.held_out)) == (limit, held_out)
    assert data.train == whole.train[:limit]
    assert data.held_out == whole.held_out
    assert not set(prompts(whole.train)) & set(prompts(whole.held_out))
    assert len(whole.train) + len(whole.held_out) == 10


def test_other_answers_to_a_held_out_prompt_are_left_out(tmp_path):
    rows = [{"prompt": f"q{number % 3}", "response": f"a{number}"} for number in range(9)]
    data = load(DataConfig(source=str(as_jsonl(tmp_path / "d", rows)), held_out=1), 0)
    assert len(data.train) == 6
    assert data.held_out[0].prompt not in prompts(data.train)
    assert all(reason.startswith("has the prompt of the held-out") for _, reason in data.report.skipped)
    assert len(data.report.skipped) == 2
    assert data.report.read == data.report.kept + len(data.report.skipped) == 9


def test_held_out_from_its_own_source(tmp_path):
    train = as_jsonl(tmp_path / "train", numbered(5))
    other = as_csv(tmp_path / "other", [{"prompt": f"t{number}", "response": "a"} for number in range(4)])
    data = load(DataConfig(source=str(train), held_out_source=str(other), held_out=3), 0)
    assert len(data.train) == 5
    assert len(data.held_out) == 3
    assert set(prompts(data.held_out)) <= {"t0", "t1", "t2", "t3"}
    assert data.report.read == 9


def test_held_out_split_of_a_folder_of_files(tmp_path):
    as_jsonl(tmp_path / "train-0", numbered(3))
    as_csv(tmp_path / "train-1", [{"prompt": "t", "response": "a"}])
    as_jsonl(tmp_path / "test", [{"prompt": "new", "response": "a"}])
    data = load(DataConfig(source=str(tmp_path), held_out_split="test", held_out=1), 0)
    assert sorted(prompts(data.train)) == ["q0", "q1", "q2", "t"]
    assert prompts(data.held_out) == ["new"]
    assert sorted(example.index for example in data.train) == [0, 1, 2, 3]


def test_splits_of_a_saved_dataset(tmp_path):
    parts = {"train": datasets.Dataset.from_list(numbered(4)), "test": datasets.Dataset.from_list(numbered(9)[6:])}
    datasets.DatasetDict(parts).save_to_disk(tmp_path / "d")
    data = load(DataConfig(source=str(tmp_path / "d"), held_out_split="test", held_out=2), 0)
    assert sorted(prompts(data.train)) == ["q0", "q1", "q2", "q3"]
    assert len(data.held_out) == 2


def test_a_hugging_face_name(monkeypatch):
    asked = []

    def fake(name, subset, *, split):
        asked.append((name, subset, split))
        return datasets.Dataset.from_list(numbered(8)[:4] if split == "train" else numbered(8)[4:]).select([2, 0])

    monkeypatch.setattr(datasets, "load_dataset", fake)
    data = load(DataConfig(source="openai/gsm8k", subset="main", held_out_split="test", held_out=1), 0)
    assert asked == [("openai/gsm8k", "main", "train"), ("openai/gsm8k", "main", "test")]
    assert sorted(prompts(data.train)) == ["q0", "q2"]


def test_arithmetic():
    config = DataConfig(source="arithmetic", limit=40, held_out=10, difficulty=2)
    data = load(config, 3)
    assert (len(data.train), len(data.held_out), data.report.read) == (40, 10, 50)
    assert not set(prompts(data.train)) & set(prompts(data.held_out))
    more = load(config.model_copy(update={"limit": 60}), 3)
    assert more.held_out == data.held_out
    assert more.train[:40] == data.train
    assert load(config, 4).report.fingerprint != data.report.fingerprint


def test_skip_invalid_counts_and_lists(tmp_path):
    path = tmp_path / "d.jsonl"
    good = [json.dumps(row) for row in numbered(4)]
    path.write_text(
        "\n".join([*good, "{broken", '{"prompt": "q"}', good[0], '{"prompt": "q9", "response": " "}', "[]"])
    )
    data = load(DataConfig(source=str(path), held_out=1, skip_invalid=True), 0)
    assert len(data.train) + len(data.held_out) == 4
    assert (data.report.read, data.report.kept) == (9, 4)
    assert {(where.removeprefix(str(tmp_path)), reason.split(":")[0]) for where, reason in data.report.skipped} == {
        ("/d.jsonl, line 5", "is not valid JSON"),
        ("/d.jsonl, line 6, field 'response'", "imitation needs an expert response, and there is none"),
        ("/d.jsonl, line 7", f"repeats {path}, line 1 (same prompt and response)"),
        ("/d.jsonl, line 8, field 'response'", "is empty"),
        ("/d.jsonl, line 9", "must be a JSON object, got list"),
    }


def test_a_leak_from_a_separate_held_out_source(tmp_path):
    train, other = as_jsonl(tmp_path / "a", numbered(4)), as_jsonl(tmp_path / "b", numbered(3)[2:])
    settings = {"source": str(train), "held_out_source": str(other), "held_out": 1}
    with pytest.raises(InputError) as caught:
        load(DataConfig(**settings), 0)
    assert str(caught.value) == (
        f"{train}, line 5: has the prompt of the held-out {other}, line 1\n"
        "  fix: remove it from one of the two; or leave out that row with data.skip_invalid: true"
    )
    data = load(DataConfig(**settings, skip_invalid=True), 0)
    assert sorted(prompts(data.train)) == ["q0", "q1", "q3"]
    assert data.report.skipped == [(f"{train}, line 5", f"has the prompt of the held-out {other}, line 1")]


@settings(max_examples=60, deadline=None)
@given(st.binary(max_size=60), st.sampled_from([".jsonl", ".json", ".csv", ".parquet"]))
def test_no_bytes_give_a_traceback(tmp_path_factory, content, suffix):
    path = tmp_path_factory.mktemp("d") / f"d{suffix}"
    path.write_bytes(content)
    with pytest.raises(InputError):
        load(DataConfig(source=str(path), held_out=0), 0)


TURNS = {"messages": (USER,), "prompt": "Why?"}
TAKEN = {
    # As TRL documents its preference data sets, and as UltraFeedback, binarized, has them.
    "chat": ({"prompt": [USER], "chosen": [ANSWER], "rejected": [{**ANSWER, "content": "No."}]}, TURNS),
    "implicit prompt": ({"chosen": [USER, ANSWER], "rejected": [USER, {**ANSWER, "content": "No."}]}, TURNS),
    "ultrafeedback": (
        {
            "prompt": "Why?",
            "prompt_id": "1",
            "chosen": [USER, ANSWER],
            "rejected": [USER, {**ANSWER, "content": "No."}],
            "score_chosen": 8.0,
        },
        {"prompt": "Why?"},
    ),
}


@pytest.mark.parametrize("shape", TAKEN)
def test_preferences_as_others_write_them(tmp_path, shape):
    row, prompt = TAKEN[shape]
    path = as_jsonl(tmp_path / "d", [row])
    assert load(DataConfig(source=str(path), held_out=0), 0, PROMPTS).train == [
        Example(index=0, comparison=RANKED, **prompt)
    ]
    # What was chosen may be taken for the expert's response too.
    both = DataConfig(source=str(path), held_out=0, columns={"response": "chosen"})
    assert load(both, 0).train == [Example(index=0, comparison=RANKED, response="Because.", **prompt)]


def test_scores_tie_and_a_table_is_taken_as_it_is(tmp_path):
    rows = [
        {"prompt": "p", "responses": ["a", "b", "c"], "scores": [2, 1, 2]},
        {"prompt": "q", "responses": ["a", "b"], "pairwise": [[0.5, 0.7], [0.3, 0.5]], "response": "c"},
    ]
    data = load(DataConfig(source=str(as_jsonl(tmp_path / "d", rows)), held_out=0), 0, PROMPTS)
    first, second = sorted(data.train, key=lambda example: example.index)
    assert first.comparison.pairwise == ((0.5, 1.0, 0.5), (0.0, 0.5, 0.0), (0.5, 1.0, 0.5))
    assert (second.comparison.pairwise, second.response) == (((0.5, 0.7), (0.3, 0.5)), "c")


def test_prompts_alone_end_with_the_users_turn(tmp_path):
    rows = [{"messages": [USER, ANSWER, USER]}, {"messages": [USER, ANSWER]}]
    data = load(DataConfig(source=str(as_jsonl(tmp_path / "d", rows)), held_out=0), 0, PROMPTS)
    assert {(len(example.messages), example.response) for example in data.train} == {(3, None), (1, "Because.")}
    chats = as_jsonl(tmp_path / "e", [{"prompt": [USER]}])
    assert load(DataConfig(source=str(chats), held_out=0), 0, PROMPTS).train == [Example(index=0, **TURNS)]


LACKING = InputError("wants", fix="mend")


@pytest.mark.parametrize(
    ("columns", "format_"),
    [
        (["prompt", "response", "chosen", "rejected"], "preference"),
        (["prompt", "messages"], "messages"),
        (["prompt", "id"], "prompt-only"),
        (["prompt", "responses", "scores", "response"], "comparison"),
    ],
)
def test_the_format_that_takes_most_is_taken(columns, format_):
    assert detect(columns, {}, where="here", lacking=None) == format_


def test_prompts_are_no_format_where_a_response_is_needed():
    with pytest.raises(InputError, match=r"wants; the rows hold prompts alone \(columns: answer, prompt\)") as caught:
        detect(["prompt", "answer"], {}, where="here", lacking=LACKING)
    assert caught.value.fix == "map a column with data.columns, e.g. 'data.columns={response: answer}'; or mend"
    with pytest.raises(InputError) as caught:
        detect(["prompt", "id"], {}, where="here", lacking=LACKING)
    assert caught.value.fix == "mend"
    with pytest.raises(InputError) as caught:
        detect(["q", "id"], {"prompt": "q"}, where="here", lacking=LACKING)
    assert caught.value.fix == "mend"
    with pytest.raises(InputError, match="fit several formats: messages, preference"):
        detect(["prompt", "messages", "chosen", "rejected"], {}, where="here", lacking=None)


@pytest.mark.parametrize(
    ("columns", "example"),
    [
        (["exercise", "id", "result", "worked"], "prompt: exercise, response: worked, ground_truth: result"),
        (["question", "final", "solution"], "prompt: question, response: solution, ground_truth: final"),
        (["question", "reply"], "prompt: question, response: reply"),
        (["text", "label"], "prompt: text, ground_truth: label"),
        (["q", "response"], "prompt: q"),
        (
            ["question", "chosen_response", "rejected_response"],
            "prompt: question, chosen: chosen_response, rejected: rejected_response",
        ),
        (["instruction", "input", "answer"], "output: answer"),
        (["a", "b"], "prompt: question, response: answer"),
    ],
)
def test_columns_of_other_names_are_mapped_by_a_line_to_copy(columns, example):
    with pytest.raises(InputError, match=f"e.g. 'data.columns={{{example}}}'. The formats need"):
        detect(columns, {}, where="here", lacking=LACKING)


def test_what_is_held_out_has_an_expert_response_where_any_has(tmp_path):
    rows = [{"prompt": f"q{n}", "response": f"a{n}" if n % 3 == 0 else None} for n in range(12)]
    path = as_jsonl(tmp_path / "d", rows)
    data = load(DataConfig(source=str(path), held_out=3), 0, PROMPTS)
    assert [example.response is None for example in data.held_out] == [False] * 3
    assert (len(data.train), sum(example.response is not None for example in data.train)) == (9, 1)
    with pytest.raises(InputError, match=r"5 usable rows are needed .*with distinct prompts and an expert response"):
        load(DataConfig(source=str(path), held_out=5), 0, PROMPTS)
    bare = as_csv(tmp_path / "e", [{"prompt": f"q{n}", "response": ""} for n in range(4)])
    assert load(DataConfig(source=str(bare), held_out=2), 0, PROMPTS).held_out[0].response is None


@pytest.mark.parametrize("mark", [";", "\t"])
def test_csv_as_spreadsheets_write_it(tmp_path, mark):
    """A comma in a text is text where the columns are separated by something else."""
    path = tmp_path / "rows.csv"
    rows = "".join(f"q{n}, please{mark}a{n}, and more\n" for n in range(4))
    path.write_text(f"prompt{mark}response\n{rows}")
    found = load(DataConfig(source=str(path), held_out=0), seed=0).train
    assert sorted((each.prompt, each.response) for each in found) == [
        (f"q{n}, please", f"a{n}, and more") for n in range(4)
    ]


def test_a_cell_of_a_csv_file_may_be_of_any_length(tmp_path):
    path, longest = tmp_path / "rows.csv", "word " * 40_000
    path.write_text(f'prompt,response\n"{longest}",a\n')
    assert load(DataConfig(source=str(path), held_out=0), seed=0).train[0].prompt == longest
