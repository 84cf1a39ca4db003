"""How fast is a step, how much memory does it take, against TRL's DPOTrainer? Identical work on both sides.

    python benchmarks/peer.py [--cases NAME …] [--gsm8k FILE] [--model NAME] [--repeats N] [--device cuda] [--json FILE]

Both sides train the same weights on the same (prompt, chosen, rejected) token ids in the same order with the same
optimizer and the same loss (SPIN's logistic link is DPO's). Each side runs in a process of its own, so that its peak
memory is its own; the sides take turns, and a ratio is of two runs of one turn. The loss traces must agree to 1e-4, and
on an accelerator, where both compute in bf16, to 2e-2.

Sides: `ours`; `trl-tuned` (precision as ours, no checkpointing, reference log-probs computed beforehand);
`trl-default` (what `DPOConfig()` sets: bf16, checkpointing, the reference beside the policy).

`step` is the mean over all optimizer steps but the first; `epoch` is everything from the loaded model to the trained
one, the reference's log-probs included on every side. Exit code 1 where a loss trace disagrees.
"""

from __future__ import annotations

import argparse
import importlib
import json
import random
import resource
import sys
import tempfile
from dataclasses import asdict, dataclass
from pathlib import Path
from statistics import median
from typing import Any

import shapes
from measuring import hardware, in_a_process, now, ratios, versions
from shapes import SHAPES

SIDES = ("ours", "trl-tuned", "trl-default")
MEASURED = ("step_s", "epoch_s", "peak_mb")
BETA, LEARNING_RATE = 0.1, 1e-6
# Relatively: bf16 has three digits.
TOLERANCES = {"cpu": 1e-4, "cuda": 2e-2}


@dataclass(frozen=True)
class Case:
    """Prompts with one chosen and K rejected responses; lengths in tokens, or None where they are the data's.

    `batch` prompts make an optimizer step.
    """

    prompt: int | None
    response: int | None
    samples: int
    prompts: int
    batch: int


CASES = {
    "gsm8k": Case(None, None, samples=1, prompts=16, batch=4),
    "prompt-heavy": Case(512, 128, samples=1, prompts=4, batch=2),
    "response-heavy": Case(128, 512, samples=1, prompts=4, batch=2),
    "k4": Case(128, 128, samples=4, prompts=6, batch=2),
    # To try the command, and for an accelerator.
    "tiny": Case(16, 16, samples=2, prompts=4, batch=2),
    "wide": Case(512, 256, samples=1, prompts=48, batch=8),
    "wide-k4": Case(256, 256, samples=4, prompts=32, batch=8),
}
ON_CPU = ("gsm8k", "prompt-heavy", "response-heavy", "k4")


def main() -> int:
    """Prints a table and returns the exit code."""
    options = arguments()
    if options.worker:
        print(json.dumps(work(json.loads(Path(options.worker).read_text(encoding="utf-8")))))
        return 0
    agreed = True
    with tempfile.TemporaryDirectory() as folder:
        for name in options.cases:
            result = compare(name, options, Path(folder))
            show(name, result)
            if options.json is not None:
                store(options, name, result)
            agreed &= result["losses_agree"]
    return 0 if agreed else 1


def show(name: str, result: dict[str, Any]) -> None:
    """Prints one case."""
    print(f"\n{name}: {result['what']}")
    for side in result["sides"]:
        print(f"  {side:12}", json.dumps(result["sides"][side]["summary"]))
    for peer, ratio in result["ratios"].items():
        print(f"  {peer} / ours", json.dumps(ratio), flush=True)


def store(options: argparse.Namespace, name: str, result: dict[str, Any]) -> None:
    """Puts one case in the file, in the place of what is there for it; the others stay if all else is equal."""
    path: Path = options.json
    setting = {
        "hardware": hardware(options.device),
        "versions": versions("trl", "accelerate"),
        "model": options.model,
    }
    before = json.loads(path.read_text(encoding="utf-8")) if path.exists() else {}
    cases = before["cases"] if setting.items() <= before.items() else {}
    path.write_text(json.dumps(setting | {"cases": cases | {name: result}}, indent=1) + "\n", encoding="utf-8")


def arguments() -> argparse.Namespace:
    """The command line."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--cases", nargs="+", choices=CASES, default=list(ON_CPU))
    parser.add_argument("--sides", nargs="+", choices=SIDES, default=list(SIDES))
    parser.add_argument("--gsm8k", type=Path, help="JSON lines with 'question' and 'answer', for the case gsm8k")
    parser.add_argument("--model", default="smollm2-135m", help=f"a name, a folder, or one of {', '.join(SHAPES)}")
    parser.add_argument("--repeats", type=int, default=3)
    parser.add_argument("--micro-batch", type=int, default=2, help="prompts in one of our forward passes")
    parser.add_argument("--device", default="cpu")
    parser.add_argument("--json", type=Path)
    parser.add_argument("--worker", help=argparse.SUPPRESS)
    return parser.parse_args()


def rows(name: str, options: argparse.Namespace, vocabulary: int) -> list[dict[str, Any]]:
    """The work, as token ids; K rejected responses a prompt."""
    case = CASES[name]
    chance = random.Random(0)
    if case.prompt is None or case.response is None:
        return gsm8k_rows(case, options)

    prompt, response = case.prompt, case.response

    def ids(length: int) -> list[int]:
        return [chance.randrange(3, vocabulary) for _ in range(length)]

    return [
        {
            "prompt_ids": ids(prompt),
            "chosen_ids": ids(response),
            "rejected_ids": [ids(response) for _ in range(case.samples)],
        }
        for _ in range(case.prompts)
    ]


def gsm8k_rows(case: Case, options: argparse.Namespace) -> list[dict[str, Any]]:
    """Questions, their solutions as chosen and the solution of another question as rejected."""
    from sparring.models import ModelConfig, load_tokenizer

    if options.gsm8k is None:
        raise SystemExit("the case gsm8k needs --gsm8k FILE (JSON lines with 'question' and 'answer')")
    tokenizer = load_tokenizer(ModelConfig(name=options.model))
    data = [json.loads(line) for line in options.gsm8k.read_text(encoding="utf-8").splitlines()[: 2 * case.prompts]]

    def response(item: dict[str, str]) -> list[int]:
        return [*tokenizer(item["answer"]).input_ids, tokenizer.eos_token_id]

    return [
        {
            "prompt_ids": tokenizer(own["question"] + "\n").input_ids,
            "chosen_ids": response(own),
            "rejected_ids": [response(other)],
        }
        for own, other in zip(data[: case.prompts], data[case.prompts :], strict=True)
    ]


def compare(name: str, options: argparse.Namespace, folder: Path) -> dict[str, Any]:
    """All repeats of one case."""
    model, vocabulary = prepared(options.model, options.device, folder)
    data = rows(name, options, vocabulary)
    batch = CASES[name].batch
    job = {
        "model": model,
        "rows": data,
        "device": options.device,
        "batch": batch,
        "micro_batch": min(batch, options.micro_batch),
    }
    runs: dict[str, list[dict[str, Any]]] = {side: [] for side in options.sides}
    for turn in range(options.repeats):
        # Every other turn goes backwards, so that a drift of the machine's speed favours nobody.
        for side in options.sides[:: 1 if turn % 2 == 0 else -1]:
            place = str(folder / f"{name}-{side}-{turn}")
            runs[side].append(in_a_process(__file__, {**job, "side": side, "folder": place}, folder))
            print(f"{name} {turn + 1}/{options.repeats} {side}: {runs[side][-1]}", file=sys.stderr)
    tokens = sum(len(r["prompt_ids"]) * (1 + len(r["rejected_ids"])) for r in data) + sum(
        len(answer) for r in data for answer in (r["chosen_ids"], *r["rejected_ids"])
    )
    return {
        "what": asdict(CASES[name]) | {"tokens": tokens},
        "sides": {side: {"summary": summary(found, tokens), "runs": found} for side, found in runs.items()},
        "ratios": {side: ratios(runs[side], runs["ours"], MEASURED) for side in options.sides if side != "ours"},
        "losses_agree": "trl-tuned" not in runs
        or agree(runs["ours"][0]["losses"], runs["trl-tuned"][0]["losses"], TOLERANCES[options.device]),
    }


def prepared(model: str, device: str, folder: Path) -> tuple[str, int]:
    """The model's folder, and its vocabulary; weights are written once."""
    if model in SHAPES:
        return str(shapes.write(model, folder, device=device)), SHAPES[model]["vocab_size"]
    from sparring.models import ModelConfig, load_model

    loaded = load_model(ModelConfig(name=model, device="cpu"))
    path = folder / "model"
    if not path.exists():
        loaded.save_pretrained(path)
    return str(path), loaded.config.vocab_size


def summary(runs: list[dict[str, Any]], tokens: int) -> dict[str, Any]:
    """Medians over the repeats. Tokens are counted as the peer lays them out: the prompt once a response."""
    epoch = median(item["epoch_s"] for item in runs)
    return {
        "step_s": median(item["step_s"] for item in runs),
        "epoch_s": epoch,
        "tokens_per_s": tokens / epoch,
        "peak_mb": median(item["peak_mb"] for item in runs),
    }


def agree(ours: list[float], theirs: list[float], tolerance: float) -> bool:
    """Whether two loss traces are the same, relatively."""
    return all(abs(a - b) <= tolerance * abs(b) for a, b in zip(ours, theirs, strict=True))


def work(job: dict[str, Any]) -> dict[str, Any]:
    """One side: train one epoch and tell how long the steps, the whole, and the losses were."""
    import torch
    from transformers import AutoModelForCausalLM

    dtype = torch.bfloat16 if job["device"] == "cuda" else torch.float32
    model = AutoModelForCausalLM.from_pretrained(job["model"], dtype=dtype).to(job["device"])
    build, clock = ours if job["side"] == "ours" else peer, step_clock()
    # Imports are no work.
    importlib.import_module("sparring.trainer.trainer" if build is ours else "trl.trainer.dpo_trainer")
    start = now()
    trainer = build(job, model, clock)
    trainer.train()
    epoch = now() - start
    return {
        "step_s": sum(clock.seconds[1:]) / len(clock.seconds[1:]),
        "epoch_s": epoch,
        "peak_mb": peak_mb(job["device"]),
        "parameters": model.num_parameters(),
        "losses": [entry["loss"] for entry in trainer.state.log_history if "loss" in entry],
    }


def peak_mb(device: str) -> float:
    """The most memory so far: of the accelerator, or resident in this process."""
    import torch

    if device == "cuda":
        return torch.cuda.max_memory_allocated() / 2**20
    return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 2**10


def step_clock() -> Any:
    """A callback that takes the time of every optimizer step."""
    from transformers import TrainerCallback

    class Clock(TrainerCallback):
        def __init__(self) -> None:
            self.seconds: list[float] = []

        def on_step_begin(self, *_: Any, **__: Any) -> None:
            self.start = now()

        def on_step_end(self, *_: Any, **__: Any) -> None:
            self.seconds.append(now() - self.start)

    return Clock()


def shared_arguments(job: dict[str, Any]) -> dict[str, Any]:
    """What both trainers are told alike."""
    return {
        "output_dir": job["folder"],
        "num_train_epochs": 1,
        "learning_rate": LEARNING_RATE,
        "lr_scheduler_type": "constant",
        "train_sampling_strategy": "sequential",
        "logging_steps": 1,
        "save_strategy": "no",
        "report_to": "none",
        "disable_tqdm": True,
        "use_cpu": job["device"] == "cpu",
    }


def ours(job: dict[str, Any], model: Any, clock: Any) -> Any:
    """Our trainer; it scores the triples when training starts."""
    from transformers import TrainingArguments

    from sparring import SelfPlayTrainer
    from sparring.objectives import OBJECTIVES

    data = [
        {"prompt_ids": row["prompt_ids"], "expert_ids": row["chosen_ids"], "generated_ids": row["rejected_ids"]}
        for row in job["rows"]
    ]
    args = TrainingArguments(
        per_device_train_batch_size=job["micro_batch"],
        gradient_accumulation_steps=job["batch"] // job["micro_batch"],
        **shared_arguments(job),
    )
    return SelfPlayTrainer(
        model, objective=OBJECTIVES["spin"](beta=BETA), args=args, train_dataset=data, callbacks=[clock]
    )


def peer(job: dict[str, Any], model: Any, clock: Any) -> Any:
    """TRL's trainer on the same token ids: a pair a rejected response."""
    import trl
    from datasets import Dataset

    class OnTokenIds(trl.DPOTrainer):
        """Takes the ids as they are, instead of tokenising text."""

        def _prepare_dataset(self, dataset: Any, *_: Any) -> Any:
            return dataset

    pairs = Dataset.from_list(
        [
            {"prompt_ids": row["prompt_ids"], "chosen_ids": row["chosen_ids"], "rejected_ids": rejected}
            for row in job["rows"]
            for rejected in row["rejected_ids"]
        ]
    )
    tuned = {"bf16": job["device"] == "cuda", "gradient_checkpointing": False, "precompute_ref_log_probs": True}
    samples = len(job["rows"][0]["rejected_ids"])
    args = trl.DPOConfig(
        beta=BETA,
        per_device_train_batch_size=job["batch"],
        gradient_accumulation_steps=samples,
        max_length=None,
        **(tuned if job["side"] == "trl-tuned" else {}),
        **shared_arguments(job),
    )
    tokenizer = tokenizer_with_padding()
    return OnTokenIds(model=model, args=args, train_dataset=pairs, processing_class=tokenizer, callbacks=[clock])


def tokenizer_with_padding() -> Any:
    """The peer asks for a tokenizer, of which only the padding's id is used."""
    from sparring.models import ModelConfig, load_tokenizer

    return load_tokenizer(ModelConfig())


if __name__ == "__main__":
    raise SystemExit(main())
