"""How long is a whole iteration, beside what people would write: `generate`, then TRL's DPOTrainer?

    python benchmarks/iteration.py [--prompts 48] [--samples 1] [--turns 3] [--model NAME] [--json FILE]

Both sides begin with the same weights and the same file of prompts and responses, sample K responses to each prompt,
compute the reference's log-probs, train one epoch of SPIN's logistic loss (which is DPO's) and write the policy. Ours
is `sparring.run`, with its proofs, its shards, its scores and its report. The peer generates in left-padded batches of
prompts of like length, and trains with the settings that are fastest here: its precision is ours, no checkpointing,
reference log-probs computed beforehand. Nothing is held out. Each side has a process of its own; the sides take turns,
and a ratio is of two runs of one turn, of seconds and of CPU time, the imports left out. Chance draws the samples, so
both sides tell how many tokens they drew.
"""

from __future__ import annotations

import argparse
import importlib
import json
import sys
import tempfile
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import peer
from measuring import hardware, in_a_process, now, ratios, versions

SIDES = ("ours", "generate and TRL")
LIMIT, BATCH, AT_ONCE = 48, 4, 32


def main() -> None:
    """Prints the sides of each turn, and their ratios."""
    options = arguments()
    if options.worker:
        print(json.dumps(work(json.loads(Path(options.worker).read_text(encoding="utf-8")))))
        return
    runs: dict[str, list[dict[str, float]]] = {side: [] for side in SIDES}
    with tempfile.TemporaryDirectory() as folder:
        job = prepared(options, Path(folder))
        for turn in range(options.turns):
            for side in SIDES[:: 1 if turn % 2 == 0 else -1]:
                own = job | {"side": side, "output": f"{folder}/{turn}-{side}"}
                runs[side].append(in_a_process(__file__, own, Path(folder)))
                print(f"{turn + 1}/{options.turns} {side}: {runs[side][-1]}", file=sys.stderr)
    found = ratios(runs[SIDES[1]], runs[SIDES[0]], ("seconds", "cpu_seconds", "peak_mb"))
    print("generate and TRL / ours, median and range:", json.dumps(found))
    if options.json is not None:
        about = {"hardware": hardware(), "versions": versions("trl"), "model": options.model}
        about |= {"prompts": options.prompts, "samples": options.samples, "limit": LIMIT}
        options.json.write_text(json.dumps(about | {"ratios": found, "runs": runs}, indent=1) + "\n", encoding="utf-8")


def arguments() -> argparse.Namespace:
    """The command line."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--prompts", type=int, default=48)
    parser.add_argument("--samples", type=int, default=1)
    parser.add_argument("--turns", type=int, default=3)
    parser.add_argument("--model", default="smollm2-135m")
    parser.add_argument("--json", type=Path)
    parser.add_argument("--worker", help=argparse.SUPPRESS)
    return parser.parse_args()


def prepared(options: argparse.Namespace, folder: Path) -> dict[str, Any]:
    """The model and the prompts that both sides read."""
    from sparring.data import TASKS
    from sparring.models import ModelConfig, load_tokenizer

    model, _ = peer.prepared(options.model, "cpu", folder)
    load_tokenizer(ModelConfig(name=options.model)).save_pretrained(model)
    rows = [
        {"prompt": each.prompt, "response": each.response}
        for each in TASKS["arithmetic"].generate(options.prompts, 1, 0)
    ]
    data = folder / "data.jsonl"
    data.write_text("".join(json.dumps(row) + "\n" for row in rows), encoding="utf-8")
    return {"model": model, "data": str(data), "samples": options.samples}


def work(job: dict[str, Any]) -> dict[str, float]:
    """One side's iteration: seconds, CPU time, the most memory, and how many tokens it drew."""
    side: Callable[[dict[str, Any]], int] = ours if job["side"] == "ours" else plain
    # Imports are no work of an iteration.
    importlib.import_module("sparring.trainer.trainer" if side is ours else "trl.trainer.dpo_trainer")
    start, cpu = now(), time.process_time()
    tokens = side(job)
    return {
        "seconds": now() - start,
        "cpu_seconds": time.process_time() - cpu,
        "peak_mb": peer.peak_mb("cpu"),
        "tokens": tokens,
    }


def ours(job: dict[str, Any]) -> int:
    """`sparring.run`."""
    from sparring import SelfPlayConfig
    from sparring import run as play
    from sparring.run_directory import RunDirectory
    from sparring.shards import read_samples, samples_of

    result = play(
        SelfPlayConfig.from_mapping(
            {
                "output": job["output"],
                "model": {"name": job["model"], "device": "cpu"},
                "data": {"source": job["data"], "held_out": 0, "max_response_tokens": LIMIT},
                "iterations": 1,
                "warmup": None,
                "reuse": False,
                "objective": {"name": "spin", "beta": 0.1},
                "generation": {"samples_per_prompt": job["samples"], "batch_size": AT_ONCE},
                "training": {
                    "num_train_epochs": 1,
                    "learning_rate": 1e-6,
                    "lr_scheduler_type": "constant",
                    "per_device_train_batch_size": BATCH,
                },
            }
        )
    )
    samples = read_samples(samples_of(RunDirectory(result.directory).iteration(0)))
    return sum(len(row["response_ids"]) for rows in samples.values() for row in rows)


def plain(job: dict[str, Any]) -> int:
    """`generate` in batches, then TRL."""
    from transformers import AutoModelForCausalLM, AutoTokenizer

    import peer

    tokenizer = AutoTokenizer.from_pretrained(job["model"], padding_side="left")
    model = AutoModelForCausalLM.from_pretrained(job["model"])
    rows = [json.loads(line) for line in Path(job["data"]).read_text(encoding="utf-8").splitlines()]
    for row in rows:
        turns = [{"role": "user", "content": row["prompt"]}]
        row["prompt_ids"] = tokenizer.apply_chat_template(turns, add_generation_prompt=True, return_dict=False)
        row["chosen_ids"] = [*tokenizer(row["response"], add_special_tokens=False).input_ids, tokenizer.eos_token_id]
    rows.sort(key=lambda row: -len(row["prompt_ids"]))
    size = max(1, AT_ONCE // job["samples"])
    for start in range(0, len(rows), size):
        sample(model, tokenizer, rows[start : start + size], job["samples"])
    settings = {"device": "cpu", "batch": BATCH, "side": "trl-tuned", "folder": job["output"], "rows": rows}
    trainer = peer.peer(settings, model, peer.step_clock())
    trainer.train()
    trainer.save_model()
    return sum(len(ids) for row in rows for ids in row["rejected_ids"])


def sample(model: Any, tokenizer: Any, batch: list[dict[str, Any]], samples: int) -> None:
    """Gives each row of a batch its sampled responses, up to their end."""
    import torch

    padded = tokenizer.pad({"input_ids": [row["prompt_ids"] for row in batch]}, return_tensors="pt")
    with torch.inference_mode():
        drawn = model.generate(
            **padded,
            do_sample=True,
            temperature=1.0,
            top_k=0,
            top_p=1.0,
            max_new_tokens=LIMIT,
            num_return_sequences=samples,
            pad_token_id=tokenizer.pad_token_id,
        )
    responses = drawn[:, padded["input_ids"].shape[1] :].tolist()
    for number, row in enumerate(batch):
        own = responses[number * samples : (number + 1) * samples]
        row["rejected_ids"] = [
            ids[: ids.index(end) + 1] if (end := tokenizer.eos_token_id) in ids else ids for ids in own
        ]


if __name__ == "__main__":
    main()
