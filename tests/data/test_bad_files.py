"""Every bad file, folder and name, with the exact message that a person sees; `…` stands for the path."""

from __future__ import annotations

import lzma

import datasets
import pyarrow
import pytest
from pyarrow import parquet

from bad_data import GOOD, SKIP, failure
from sparring.data import DataConfig, load

ENDINGS = ".jsonl, .ndjson, .json, .parquet, .csv, .tsv"


FILES = {
    "empty": ("d.jsonl", b"\n\n", {}, "…: has no rows\n  fix: give a source with at least one example"),
    "ending": (
        "d.txt",
        b"x",
        {},
        f"…: files ending in '.txt' cannot be read\n  fix: convert it to one of {ENDINGS}",
    ),
    "a key twice": (
        "d.jsonl",
        b'{"prompt": "q", "prompt": "r", "response": "a"}',
        {},
        "…, line 1: an object has the key 'prompt' twice, and one of the values would be lost\n"
        f"  fix: remove one of the two{SKIP}",
    ),
    "a key twice in an array": (
        "d.json",
        b'[{"prompt": "q", "response": "a, [b]"},\n {"messages": [{"role": "user", "content": "q", "content": "r"}]}]',
        {},
        "…, row 2: an object has the key 'content' twice, and one of the values would be lost\n"
        "  fix: remove one of the two",
    ),
    "a key twice in a cell": (
        "d.csv",
        b'messages\n"[{""role"": ""user"", ""role"": ""x"", ""content"": ""q""}]"\n',
        {},
        "…, row 1, field 'messages': an object has the key 'role' twice, and one of the values would be lost\n"
        f"  fix: remove one of the two{SKIP}",
    ),
    "one object over several lines": (
        "d.json",
        b'{\n"version": 1,\n"data": [{"prompt": "q", "response": "a"}]}\n',
        {},
        "…: is one JSON object over several lines (its keys: version, data)\n"
        "  fix: write its rows alone, as an array of objects or one object a line (pandas: orient='records')",
    ),
    "rows inside an object": (
        "d.json",
        b'{"version": 1, "data": [{"prompt": "q", "response": "a"}]}',
        {},
        "…: is one JSON object with the rows inside (its keys: version, data)\n"
        "  fix: write its rows alone, as an array of objects or one object a line (pandas: orient='records')",
    ),
    "columns as pandas writes them": (
        "d.json",
        b'{"prompt": {"0": "q", "1": "r"}, "response": {"0": "a", "1": "b"}}',
        {},
        "…: is one JSON object with the rows inside (its keys: prompt, response)\n"
        "  fix: write its rows alone, as an array of objects or one object a line (pandas: orient='records')",
    ),
    "split of a file": (
        "d.jsonl",
        b"{}",
        {"split": "test"},
        "…: a single file has no split 'test'\n  fix: leave the split out",
    ),
    "jsonl in latin-1": (
        "d.jsonl",
        b'{"prompt": "caf\xe9"}',
        {},
        f"…, line 1: is not valid UTF-8 at byte 16 of the line\n  fix: save the file as UTF-8{SKIP}",
    ),
    "csv in latin-1": (
        "d.csv",
        b"prompt,response\ncaf\xe9,a\n",
        {},
        "…, line 2: is not valid UTF-8\n  fix: save the file as UTF-8",
    ),
    "csv with a NUL": (
        "d.csv",
        b"prompt,response\nq,a\0\n",
        {},
        f"…, row 1, field 'response': holds a NUL character\n  fix: remove the character{SKIP}",
    ),
    "csv with too many values": (
        "d.csv",
        b"prompt,response\nq,a,b\n",
        {},
        "…, row 1: has 3 values, but the header has 2 columns\n"
        f"  fix: put text with separators or line breaks in double quotes{SKIP}",
    ),
    "csv with an open quote": (
        "d.csv",
        b'prompt,response\nq,"a\n',
        {},
        "…, line 2: is not valid CSV: unexpected end of data\n"
        "  fix: mend the quotes, or convert the file to .jsonl or .parquet",
    ),
    "csv with a column twice": (
        "d.csv",
        b"prompt,prompt\nq,a\n",
        {},
        "…, header: two columns are named 'prompt'\n  fix: rename one of them",
    ),
    "json array": (
        "d.json",
        b'[{"prompt": "q"}',
        {},
        "…: is not valid JSON: Expecting ',' delimiter: line 1 column 17 (char 16)\n"
        "  fix: write one JSON array of objects",
    ),
    "json array of text": (
        "d.json",
        b'["q"]',
        {},
        "…, row 1: must be a JSON object, got str\n"
        f'  fix: write an object, e.g. {{"prompt": "…", "response": "…"}}{SKIP}',
    ),
    "unknown columns": (
        "d.csv",
        b"question,answer\nq,a\n",
        {},
        "…: the columns (answer, question) fit no format\n"
        "  fix: map them with data.columns, e.g. 'data.columns={prompt: question, response: answer}'. The formats need "
        "prompt-response: prompt + response; prompt-completion: prompt + completion; messages: messages; "
        "alpaca: instruction + output; sharegpt: conversations; "
        "preference: chosen + rejected; comparison: prompt + responses; prompt-only: prompt",
    ),
    "several formats": (
        "d.csv",
        b"prompt,response,messages\nq,a,b\n",
        {},
        "…: the columns (messages, prompt, response) fit several formats: prompt-response, messages\n"
        "  fix: choose one with data.format; rows of several formats go into a file each, named in data.sources",
    ),
    "format without its column": (
        "d.csv",
        b"prompt,answer\nq,a\n",
        {"format": "prompt-response"},
        "…: format 'prompt-response' needs the column 'response'; found: answer, prompt\n"
        "  fix: map it with data.columns, e.g. {response: answer}, or set data.format to auto",
    ),
    "mapping to no column": (
        "d.csv",
        b"question,answer\nq,a\n",
        {"columns": {"prompt": "questoin"}},
        "…: data.columns maps 'prompt' to the column 'questoin', which is not there\n  fix: did you mean 'question'?",
    ),
    "too few": (
        "d.csv",
        b"prompt,response\nq,a\np,a\n",
        {"limit": 3, "held_out": 2},
        "…: 5 usable rows are needed (data.limit 3 + data.held_out 2), 2 are there\n"
        "  fix: add rows, or lower data.held_out (or data.limit)",
    ),
    "too few without a limit": (
        "d.csv",
        b"prompt,response\nq,a\np,a\n",
        {"held_out": 2},
        "…: 3 usable rows are needed (1 for training + data.held_out 2), 2 are there\n"
        "  fix: add rows, or lower data.held_out (or data.limit)",
    ),
}


@pytest.mark.parametrize("name", FILES)
def test_a_bad_file(tmp_path, name):
    file, content, settings, message = FILES[name]
    path = tmp_path / file
    path.write_bytes(content)
    assert failure(path, **settings) == message


def test_a_missing_file(tmp_path):
    path = tmp_path / "trian.jsonl"
    assert failure(path) == f"…: there is no such file\n  fix: check the path: {tmp_path} holds no data files"
    (tmp_path / "train.jsonl").write_text(GOOD)
    assert failure(path) == "…: there is no such file\n  fix: did you mean 'train.jsonl'?"
    assert "does not exist either" in failure(tmp_path / "no" / "train.jsonl")


def test_a_broken_parquet_file(tmp_path):
    path = tmp_path / "d.parquet"
    parquet.write_table(pyarrow.table({"prompt": ["p", "q"], "response": ["a", "b"]}), path, compression="none")
    whole = path.read_bytes()
    for content in (b"PAR1 no", whole[:4] + b"\xff" * 20 + whole[24:]):
        path.write_bytes(content)
        told = failure(path)
        assert told.startswith("…: is not a valid Parquet file: ")
        assert told.endswith("\n  fix: write it anew")


def test_parquet_text_that_is_not_utf8(tmp_path):
    path = tmp_path / "d.parquet"
    bad = pyarrow.array([b"fine", b"caf\xe9"]).cast(pyarrow.string(), safe=False)
    if bad.type != pyarrow.string():
        pytest.fail("the array must claim to be text")
    parquet.write_table(pyarrow.table({"prompt": ["p", "q"], "response": bad}), path)
    message = "…, row 2, field 'response': is not valid UTF-8"
    assert failure(path) == f"{message}\n  fix: save the file as UTF-8{SKIP}"


def test_folders(tmp_path):
    fix = f"give a folder with files ending in {ENDINGS}, or one that save_to_disk wrote"
    assert failure(tmp_path) == f"…: the folder holds no data files\n  fix: {fix}"
    (tmp_path / "test.jsonl").write_text(GOOD)
    message = "…: no data file's name starts with the split 'train'\n  fix: set the split to how one of these starts: "
    assert failure(tmp_path) == f"{message}test.jsonl"


def test_a_folder_whose_rows_are_in_a_folder_of_it(tmp_path):
    (tmp_path / "data").mkdir()
    (tmp_path / "data" / "train.jsonl").write_text(GOOD)
    assert failure(tmp_path) == "…: the folder holds no data files\n  fix: give its folder data, which does"


def test_a_folder_with_files_and_a_folder_of_files(tmp_path):
    (tmp_path / "train.jsonl").write_text(GOOD)
    for name in ("more/test.jsonl", ".cache/train.jsonl", "notes/train.md"):
        (tmp_path / name).parent.mkdir()
        (tmp_path / name).write_text(GOOD)
    assert len(load(DataConfig(source=str(tmp_path), held_out=0), 0).train) == 1
    (tmp_path / "more" / "train-2.csv").write_text("prompt,response\nr,a\n")
    assert failure(tmp_path) == (
        "…: data files lie in the folder and in a folder of it, such as more/train-2.csv\n"
        "  fix: move them into one folder, or name each file or folder in data.sources"
    )


def test_a_folder_with_a_packed_file_beside_others(tmp_path):
    (tmp_path / "train-0.jsonl").write_text(GOOD)
    (tmp_path / "train-1.jsonl.xz").write_bytes(lzma.compress(GOOD.encode()))
    message = "train-1.jsonl.xz: files ending in '.xz' cannot be read\n  fix: unpack it"
    assert failure(tmp_path) == f"…/{message}"
    (tmp_path / "train-1.jsonl.xz").rename(tmp_path / "test.jsonl.xz")
    assert len(load(DataConfig(source=str(tmp_path), held_out=0), 0).train) == 1


def test_a_folder_that_lacks_one_of_several_numbered_files(tmp_path):
    for number in (0, 2):
        name = f"train-0000{number}-of-00003.jsonl"
        (tmp_path / name).write_text(GOOD.replace("q", f"q{number}"))
    message = "…: 2 of the 3 files train-…-of-00003 are there"
    message += "\n  fix: download the others, or name the files that are meant"
    assert failure(tmp_path) == message
    (tmp_path / "train-00001-of-00003.jsonl").write_text(GOOD)
    assert len(load(DataConfig(source=str(tmp_path), held_out=0), 0).train) == 3


def test_saved_datasets(tmp_path):
    data = datasets.Dataset.from_list([{"prompt": "q", "response": "a"}])
    datasets.DatasetDict({"test": data}).save_to_disk(tmp_path / "parts")
    assert failure(tmp_path / "parts") == "…: there is no split 'train'\n  fix: known: test"
    data.save_to_disk(tmp_path / "one")
    message = "…: a single saved dataset has no split 'test'\n  fix: leave the split out"
    assert failure(tmp_path / "one", split="test") == message
    (tmp_path / "one" / "state.json").write_text("{")
    assert failure(tmp_path / "one").startswith("…: is not a readable saved dataset: ")


def test_a_hugging_face_name_that_cannot_be_loaded(monkeypatch):
    def fail(*args, **kwargs):
        raise ConnectionError("no route")

    monkeypatch.setattr(datasets, "load_dataset", fail)
    assert failure("someone/data") == (
        "…: is neither a file, a folder nor a built-in task, and loading it from the Hugging Face Hub failed "
        "(ConnectionError: no route)\n"
        "  fix: check the name, data.subset, data.split and the connection, or give a local file"
    )


def test_too_few_held_out_rows_in_their_own_source(tmp_path):
    path, other = tmp_path / "d.jsonl", tmp_path / "t.jsonl"
    path.write_text(GOOD)
    other.write_text('{"prompt": "t", "response": "a"}')
    assert failure(path, held_out=2, held_out_source=str(other)) == (
        f"{other}: 2 usable rows are needed (data.held_out), 1 are there\n"
        "  fix: add rows, or lower data.held_out (or data.limit)"
    )
