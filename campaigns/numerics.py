"""Numbers at their limits: objectives on extreme log ratios, and runs that overflow, explode or have nothing to say.

    python campaigns/numerics.py --seed 0 --count 20000 --minutes 20 --json campaigns/results/numerics.json

An objective's loss and gradients are finite up to 10,000 nats; beyond that they are finite, or are refused by what the
trainer checks at every step. A run ends with numbers that are finite, or in words that name where they ceased to be.
"""

from __future__ import annotations

import argparse
import json
import math
import random
import re
import shutil
import sys
import tempfile
import time
from collections import Counter
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import torch
from safetensors.torch import load_file, save_file
from torch import Tensor

from ground import Cli, Figures, command_line, save_tiny, write_tiny_config
from tiny import tiny_model, tiny_tokenizer

PROMISED = 1e4
# The inputs that are log-probs, which are never positive; the others are log ratios.
LOG_PROBS = frozenset(
    {"policy_expert", "policy_generated", "policy_initial", "policy_reference"}
    | {"expert_tokens", "generated_next_tokens"}
)
EXTREMES = (0.0, 1e-38, 1e-8, 1.0, 60.0, PROMISED, 1e8, 1e20, 3e38, math.inf, math.nan)
# Words of a library, which say nothing of where.
_FOREIGN = re.compile(r"Traceback|probability tensor|multinomial|Aborted!|device-side assert")
SGD = {"optim": "sgd", "max_grad_norm": 0.0, "lr_scheduler_type": "constant", "per_device_train_batch_size": 2}
PHASE = {"iterations": 1, "objective": {"name": "spif"}}


@dataclass(frozen=True)
class Case:
    """A run at a limit.

    Attributes:
        changes: To the tiny configuration.
        ends: What an error must name, as a pattern; None where the run must end well.
        either: Whether it may also end well: that hangs on how numbers are rounded.
        spoil: Changes the base model's weights.
        rows: Data in place of the built-in ones.
        overrides: More settings, as on a command line.
    """

    changes: dict[str, Any] = field(default_factory=dict)
    ends: str | None = None
    spoil: Callable[[dict[str, Tensor]], None] | None = None
    rows: Sequence[dict[str, Any]] = ()
    overrides: Sequence[str] = ()
    either: bool = False


def exploding(rate: float, **fields: Any) -> dict[str, Any]:
    """Settings of a training without any guard against large steps."""
    return SGD | {"learning_rate": rate, "save_steps": 2} | fields


def fill(value: float) -> Callable[[dict[str, Tensor]], None]:
    """Puts a number into one weight of the first layer."""
    return lambda weights: weights["model.layers.0.mlp.up_proj.weight"][3, 4:5].fill_(value)  # type: ignore[return-value]


def scale(factor: float) -> Callable[[dict[str, Tensor]], None]:
    """Multiplies all weights."""
    return lambda weights: [each.mul_(factor) for each in weights.values()]  # type: ignore[return-value]


def answers(text: Callable[[int], str]) -> list[dict[str, Any]]:
    """Twelve rows of data."""
    return [{"prompt": f"Say {n}.", "response": text(n)} for n in range(12)]


STEP = r"iteration 0: .*(step \d+|last step).*(weight '|rows? \d+).*fix: .*learning_rate="
WEIGHT = r"weight 'model\.layers\.0\.mlp\.up_proj\.weight'"
CASES: dict[str, Case] = {
    "the first step explodes": Case({"training": exploding(1e38)}, STEP),
    "the only step explodes": Case({"training": exploding(1e38, max_steps=1)}, STEP),
    "the only step leaves finite weights that overflow": Case(
        {"training": exploding(1e18, max_steps=1)}, STEP, either=True
    ),
    "a middle step explodes": Case(
        {
            "training": exploding(1e-6, max_steps=4, lr_scheduler_type="linear", warmup_steps=3)
            | {"learning_rate": 1e36}
        },
        STEP,
    ),
    "an adapter's step explodes": Case({"lora": {"r": 2}, "training": exploding(1e30)}, STEP),
    "the warm-up explodes": Case(
        {"warmup": {"training": exploding(1e38)}}, r"warm-up: .*warmup\.training\.learning_rate="
    ),
    "the second phase explodes": Case(
        {"phases": [PHASE, PHASE | {"training": exploding(1e38, max_steps=1)}]},
        r"iteration 1: .*phases\.1\.training\.learning_rate=.*iterations/000/model",
    ),
    "Adam at a rate of 10": Case({"training": {"learning_rate": 10.0, "per_device_train_batch_size": 2}}),
    "NaN in the base model": Case(ends=WEIGHT, spoil=fill(math.nan)),
    "infinity in the base model": Case(ends=WEIGHT, spoil=fill(-math.inf)),
    "a base model of float16 that overflows": Case(
        overrides=("model.dtype=float16",),
        ends=r"(logits|log-probs|sampled|scored|not finite|infinit|NaN)",
        spoil=scale(3e2),
    ),
    "a base model of float32 that overflows": Case(
        ends=r"(logits|log-probs|sampled|scored|not a finite|infinit|NaN)", spoil=scale(1e20)
    ),
    "bfloat16 weights": Case(overrides=("model.dtype=bfloat16",)),
    "bf16 training": Case({"training": {"bf16": True, "per_device_train_batch_size": 2}}),
    "a tiny beta": Case({"objective": {"name": "spin", "beta": 1e-30}}),
    "a huge beta": Case({"objective": {"name": "spin", "beta": 1e30}}, r"iteration 0: step \d+: .*fix: ", either=True),
    "a huge beta without a link's bound": Case(
        {"objective": {"name": "spin", "link": "exponential", "beta": 1e38}}, STEP
    ),
    "a huge reward bound": Case({"objective": {"name": "spif", "reward_bound": 1e30}}),
    "empty responses": Case(ends=r"(empty|response)", rows=answers(lambda _: "")),
    "one-character responses, all the same": Case(rows=answers(lambda _: "x")),
    "prompts of one letter": Case(rows=[{"prompt": "abcdefghijkl"[n], "response": f"It is {n}."} for n in range(12)]),
    "a response of one letter repeated": Case(rows=answers(lambda n: "z" * (n + 1))),
    "preferences of scores without end": Case(
        {"objective": {"name": "dpo"}, "responses": "data"},
        r"(score|number|finite)",
        rows=[
            {"prompt": f"Say {n}.", "responses": ["a", "b"], "scores": [1e308, -1e308 if n else math.inf]}
            for n in range(12)
        ],
    ),
    "preferences of great scores": Case(
        {"objective": {"name": "dpo"}, "responses": "data"},
        rows=[{"prompt": f"Say {n}.", "responses": ["a", "b"], "scores": [1e308, -1e308]} for n in range(12)],
    ),
}
for _name, _value, _ends in (("NaN", math.nan, "score.weight"), ("infinity", math.inf, "score.weight")):
    CASES[f"a reward model of {_name}"] = Case({"judge": _value, "objective": {"name": "sppo"}}, _ends)
for _value in (1e30, 1e38, 0.0):
    CASES[f"a reward model whose head is {_value:g}"] = Case({"judge": _value, "objective": {"name": "sppo"}}, None)


def objectives(figures: Figures, rng: random.Random, count: int) -> dict[str, int]:
    """Objectives and regularizers on fields that are drawn from the extremes."""
    # Found by what `ground` does, so imported after it.
    from conformance.rows import cases
    from conformance.test_losses import INPUTS, batch, ratios_of

    losses, ends = [case.values[:2] for case in cases("objective", "regularizer")], Counter[str]()
    for _ in range(count):
        build, settings = rng.choice(losses)
        values, largest = batch(prompts=2, samples=rng.choice((1, 3)), dtype=torch.float32), 0.0
        top = rng.randrange(1, len(EXTREMES) + 1)
        for name in INPUTS:
            chosen = [rng.choice(EXTREMES[:top]) for _ in range(values[name].numel())]
            signed = [-each if name in LOG_PROBS else rng.choice((-1.0, 1.0)) * each for each in chosen]
            largest = max([largest, *(math.inf if math.isnan(each) else abs(each) for each in signed)])
            values[name] = torch.tensor(signed).reshape(values[name].shape).requires_grad_()
        told = f"{build.__name__}({settings}) at {EXTREMES[top - 1]:g}"
        try:
            output = build(**settings)(ratios_of(values))
            output.loss.sum().backward()
        except ValueError:
            ends["refused in words"] += 1
            continue
        gradients = [each.grad for each in values.values() if each.grad is not None]
        finite = bool(output.loss.isfinite().all()) and all(bool(each.isfinite().all()) for each in gradients)
        ends["finite" if finite else "left to the trainer, which refuses them"] += 1
        if not finite and largest <= PROMISED:
            figures.faults.append(f"{told}: loss {output.loss.tolist()}, not finite, or its gradient")
    return dict(ends)


def run_of(cli: Cli, ground: Path, case: Case) -> tuple[str, str]:
    """How a run ended, in a word, and what was said."""
    place = Path(tempfile.mkdtemp(dir=ground))
    model = save_tiny(place / "model")
    if case.spoil is not None:
        weights = load_file(model / "model.safetensors")
        case.spoil(weights)
        save_file(weights, model / "model.safetensors", metadata={"format": "pt"})
    changes = {"iterations": 1, "warmup": None} | case.changes
    if "phases" in changes:
        changes.pop("iterations")
    if "judge" in changes:
        changes["judge"] = {"name": "reward-model"} | _judge(place / "judge", changes["judge"])
        changes["generation"] = {"samples_per_prompt": 2, "batch_size": 4}
    if case.rows:
        (place / "rows.jsonl").write_text("".join(f"{json.dumps(row)}\n" for row in case.rows), encoding="utf-8")
        changes["data"] = {"source": str(place / "rows.jsonl"), "held_out": 2, "max_response_tokens": 12}
    config = write_tiny_config(place / "config.yaml", model, **changes)
    if "phases" in changes:
        text = config.read_text(encoding="utf-8")
        config.write_text(re.sub(r"^(iterations|objective):.*\n(  .*\n)*", "", text, flags=re.M), encoding="utf-8")
    done = cli("train", config, *case.overrides)
    if _FOREIGN.search(done.stderr):
        return "foreign words", done.stderr
    if done.returncode != 0:
        said = " ".join(done.stderr[done.stderr.find("sparring: ") :].split())
        plain = done.returncode in {1, 2} and "sparring: " in done.stderr
        good = plain and case.ends is not None and re.search(case.ends, said) is not None
        return ("refused" if good else "refused otherwise"), done.stderr
    broken = _not_finite(place / "run")
    shutil.rmtree(place)
    if broken:
        return "not finite", broken
    return ("finite" if case.ends is None or case.either else "not refused"), done.stderr


def _judge(folder: Path, head: float) -> dict[str, Any]:
    from transformers import LlamaForSequenceClassification

    model = LlamaForSequenceClassification(tiny_model(num_labels=1).config)
    torch.nn.init.constant_(model.score.weight, head)
    model.save_pretrained(folder)
    tiny_tokenizer().save_pretrained(folder)
    return {"model": str(folder)}


def _not_finite(run: Path) -> str:
    """What a finished run holds that is not finite."""
    for path in run.rglob("evaluation.json"):
        for name, value in json.loads(path.read_text(encoding="utf-8")).items():
            if isinstance(value, dict) and not math.isfinite(value["mean"]):
                return f"{path}: {name}"
    for path in run.rglob("*.safetensors"):
        if not all(bool(each.isfinite().all()) for each in load_file(path).values()):
            return str(path)
    return ""


def main(arguments: Sequence[str] | None = None) -> int:
    """Runs the campaign; returns 1 where something went wrong."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--count", type=int, default=20000, help="how many losses")
    parser.add_argument("--runs", type=int, default=len(CASES), help="how many runs")
    parser.add_argument("--minutes", type=float, default=20.0, help="after which no other run is begun")
    parser.add_argument("--json", type=Path)
    options = parser.parse_args(arguments)
    torch.set_num_threads(1)
    figures, rng = Figures("numerics", options.seed), random.Random(options.seed)
    deadline, ends = time.monotonic() + 60 * options.minutes, Counter[str]()
    losses = objectives(figures, rng, options.count)
    with tempfile.TemporaryDirectory() as folder:
        cli = command_line(Path(folder))
        for name, case in list(CASES.items())[: options.runs]:
            if time.monotonic() > deadline:
                break
            ended, said = run_of(cli, Path(folder), case)
            ends[ended] += 1
            if ended not in {"finite", "refused"}:
                figures.faults.append(f"{name}: {ended}: {said[-500:]}")
    figures.counts = {"losses": options.count, "of_losses": losses, "runs": sum(ends.values()), "of_runs": dict(ends)}
    return figures.end(options.json)


if __name__ == "__main__":
    sys.exit(main())
