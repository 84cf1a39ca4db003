"""What `fuzz.py` feeds, and to whom: each kind of input with the functions that the commands call."""

from __future__ import annotations

import contextlib
import datetime
import decimal
import io
import json
import random
import shutil
import socketserver
import threading
from functools import cache
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pyarrow as pa
import yaml
from fuzz import Target
from ground import ROOT
from hypothesis import strategies as st
from pyarrow import parquet
from reports.whole_run import write_run
from tiny import tiny_tokenizer

from sparring.pauses import Pauses

ANY_TEXT = st.text(st.characters(exclude_categories=()), max_size=20)
NASTY: list[Any] = [
    *(None, True, False, 0, -1, 1, 7, 2**31, 2**63, -(2**63) - 1, 10**400, -(10**400)),
    *(0.0, -0.0, 0.5, 1e-320, 1e308, float("nan"), float("inf"), float("-inf")),
    *(
        "",
        " ",
        "\0",
        "\ud800",
        "a\udfffb",
        "\x1b[2J",
        "\u202e",
        "x" * 3000,
        "1" * 5000,
        "1e999",
        "nan",
        "null",
        "~nobody/x",
    ),
    *([], {}, [[]], [None], [1, "a", None], {"a": {"b": {}}}, [[[[[[[[]]]]]]]], {"": None}, {"role": "user"}),
    *(
        "auto",
        "none",
        "base",
        "user",
        "a:b",
        "os:path",
        "http://[::1",
        "http://a:99999999",
        "ftp://x",
        "/dev/zero",
        "/",
    ),
    [{"role": "user", "content": "q"}, {"role": "assistant", "content": "a"}],
    [{"from": "human", "value": 3}, {"from": "\ud800", "value": "a"}],
]
KEYS = st.sampled_from(
    "prompt response completion messages conversations chosen rejected responses scores pairwise instruction input "
    "output system history context role content from value tools weight text label generator_1 generator_2 output_1 "
    "output_2 preference annotator generator question_id category turns reference choices model_id name "
    "system_prompt prompt_template index".split()
)
SCALARS = st.one_of(
    st.integers(0, len(NASTY) - 1).map(lambda number: NASTY[number]), ANY_TEXT, st.integers(), st.floats()
)
VALUES = st.recursive(
    SCALARS,
    lambda inner: st.lists(inner, max_size=4) | st.dictionaries(KEYS | ANY_TEXT, inner, max_size=4),
    max_leaves=12,
)


INSERTED = (
    b"\0",
    b"\xff\xfe",
    b"\xef\xbb\xbf",
    b"\r",
    b"[" * 5000,
    b"\\ud800",
    b"9" * 4500,
    b'"',
    b"\n",
    b"{",
    b"!!int ''",
    b"1e999",
)


def damage(content: bytes, chance: random.Random) -> bytes:
    """Bytes, some of them flipped, left out, doubled, or cut off."""
    damaged = bytearray(content)
    for _ in range(chance.choice([1, 1, 2, 8])):
        at = chance.randrange(len(damaged) + 1)
        match chance.randrange(6):
            case 0:
                damaged[at : at + 1] = bytes([chance.randrange(256)])
            case 1:
                del damaged[at : at + chance.randrange(1, 20)]
            case 2:
                damaged[at:at] = damaged[at : at + 20]
            case 3 if chance.random() < 0.2:
                del damaged[at:]
            case _:
                damaged[at:at] = chance.choice(INSERTED)
    return bytes(damaged)


def text_damage(content: str, chance: random.Random) -> str:
    """As `damage`, of a text, whose halves of characters stay."""
    return damage(content.encode("utf-8", "surrogatepass"), chance).decode("utf-8", "replace")


def as_json(value: Any) -> str:
    """JSON also of numbers that Python would not write."""
    try:
        return json.dumps(value, ensure_ascii=random.Random(len(str(value)[:9])).random() < 0.5)
    except ValueError:
        return "9" * 5000


def encoded(text: str) -> bytes:
    return text.encode("utf-8", "surrogatepass")


GOOD_ROWS: list[dict[str, Any]] = [
    {"prompt": "q", "response": "a"},
    {"prompt": "q", "chosen": "a", "rejected": "b"},
    {"prompt": "q", "responses": ["a", "b"], "scores": [1, 2]},
    {"prompt": "q", "responses": ["a", "b"], "pairwise": [[0.5, 1], [0, 0.5]]},
    {"messages": [{"role": "user", "content": "q"}, {"role": "assistant", "content": "a"}]},
    {"conversations": [{"from": "human", "value": "q"}, {"from": "gpt", "value": "a"}]},
    {"instruction": "q", "output": "a", "generator": "m"},
    {"instruction": "q", "output_1": "a", "generator_1": "b", "output_2": "c", "generator_2": "m", "preference": 1.5},
    {"question_id": 1, "category": "math", "turns": ["a", "b"], "reference": ["c", "d"]},
    {"question_id": 1, "model_id": "m", "choices": [{"index": 0, "turns": ["a", "b"]}]},
    {"name": "single-v1", "system_prompt": "", "prompt_template": "{question} {answer}"},
]


def put(value: Any, path: list[int], new: Any) -> Any:
    """The value with another one in some place."""
    if path and isinstance(value, dict) and value:
        key = sorted(value, key=str)[path[0] % len(value)]
        return {**value, key: put(value[key], path[1:], new)}
    if path and isinstance(value, list) and value:
        at = path[0] % len(value)
        return [*value[:at], put(value[at], path[1:], new), *value[at + 1 :]]
    return new


PLACES = st.lists(st.integers(0, 60), min_size=1, max_size=6)
ROWS = st.one_of(
    st.builds(put, st.sampled_from(GOOD_ROWS), PLACES, VALUES),
    st.dictionaries(KEYS | ANY_TEXT, VALUES, max_size=5),
    st.sampled_from(GOOD_ROWS),
    VALUES,
)
TABLES = st.lists(ROWS, max_size=4)
LINES = TABLES.map(lambda rows: encoded("\n".join(map(as_json, rows))))
ARRAYS = TABLES.map(lambda rows: encoded(f"[{', '.join(map(as_json, rows))}]"))
CSV = st.one_of(
    st.lists(st.lists(KEYS | ANY_TEXT, min_size=1, max_size=4).map(",".join), max_size=4).map("\n".join).map(encoded),
    st.just(b"prompt,response\nq,a\nr,b\n"),
)
ODD_COLUMNS: list[Any] = [
    pa.array([decimal.Decimal("1.5"), None], pa.decimal128(30, 3)),
    pa.array([2**62, -(2**62)], pa.timestamp("ns")),
    pa.array([2**40, 1], pa.timestamp("s")),
    pa.array([2**62, 1], pa.timestamp("us", tz="Mars/Crater")),
    pa.array([2**62, 1], pa.duration("s")),
    pa.array([1, 2**30], pa.date32()),
    pa.array([1, 2], pa.time64("ns")),
    pa.array([b"\xff", None], pa.binary()),
    pa.array(["a", "b"]).dictionary_encode(),
    pa.array([[("k", "v")], None], pa.map_(pa.string(), pa.string())),
    pa.array([{"role": "user", "content": None}, None], pa.struct([("role", pa.string()), ("content", pa.string())])),
    pa.array([["a"], [None]], pa.list_(pa.string())),
    pa.array(["q", None], pa.large_string()),
    pa.array(["q", "\u202e"]),
    pa.Array.from_buffers(
        pa.string(), 2, [None, pa.py_buffer(b"\0\0\0\0\1\0\0\0\3\0\0\0"), pa.py_buffer(b"q\xff\xfe")]
    ),
    pa.array([float("nan"), 1.0]),
    pa.array([datetime.datetime(1, 1, 1), None]),
    pa.nulls(2),
    pa.array(["q", "r"]),
    pa.array(["a", "b"]),
]


@cache
def parquet_bytes(names: tuple[str, ...], columns: tuple[int, ...]) -> bytes:
    buffer = io.BytesIO()
    table = pa.Table.from_arrays([ODD_COLUMNS[column] for column in columns], names=list(names))
    parquet.write_table(table, buffer)
    return buffer.getvalue()


@st.composite
def parquet_files(draw: Any) -> bytes:
    names = draw(
        st.lists(st.sampled_from(["prompt", "response", "messages", "scores", "\x1b[2J"]), min_size=1, max_size=3)
    )
    return parquet_bytes(tuple(names), tuple(draw(st.integers(0, len(ODD_COLUMNS) - 1)) for _ in names))


FILES = st.one_of(
    st.tuples(st.just("jsonl"), LINES),
    st.tuples(st.just("json"), ARRAYS),
    st.tuples(st.just("csv"), CSV),
    st.tuples(st.just("parquet"), parquet_files()),
)


def damaged_file(value: Any, chance: random.Random) -> Any:
    """A file within a tuple, damaged; Parquet is left whole, for a broken one is found broken at its first byte."""
    kind, content = value
    return (kind, content if kind == "parquet" and chance.random() < 0.8 else damage(content, chance))


def read_data(value: tuple[tuple[str, bytes], bool, str], folder: Path) -> None:
    from sparring.data import DataConfig, load

    (ending, content), skips, name = value
    path = folder / f"data.{ending}"
    path.write_bytes(content)
    load(DataConfig(source=str(path), held_out=0, skip_invalid=skips, format=name), 0)


def read_evaluation_input(value: tuple[int, tuple[str, bytes]], folder: Path) -> None:
    from sparring.evaluation.annotations import read_annotations
    from sparring.evaluation.length_controlled import length_controlled_win_rate
    from sparring.evaluation.mt_bench.answers import read_answers
    from sparring.evaluation.mt_bench.files import read_prompts, read_questions
    from sparring.evaluation.outputs import Outputs
    from sparring.evaluation.win_rate import win_rate

    number, (ending, content) = value
    path = folder / f"annotations.{ending}"
    path.write_bytes(content)
    if number == 0:
        for each in read_annotations(path):
            win_rate(each)
            length_controlled_win_rate(each)
    elif number == 1:
        Outputs.read(path, ["q"])
    else:
        (read_questions, read_prompts, read_answers)[number % 3](path)


YAML_PIECES = [
    *(
        "!!int ''",
        "!!float ''",
        "!!timestamp x",
        "!!binary 5",
        "!!set {a}",
        "!!bool maybe",
        "!!null x",
        "!!python/name:os.system",
    ),
    *(
        "!!omap [a]",
        "!!pairs [a]",
        "? [a]\n: b",
        "&a [*a]",
        "[" * 3000,
        "{a: " * 500,
        "9" * 5000,
        "'\\0'",
        '"\\ud800"',
        '"\\0"',
    ),
    *(
        "<<: [{a: 1}]",
        "2024-01-01",
        "1e4",
        "0x_",
        "0b",
        "190:20:30",
        "- a",
        "\t",
        "\x85",
        "---",
        "...",
        "%YAML 9.9",
        "*x",
        "!x y",
    ),
    *(
        "null",
        "[null]",
        "{}",
        "[]",
        "true",
        "-1",
        ".nan",
        ".inf",
        "x",
        "''",
        "a: b: c",
        "|\n x",
        ">",
        "@",
        "`",
        "!!str",
    ),
    "a: &a [x, x]\nb: &b [*a, *a, *a, *a, *a, *a, *a, *a, *a]\nc: &c [*b, *b, *b, *b, *b, *b, *b, *b, *b]\n"
    "d: &d [*c, *c, *c, *c, *c, *c, *c, *c, *c]\ne: &e [*d, *d, *d, *d, *d, *d, *d, *d, *d]\nf: [*e, *e, *e, *e, *e, *e]",
    "a: &a {x: 1, y: 2}\nb: &b {<<: [*a, *a, *a, *a, *a, *a]}\nc: &c {<<: [*b, *b, *b, *b, *b, *b, *b]}\n"
    "d: &d {<<: [*c, *c, *c, *c, *c, *c, *c]}\ne: {<<: [*d, *d, *d, *d, *d, *d, *d, *d, *d, *d]}",
]
RECIPES = [path.read_text(encoding="utf-8") for path in sorted((ROOT / "src/sparring/recipes").glob("*.yaml"))]


@st.composite
def yaml_files(draw: Any) -> bytes:
    lines = draw(st.sampled_from(RECIPES)).splitlines()
    for _ in range(draw(st.integers(1, 3))):
        at = draw(st.integers(0, len(lines) - 1))
        key = lines[at].partition(":")[0]
        piece = draw(st.sampled_from(YAML_PIECES) | ANY_TEXT)
        lines[at] = draw(st.sampled_from([f"{key}: {piece}", piece, f"{lines[at]} {piece}", f"  {lines[at]}"]))
    return encoded("\n".join(lines))


def check_config(config: Any) -> None:
    """What follows before anything heavy is loaded."""
    from sparring.selfplay.checks.training import check_training
    from sparring.selfplay.phases import phases_of
    from sparring.selfplay.policy import lora_config

    phases_of(config)
    check_training(config)
    if config.lora is not None:
        lora_config(config.lora)
    config.to_yaml()


def read_yaml_config(value: bytes, folder: Path) -> None:
    from sparring import SelfPlayConfig

    path = folder / "config.yaml"
    path.write_bytes(value)
    check_config(SelfPlayConfig.from_yaml(path))


BASES = [yaml.safe_load(text) for text in RECIPES]
BASES += [
    {
        "data": {
            "source": "x.jsonl",
            "columns": {"prompt": "q"},
            "roles": {"a": "user"},
            "template_options": {"a": [1]},
        },
        "objective": {"name": "dpo"},
        "judge": {"name": "llm", "model": "m", "base_url": "http://127.0.0.1:1/v1", "api_key_env": None},
        "generation": {"name": "server", "endpoints": ["http://127.0.0.1:1"], "samples_per_prompt": 2},
        "regularizers": [{"name": "reverse-kl", "weight": 0.1}],
        "lora": {"r": 4, "lora_alpha": 8, "target_modules": ["q_proj"], "lora_dropout": 0.1, "rank_pattern": {"a": 3}},
        "training": {
            "fsdp": "full_shard",
            "optim_args": "a=b",
            "lr_scheduler_kwargs": {},
            "max_grad_norm": 1.0,
            "bf16": False,
        },
        "workers": {},
        "stop": {"enabled": True, "alarms": []},
        "evaluation": {"judge": "none", "samples_per_prompt": 1},
        "model": {"name": "m", "quantization": {"bits": 4}},
        "warmup": {"training": {"num_train_epochs": 1}},
        "phases": [
            {"iterations": 1, "objective": {"name": "spif"}},
            {"iterations": 2, "training": {"adam_beta1": 0.9}},
        ],
    }
]


@st.composite
def mappings(draw: Any) -> Any:
    value = draw(st.sampled_from(BASES))
    for _ in range(draw(st.integers(1, 2))):
        value = put(value, draw(PLACES), draw(VALUES))
    if draw(st.booleans()) and isinstance(value, dict):
        from transformers import TrainingArguments

        name = draw(st.sampled_from(sorted(TrainingArguments.__dataclass_fields__)))
        value = {**value, "training": {name: draw(VALUES)}}
    return value


def read_mapping(value: Any, folder: Path) -> None:
    from sparring import SelfPlayConfig

    check_config(SelfPlayConfig.from_mapping(value))


OVERRIDES = st.lists(
    st.one_of(
        st.builds(
            lambda keys, value: f"{'.'.join(keys)}={value}",
            st.lists(
                st.sampled_from(
                    "objective name beta phases 0 1 99999999999 training lora generation data source judge".split()
                )
                | ANY_TEXT,
                max_size=4,
            ),
            st.sampled_from(YAML_PIECES) | ANY_TEXT,
        ),
        ANY_TEXT,
        st.just("a." * 3000 + "b=1"),
    ),
    min_size=1,
    max_size=3,
)


def read_overrides(value: list[str], folder: Path) -> None:
    from sparring import SelfPlayConfig
    from sparring.recipes import find
    from sparring.selfplay.phases import phases_of

    phases_of(SelfPlayConfig.from_yaml(find("quickstart"), value))


def read_judge_settings(value: tuple[str, list[str]], folder: Path) -> None:
    from sparring.cli.judging import judge

    judge(*value).check()


JINJA = [
    *(
        "{{ message['content'] }}",
        "{{ message.role }}",
        "{{ x }}",
        "{{ '\\ud800' }}",
        "{{ '\\x00' }}",
        "{% endfor %}",
        "{% if a %}",
    ),
    *(
        "{% for message in messages %}",
        "{% for i in range(99999) %}",
        "{% for i in range(10**9) %}",
        "{{ 'a' * 100000000 }}",
    ),
    *(
        "{{ raise_exception('no') }}",
        "{{ ''.__class__.__mro__ }}",
        "{{ messages[0]['content'] / 0 }}",
        "{{ 10**5000 }}",
    ),
    *(
        "{% generation %}",
        "{% endgeneration %}",
        "{{ strftime_now('%s' * 999) }}",
        "{% include 'x' %}",
        "{% set a = a ~ a %}",
    ),
    *(
        "{% macro m() %}{{ m() }}{% endmacro %}{{ m() }}",
        "{{ messages | tojson }}",
        "{# ",
        "{{",
        "{% raw %}",
        "{{ self }}",
        "{{ loop }}",
    ),
    *(
        "{% break %}",
        "{{ messages.append(1) }}",
        "{{ '%s' | format(1, 2) }}",
        "{{ undefined.a }}",
        "<|im_end|>",
        "<|im_start|>",
    ),
    *(
        "{{ messages | map('upper') | list }}",
        "{{ ('a,' * 999999).split(',') | length }}",
        "\ud800",
        "\0",
        "{{ [[1] * 999] * 999 }}",
    ),
]
TEMPLATES = st.one_of(
    st.lists(st.sampled_from(JINJA) | ANY_TEXT, max_size=8).map("".join).map(encoded),
    st.lists(st.sampled_from(JINJA), max_size=4).map(
        lambda parts: encoded(
            f"{{% for message in messages %}}{''.join(parts)}{{{{ message['content'] }}}}<|im_end|>{{% endfor %}}"
        )
    ),
)


@cache
def tokenizer() -> Any:
    return tiny_tokenizer()


def read_template(value: bytes, folder: Path) -> None:
    from sparring.data import DataConfig, template
    from sparring.data.encoding import encode
    from sparring.examples import Example

    template._SECONDS = 0.5  # noqa: SLF001 - a campaign has not the time of a person
    path = folder / "template.jinja"
    path.write_bytes(value)
    config = DataConfig(source="x.jsonl", chat_template=str(path), max_response_tokens=8)
    chosen = config.template(tokenizer())
    example = Example(index=0, prompt="q", response="a", messages=({"role": "user", "content": "q"},), where="row 1")
    chosen.standalone()
    chosen.unset_variables()
    encode([example], tokenizer(), config, context_length=512)


REPLY = [
    *(
        "Verdict: A",
        "Verdict: B",
        "verdict is tie",
        "[[7]]",
        "[[A]]",
        "[[rating]]",
        "<think>",
        "</think>",
        "<|end|>",
        "\n",
        " ",
    ),
    *(
        "so the final verdict",
        "*" * 500,
        "[[" + "1" * 3000,
        "]]",
        "\ud800",
        "\0",
        "A",
        "tie",
        "[[1e5]]",
        "[[٣]]",
        "[[½]]",
        "İ" * 300,
    ),
    "<|channel|>analysis<|message|>",
]
REPLIES = st.tuples(
    st.lists(st.sampled_from(REPLY) | ANY_TEXT, max_size=12).map("".join), st.integers(1, 300), st.booleans()
)


def read_reply(value: tuple[str, int, bool], folder: Path) -> None:
    from sparring.evaluation.mt_bench.grading import read_rating, read_winner
    from sparring.judges.replies import Reply
    from sparring.judges.template import DEFAULT, read_verdict

    text, times, cut = value
    text = text * times
    reply = Reply(text=text, prompt_tokens=0, completion_tokens=0, cut=cut)
    for question in (DEFAULT, text):
        verdict, rating, winner = (
            read_verdict(reply, question),
            read_rating(text, question),
            read_winner(text, question),
        )
        assert verdict in {None, 0.0, 0.5, 1.0}
        assert winner in {None, 0.0, 0.5, 1.0}
        assert rating is None or 1 <= rating <= 10


class _Server(socketserver.ThreadingTCPServer):
    """Answers each connection with bytes, whatever is asked."""

    allow_reuse_address = daemon_threads = True
    answer = b""


class _Connection(socketserver.StreamRequestHandler):
    def handle(self) -> None:
        self.connection.settimeout(5)
        with contextlib.suppress(OSError):
            head = b""
            while b"\r\n\r\n" not in head and (more := self.connection.recv(65536)):
                head += more
            self.wfile.write(self.server.answer)  # type: ignore[attr-defined]


@cache
def server() -> _Server:
    running = _Server(("127.0.0.1", 0), _Connection)
    threading.Thread(target=running.serve_forever, daemon=True, kwargs={"poll_interval": 0.01}).start()
    return running


COMPLETION = {
    "choices": [{"index": 0, "finish_reason": "stop", "message": {"role": "assistant", "content": "Verdict: A"}}]
}
COMPLETION |= {"usage": {"prompt_tokens": 1, "completion_tokens": 2}}
TOKENS = {"choices": [{"index": 0, "finish_reason": "stop", "token_ids": [5, 2], "prompt_token_ids": [1, 40]}]}


@st.composite
def http_answers(draw: Any, body: Any) -> bytes:
    content = encoded(as_json(draw(st.builds(put, st.just(body), PLACES, VALUES) | st.just(body))))
    status = draw(
        st.sampled_from([200, 200, 200, 200, 200, 201, 204, 301, 307, 400, 401, 404, 429, 500, 503, 99, 1000])
    )
    headers = draw(
        st.lists(
            st.sampled_from(
                [
                    *(
                        "Content-Encoding: gzip",
                        "Content-Encoding: x",
                        "Content-Length: 5",
                        "Content-Length: -1",
                        "X: \x01",
                    ),
                    *(
                        "Transfer-Encoding: chunked",
                        "Location: http://[",
                        "Location: /",
                        "Retry-After: 1e999",
                        "Retry-After: nan",
                    ),
                    *(
                        "Set-Cookie: a=b; expires=x",
                        "Content-Type: text/html; charset=utf-7",
                        "Connection: upgrade",
                        ": x",
                        "é: é",
                    ),
                ]
            ),
            max_size=2,
        )
    )
    head = "\r\n".join([f"HTTP/1.1 {status} OK", "Connection: close", *headers, "", ""]).encode("latin-1")
    return head + content


def read_chat(value: bytes, folder: Path) -> None:
    from sparring.judges import chat

    chat._PAUSES = Pauses(first_s=0.0001, longest_s=0.0001)  # noqa: SLF001 - a campaign has not the time of a person
    chat.console = SimpleNamespace(print=lambda *_: None)  # type: ignore[assignment]
    server().answer = value
    url = f"http://127.0.0.1:{server().server_address[1]}/v1"
    endpoint = chat.ChatEndpoint(
        url=url,
        key="",
        model="m",
        timeout=2.0,
        max_tokens=5,
        patience=0.002,
        limit=chat.RateLimit(None),
        outage=chat.Outage(url),
    )
    from sparring.judges.replies import Replies

    with endpoint.open() as client:
        reply = endpoint.ask(client, chat.Prompt("q"), threading.Event())
    kept = Replies(folder)
    kept.put({"prompt": "q"}, reply)
    assert kept.get({"prompt": "q"}) == reply


def read_completion(value: bytes, folder: Path) -> None:
    from sparring.errors import RunError
    from sparring.generation.config import ServerConfig
    from sparring.generation.endpoint import Endpoint, Unavailable
    from sparring.generation.protocol import EngineModel, Request

    server().answer = value
    url = f"http://127.0.0.1:{server().server_address[1]}"
    model = EngineModel(base=str(folder), lora_rank=None, dtype="float32", device="cpu", max_length=64, vocabulary=259)
    endpoint = Endpoint(url, ServerConfig(endpoints=(url,), model="m", timeout_s=2.0), model)
    asked = Request(
        prompt_ids=[1, 40], samples=1, temperature=1.0, top_p=1.0, top_k=0, stop_ids=(2,), max_new_tokens=6, seed=0
    )
    try:
        with endpoint.connected():
            (completion,) = endpoint.complete(asked)
            assert asked.problem(completion) is None
            endpoint.token_log_probs([1, 40])
    except Unavailable as error:
        raise RunError(str(error)) from error


JSON_FILES = (
    "manifest.json",
    "result.json",
    "base/evaluation.json",
    "iterations/001/evaluation.json",
    "metrics.jsonl",
    "config.yaml",
)


@cache
def a_run() -> dict[str, bytes]:
    import tempfile

    folder = Path(tempfile.mkdtemp())
    write_run(folder)
    found = {str(path.relative_to(folder)): path.read_bytes() for path in folder.rglob("*") if path.is_file()}
    shutil.rmtree(folder)
    return found


@st.composite
def runs(draw: Any) -> tuple[str, bytes]:
    name = draw(st.sampled_from(JSON_FILES))
    content = a_run()[name]
    if draw(st.booleans()):
        return name, damage(content, random.Random(draw(st.integers(0, 2**32))))
    if name == "metrics.jsonl":
        lines = content.splitlines()
        at = draw(st.integers(0, len(lines) - 1))
        lines[at] = encoded(as_json(put(json.loads(lines[at]), draw(PLACES), draw(VALUES))))
        return name, b"\n".join(lines) + b"\n"
    value = put(yaml.safe_load(content), draw(PLACES), draw(VALUES))
    return name, encoded(as_json(value))


def read_run(value: tuple[str, bytes], folder: Path) -> None:
    from sparring.cli import output
    from sparring.reports.summary import summarize
    from sparring.terminal import Terminal

    run = folder / "run"
    if not run.exists():
        for name, content in a_run().items():
            (run / name).parent.mkdir(parents=True, exist_ok=True)
            (run / name).write_bytes(content)
    name, content = value
    (run / name).write_bytes(content)
    shown = io.StringIO()
    output.out = Terminal(file=shown, soft_wrap=True)
    output.Terminal = lambda **settings: Terminal(file=shown, **settings)  # type: ignore[misc,assignment]
    try:
        summarize(run)
        output.print_report(run, as_json=False)
        output.print_report(run, as_json=True)
    finally:
        (run / name).write_bytes(a_run()[name])
    assert not {"\x1b", "\x07", "\u202e"} & {*shown.getvalue()}


GAMES = st.tuples(
    st.sampled_from(
        ["spif", "spin", "spif:beta=1", "sppo", "x", "spif:beta=1e999", "a:b", ":", "spif:beta=", "spin:link=[[", "dpo"]
    )
    | ANY_TEXT,
    st.sampled_from(["0.6,0.3,0.1", "1,0,0", "nan,1,1", "1e999,1", "", ",", "0.5,0.5", "-1,2,0", "1" * 5000, "½"])
    | ANY_TEXT,
    st.sampled_from(["previous", "base", "fictitious-play:history=3", "fictitious-play:history=-1", "x"]) | ANY_TEXT,
)


def read_game(value: tuple[str, str, str], folder: Path) -> None:
    from sparring.cli import game, output

    output.out = SimpleNamespace(print=lambda *_: None)  # type: ignore[assignment]
    objective, expert, opponent = value
    game.imitation(objective, expert=expert, opponent=opponent, iterations=2, json=True)


TARGETS: dict[str, Target] = {
    "data files": Target(
        st.tuples(FILES, st.booleans(), st.sampled_from(["auto", "auto", "comparison", "messages", "preference"])),
        read_data,
        20,
        lambda value, chance: (damaged_file(value[0], chance), *value[1:]),
    ),
    "evaluation files": Target(
        st.tuples(st.integers(0, 4), FILES),
        read_evaluation_input,
        10,
        lambda value, chance: (value[0], damaged_file(value[1], chance)),
    ),
    "configurations, YAML": Target(yaml_files(), read_yaml_config, 6, damage),
    "configurations, mappings": Target(mappings(), read_mapping, 8),
    "overrides": Target(OVERRIDES, read_overrides, 8),
    "judges' settings": Target(
        st.tuples(st.sampled_from(["llm", "verifier", "pairwise", "reward-model", "expert", "x", "\ud800"]), OVERRIDES),
        read_judge_settings,
        5,
    ),
    "chat templates": Target(TEMPLATES, read_template, 8, damage),
    "judges' answers": Target(
        REPLIES, read_reply, 30, lambda value, chance: (text_damage(value[0], chance), *value[1:])
    ),
    "judges' answers, HTTP": Target(http_answers(COMPLETION), read_chat, 3, damage),
    "completions, HTTP": Target(http_answers(TOKENS), read_completion, 4, damage),
    "run directories": Target(runs(), read_run, 2),
    "games": Target(GAMES, read_game, 2),
}
