"""Does an exported chat model answer elsewhere as it was trained to? The run, plain transformers, a server.

    python benchmarks/chat_export.py [--variants NAME …] [--server-python FILE] [--work FOLDER] [--json FILE]

Writes word problems as ShareGPT rows with a system turn, some with an earlier exchange, and a chat template that opens
a thought, or an empty one that it closes, by `enable_thinking`. SmolLM2 plays a warm-up and two iterations on them with
LoRA and `data.template_options: {enable_thinking: false}`; the last policy is exported. Then the same held-out
questions are asked greedily, by their turns alone and without options of any kind:

- `run`: the run's own generator, on the policy as it was trained;
- `transformers`: `AutoModelForCausalLM` and the chat template of the exported folder;
- `server`: `transformers serve` on the exported folder, through the client `openai`.

The server is started with `--server-python`, an interpreter that has `pip install 'transformers[serving]'`.

Exit code 1 where a prompt's tokens differ from those of the training, where a thought is opened, or where another
answer than the run's is given in fp32. In bf16 a merge is rounded, so there answers may differ.
"""

from __future__ import annotations

import argparse
import json
import os
import socket
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any
from urllib.error import URLError
from urllib.request import urlopen

from measuring import hardware, versions
from sparring.data import arithmetic
from sparring.files import write_json

SYSTEM = "Write one step a line, then #### and the result."
CLOSED, OPENED = "<think>\n\n</think>\n\n", "<think>\n"
TEMPLATE = """\
{%- for message in messages %}
    {{- '<|im_start|>' + message['role'] + '\\n' }}
    {%- if message['role'] == 'assistant' and '</think>' in message['content'] %}
        {{- message['content'].split('</think>')[-1].lstrip('\\n') }}
    {%- else %}
        {{- message['content'] }}
    {%- endif %}
    {{- '<|im_end|>\\n' }}
{%- endfor %}
{%- if add_generation_prompt %}
    {{- '<|im_start|>assistant\\n<think>\\n' }}
    {%- if enable_thinking is defined and enable_thinking is false %}
        {{- '\\n</think>\\n\\n' }}
    {%- endif %}
{%- endif %}
"""
VARIANTS: dict[str, dict[str, Any]] = {
    "float32": {"dtype": "float32"},
    "nf4": {"dtype": "float32", "quantization": "nf4"},
    "nf4-bfloat16": {"dtype": "bfloat16", "quantization": "nf4"},
    "bfloat16": {"dtype": "bfloat16"},
}
EXACT = ("float32", "nf4")
WARMUP = {"num_train_epochs": 3, "learning_rate": 5e-4}


@dataclass(frozen=True, kw_only=True)
class Answer:
    """What one of the three said.

    Attributes:
        text: Without special tokens.
        ended: Whether it ended by itself, not at the limit.
        prompt_tokens: How many tokens the prompt had.
    """

    text: str
    ended: bool
    prompt_tokens: int


def main() -> int:
    """Prints a table and returns the exit code."""
    options = arguments()
    setting = {
        "hardware": hardware(),
        "versions": versions("peft", "bitsandbytes", "openai"),
        "rows": options.rows,
        "held_out": options.held_out,
        "max_tokens": options.max_tokens,
        "warmup": WARMUP,
    }
    done: dict[str, Any] = {}
    with work_folder(options.work) as folder:
        for name in options.variants:
            done[name] = found = variant(name, folder / name, options)
            print(f"\n{name}: {found['merged']}")
            print(json.dumps({key: value for key, value in found.items() if key not in {"answers", "merged"}}))
            for row in found["answers"]:
                if row["differs"]:
                    print(json.dumps(row, ensure_ascii=False, indent=1))
            if options.json is not None:
                store(options.json, setting, {name: found})
    return 0 if all(found["right"] for found in done.values()) else 1


def store(path: Path, setting: dict[str, Any], found: dict[str, Any]) -> None:
    """Puts a variant in the file, in the place of what is there for it; the others stay if all else is equal."""
    before = json.loads(path.read_text(encoding="utf-8")) if path.exists() else {}
    kept = before["variants"] if setting.items() <= before.items() else {}
    write_json(path, setting | {"variants": kept | found})


def arguments() -> argparse.Namespace:
    """The command line."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--variants", nargs="+", choices=VARIANTS, default=list(EXACT))
    parser.add_argument("--rows", type=int, default=24, help="to train on")
    parser.add_argument("--held-out", type=int, default=8, help="questions that are asked")
    parser.add_argument("--max-tokens", type=int, default=40)
    parser.add_argument("--server-python", default=sys.executable, help="has transformers[serving]")
    parser.add_argument("--work", type=Path, help="keeps runs and exports here, and takes those that are there")
    parser.add_argument("--json", type=Path)
    return parser.parse_args()


@contextmanager
def work_folder(given: Path | None) -> Iterator[Path]:
    """A folder that stays, or one for the while."""
    if given is not None:
        yield given
        return
    with tempfile.TemporaryDirectory() as folder:
        yield Path(folder)


def variant(name: str, folder: Path, options: argparse.Namespace) -> dict[str, Any]:
    """One training, its export, and the three that answer."""
    questions = write_data(folder, options)
    start = time.perf_counter()
    run, exported = folder / "run", folder / "exported"
    train(run, folder, VARIANTS[name], options)
    seconds = time.perf_counter() - start
    merged = export(run, exported)
    trained = trained_prompts(run, len(questions))
    said = {
        "run": ask_run(run, questions, options.max_tokens),
        "transformers": ask_transformers(exported, questions, options.max_tokens),
        "server": ask_server(exported, questions, options),
    }
    prompts = plain_prompts(exported, questions)
    rows = [row(number, {side: answers[number] for side, answers in said.items()}) for number in range(len(questions))]
    found = {
        "merged": merged,
        "seconds_of_training": round(seconds),
        "prompt_ends_with": prompt_end(exported, questions[0]),
        "same_prompt_tokens": {
            "transformers": sum(a == b for a, b in zip(trained, prompts, strict=True)),
            **{
                side: sum(answer.prompt_tokens == len(ids) for answer, ids in zip(answers, trained, strict=True))
                for side, answers in said.items()
                if side != "transformers"
            },
        },
        "same_text": {side: sum(row["run"] == row[side] for row in rows) for side in said},
        "ended": {side: sum(answer.ended for answer in answers) for side, answers in said.items()},
        "thoughts": {side: sum("think>" in answer.text for answer in answers) for side, answers in said.items()},
        "answers": rows,
    }
    return found | {"right": right(found, len(questions), exact=name in EXACT)}


def right(found: dict[str, Any], count: int, *, exact: bool) -> bool:
    """Whether the exported model is the one that was trained."""
    same = all(number == count for number in found["same_prompt_tokens"].values())
    closed = found["prompt_ends_with"] == CLOSED and not any(found["thoughts"].values())
    alike = all(number == count for number in found["same_text"].values()) and len({*found["ended"].values()}) == 1
    return same and closed and (alike or not exact)


def row(number: int, answers: dict[str, Answer]) -> dict[str, Any]:
    """What was said to one question."""
    texts = {side: answer.text for side, answer in answers.items()}
    ended = {side: answer.ended for side, answer in answers.items()}
    differs = len({*texts.values()}) > 1 or len({*ended.values()}) > 1
    return {"question": number, "differs": differs, "ended": ended, **texts}


def write_data(folder: Path, options: argparse.Namespace) -> list[list[dict[str, str]]]:
    """Rows and template; returns the held-out questions as turns of a chat."""
    folder.mkdir(parents=True, exist_ok=True)
    (folder / "thinking.jinja").write_text(TEMPLATE, encoding="utf-8")
    count = options.rows + options.held_out
    # Every fourth conversation has an exchange before the one that is learned.
    problems = iter(arithmetic.generate(2 * count, 1, seed=0))
    chats = []
    for number in range(count):
        asked = [next(problems) for _ in range(2 if number % 4 == 3 else 1)]
        turns = [turn for each in asked for turn in (("human", each.prompt), ("gpt", each.response or ""))]
        chats.append([("system", SYSTEM), *turns])
    for name, part in (("held_out", chats[: options.held_out]), ("train", chats[options.held_out :])):
        lines = [json.dumps({"conversations": [{"from": who, "value": said} for who, said in chat]}) for chat in part]
        (folder / f"{name}.jsonl").write_text("\n".join(lines) + "\n", encoding="utf-8")
    roles = {"system": "system", "human": "user", "gpt": "assistant"}
    return [[{"role": roles[who], "content": said} for who, said in chat[:-1]] for chat in chats[: options.held_out]]


def train(run: Path, folder: Path, model: dict[str, Any], options: argparse.Namespace) -> None:
    """A warm-up and two iterations, unless they are there."""
    if (run / "config.yaml").exists():
        sparring("resume", run)
        return
    data = {
        "source": str(folder / "train.jsonl"),
        "held_out_source": str(folder / "held_out.jsonl"),
        # What the run measures on the way is not what is asked here.
        "held_out": 2,
        "max_response_tokens": options.max_tokens,
        "chat_template": str(folder / "thinking.jinja"),
        "template_options": {"enable_thinking": False},
    }
    config = {
        "output": str(run),
        "iterations": 2,
        "model": {"name": "smollm2-135m"} | model,
        "data": data,
        "objective": {"name": "spif", "beta": 1.0, "reward_bound": 2.0},
        "lora": {"r": 16, "lora_alpha": 32},
        "generation": {"batch_size": 16},
        "warmup": {"training": WARMUP},
        "training": {"learning_rate": 1e-4, "num_train_epochs": 1, "per_device_train_batch_size": 4},
        "stop": {"enabled": False},
    }
    # JSON is YAML.
    (folder / "config.yaml").write_text(json.dumps(config, indent=1), encoding="utf-8")
    sparring("train", folder / "config.yaml")


def export(run: Path, to: Path) -> str:
    """Exports the last policy; returns what became of its adapter."""
    note = to.with_suffix(".txt")
    if not to.exists():
        note.write_text(sparring("export", run, to, "--policy", "iterations/001").splitlines()[-1], encoding="utf-8")
    return note.read_text(encoding="utf-8")


def sparring(*command: object) -> str:
    """What the program prints."""
    full = [sys.executable, "-m", "sparring", *map(str, command)]
    done = subprocess.run(full, stdout=subprocess.PIPE, text=True, check=False)
    if done.returncode:
        raise SystemExit(f"{' '.join(full)} failed")
    return done.stdout


def trained_prompts(run: Path, count: int) -> list[list[int]]:
    """The held-out prompts as token ids, as the run's own stages see them."""
    from sparring.run_directory import RunDirectory
    from sparring.selfplay.config.schema import SelfPlayConfig
    from sparring.selfplay.manifest import run_clock
    from sparring.selfplay.prepared import prepare

    directory = RunDirectory(run)
    config = SelfPlayConfig.from_yaml(directory.config)
    every = config.model_copy(update={"data": config.data.model_copy(update={"held_out": count})})
    held_out = prepare(every, run_clock(directory)).held_out
    assert held_out is not None
    return [list(example.prompt_ids) for example in sorted(held_out.examples, key=lambda example: example.index)]


def ask_run(run: Path, questions: Sequence[list[dict[str, str]]], limit: int) -> list[Answer]:
    """The run's own generator."""
    from sparring.cli.candidates import candidate
    from sparring.data import encode_prompts
    from sparring.evaluation import answer
    from sparring.generation import generation_config

    loaded = candidate(str(run / "iterations" / "001"), trust_remote_code=False).load()
    encoded, _ = encode_prompts(questions, loaded.template, limit=4096)
    samples = answer(loaded, questions, generation_config(top_k=1), max_tokens=limit, seed=0)
    return [
        Answer(text=sample.text, ended=sample.finish_reason == "stop", prompt_tokens=len(prompt.prompt_ids))
        for sample, prompt in zip(samples, encoded, strict=True)
    ]


def plain_prompts(exported: Path, questions: Sequence[list[dict[str, str]]]) -> list[list[int]]:
    """The prompts as the exported folder's own tokenizer writes them."""
    from transformers import AutoTokenizer

    tokenizer = AutoTokenizer.from_pretrained(exported)
    return [
        tokenizer.apply_chat_template(turns, add_generation_prompt=True, return_dict=True)["input_ids"]
        for turns in questions
    ]


def prompt_end(exported: Path, question: list[dict[str, str]]) -> str:
    """What the exported template puts between the assistant's name and the answer."""
    from transformers import AutoTokenizer

    tokenizer = AutoTokenizer.from_pretrained(exported)
    text: str = tokenizer.apply_chat_template(question, add_generation_prompt=True, tokenize=False)
    return text.rpartition("<|im_start|>assistant\n")[2]


def ask_transformers(exported: Path, questions: Sequence[list[dict[str, str]]], limit: int) -> list[Answer]:
    """`generate` as a model card shows it, with the folder's own settings."""
    import torch
    from transformers import AutoModelForCausalLM, AutoTokenizer

    tokenizer = AutoTokenizer.from_pretrained(exported)
    model = AutoModelForCausalLM.from_pretrained(exported)
    answers = []
    for ids in plain_prompts(exported, questions):
        inputs = torch.tensor([ids])
        whole = model.generate(inputs, attention_mask=torch.ones_like(inputs), max_new_tokens=limit, do_sample=False)
        said = whole[0, len(ids) :].tolist()
        ends = model.generation_config.eos_token_id
        ended = said[-1] in (ends if isinstance(ends, list) else [ends])
        text = tokenizer.decode(said, skip_special_tokens=True)
        answers.append(Answer(text=text, ended=ended, prompt_tokens=len(ids)))
    return answers


def ask_server(exported: Path, questions: Sequence[list[dict[str, str]]], options: argparse.Namespace) -> list[Answer]:
    """The exported folder behind an address, asked by the client that people use."""
    from openai import OpenAI

    with server(exported, options.server_python) as address:
        client = OpenAI(base_url=f"{address}/v1", api_key="none", timeout=600)
        answers = []
        for turns in questions:
            reply = client.chat.completions.create(
                model=str(exported.absolute()),
                messages=turns,
                max_tokens=options.max_tokens,
                temperature=0,
            )
            choice = reply.choices[0]
            assert reply.usage is not None
            answers.append(
                Answer(
                    text=choice.message.content or "",
                    ended=choice.finish_reason == "stop",
                    prompt_tokens=reply.usage.prompt_tokens,
                )
            )
        return answers


@contextmanager
def server(exported: Path, python: str) -> Iterator[str]:
    """`transformers serve` on this machine alone, until the block ends."""
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        port = probe.getsockname()[1]
    code = "from transformers.cli.transformers import main; main()"
    command = [python, "-c", code, "serve", str(exported.absolute()), "--host", "127.0.0.1", "--port", str(port)]
    log = exported.with_suffix(".server.log")
    with log.open("w", encoding="utf-8") as output:
        process = subprocess.Popen(
            [*command, "--device", "cpu"],
            stdout=output,
            stderr=subprocess.STDOUT,
            env={**os.environ, "HF_HUB_OFFLINE": "1"},
        )
        try:
            wait(process, f"http://127.0.0.1:{port}", log)
            yield f"http://127.0.0.1:{port}"
        finally:
            process.terminate()
            process.wait(timeout=60)


def wait(process: subprocess.Popen[bytes], address: str, log: Path) -> None:
    """Until the server answers."""
    for _ in range(300):
        if process.poll() is not None:
            raise SystemExit(f"the server ended at its start; it said:\n{log.read_text(encoding='utf-8')[-2000:]}")
        try:
            with urlopen(f"{address}/health", timeout=5):
                return
        except (URLError, OSError):
            time.sleep(1)
    raise SystemExit("the server did not start within five minutes")


if __name__ == "__main__":
    sys.exit(main())
