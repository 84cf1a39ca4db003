"""The grounds of the studies: the problems of a seed, and the supervised policy that every method starts from.

The problems of a seed are in three parts with none in common: those that are held out, those with an expert's response,
and others without one, which are played together with these. The first of the held-out problems choose: the start, a
rate. The rest are what is reported, and choose nothing.
"""

from __future__ import annotations

import json
import random
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from functools import partial
from pathlib import Path

import benchmarks_path  # noqa: F401 - the next two are found by it
import problems
import sums
from methods import SUPERVISED_EPOCHS
from outcomes import CHOOSING, REPORTED, Outcome
from playing import Play, play_all, sparring
from sparring.data import TASKS
from sparring.data.verifiers import final_number
from sparring.generation.products import multiplies_bf16

LORA = (
    "warmup=null",
    "lora={r: 16, lora_alpha: 32}",
    "training.per_device_train_batch_size=2",
    # Products in bf16, on a processor that has them; the weights stay in fp32.
    f"training.bf16={str(multiplies_bf16()).lower()}",
)

Rows = list[tuple[str, str]]


def keep_experts(path: Path, count: int) -> None:
    """Leaves only the first so many problems of a file their expert's response; the others keep the right answer."""
    rows = [json.loads(line) for line in path.read_text(encoding="utf-8").splitlines()]
    for row in rows[count:]:
        row["ground_truth"] = f"#### {final_number(row.pop('response'))}"
    path.write_text("".join(json.dumps(row) + "\n" for row in rows), encoding="utf-8")


def arithmetic(count: int, seed: int, difficulty: int) -> Rows:
    """Word problems of so many steps, made by rules."""
    made = TASKS["arithmetic"].generate(count, difficulty, seed)
    return [(example.prompt, example.response or "") for example in made]


def gsm8k(count: int, seed: int, file: Path) -> Rows:
    """Problems of GSM8K (JSON lines with `question` and `answer`), the 1,315 with a solution of up to 160 characters.

    A model of 135 million weights seldom ends a longer one right.
    """
    rows = [json.loads(line) for line in file.read_text(encoding="utf-8").splitlines()]
    short = [(f"Question: {row['question']}\nAnswer:\n", row["answer"]) for row in rows if len(row["answer"]) <= 160]
    return random.Random(f"gsm8k/{seed}").sample(short, count)


@dataclass(frozen=True, kw_only=True)
class Ground:
    """Where methods are compared.

    Attributes:
        model: The pretrained model: a name that `model.name` takes.
        problems: The prompts and right responses, from how many there must be and a seed.
        experts: The number of problems with an expert's response.
        others: The number of problems without.
        rounds: The most rounds of supervised fine-tuning that the start may have, each of three epochs with a learning
            rate that falls to zero: at a constant one the likelihood of held-out experts peaks after an epoch, long
            before the answers are as good as they get.
        rate: The learning rate that a round begins with.
        response_tokens: The limit of a response, in tokens.
    """

    model: str
    problems: Callable[[int, int], Rows]
    experts: int = 64
    others: int = 192
    rounds: int = 3
    rate: float = 2e-4
    response_tokens: int = 32

    def data(self, folder: Path, seed: int) -> Mapping[str, tuple[str, ...]]:
        """Writes the problems of a seed, and says where each part is, as overrides of a configuration."""
        held_out = CHOOSING + REPORTED
        rows = self.problems(held_out + self.experts + self.others, seed)
        parts = {
            "held_out": rows[:held_out],
            "choosing": rows[:CHOOSING],
            "experts": rows[held_out:][: self.experts],
            "others": rows[held_out:],
        }
        paths = problems.write(folder, parts)
        keep_experts(paths["others"], self.experts)

        def place(train: str, measured: str) -> tuple[str, ...]:
            count = len(parts[measured])
            return (
                "generation.batch_size=32",
                *problems.overrides(
                    paths[train], paths[measured], count=count, max_response_tokens=self.response_tokens
                ),
            )

        return {
            "path": place("experts", "choosing"),
            "experts": place("experts", "held_out"),
            "others": place("others", "held_out"),
        }

    def starts(self, places: Mapping[int, Path], *, at_once: int) -> None:
        """Makes the starts of some seeds, each in the folder of its seed, where they are missing.

        A start is the policy of the round after which the experts' responses to the choosing problems were likeliest.
        """
        missing = {seed: place for seed, place in places.items() if not (place / "start").exists()}
        paths = {place: self.path(place, seed) for seed, place in missing.items()}
        play_all([*paths.values()], at_once=at_once)
        for place, path in paths.items():
            best = Outcome.of(path.run).likeliest(first=1)
            policy = f"iterations/{best - 1:03}"
            sparring("export", path.run, place / "start", "--policy", policy, "--dtype", "float32", threads=1)

    def path(self, folder: Path, seed: int) -> Play:
        """Supervised fine-tuning from the pretrained model, measured after every round."""
        arguments = ("sft", f"seed={seed}", f"model.name={self.model}", f"iterations={self.rounds}", *LORA)
        steps = (
            f"training.learning_rate={self.rate}",
            "training.lr_scheduler_type=linear",
            f"training.num_train_epochs={SUPERVISED_EPOCHS}",
        )
        data = self.data(folder, seed)["path"]
        return Play(run=folder / "path", arguments=(*arguments, *steps, *data))


GROUNDS = ("smollm2", "smollm2-two-steps", "gsm8k")


def ground(name: str, file: Path | None = None) -> Ground:
    """The ground of that name; `gsm8k` reads its problems from a file.

    Raises:
        ValueError: That file is missing.
    """
    if name == "gsm8k":
        if file is None:
            raise ValueError("the ground gsm8k needs --gsm8k FILE (JSON lines with 'question' and 'answer')")
        return Ground(model="smollm2-135m", problems=partial(gsm8k, file=file), others=0, response_tokens=96)
    steps = 2 if name == "smollm2-two-steps" else 1
    problems = partial(arithmetic, difficulty=steps)
    return Ground(model="smollm2-135m", problems=problems, response_tokens=32 if steps == 1 else 48)


SUMS_STEPS = (
    "warmup=null",
    "data.limit=256",
    "generation.batch_size=128",
    "training.num_train_epochs=4",
    "training.per_device_train_batch_size=32",
    "training.lr_scheduler_type=linear",
)
"""The steps of an iteration on sums."""


def start_on_sums(place: Path, seed: int, *changes: str, name: str = "start", epochs: int = 20) -> Path:
    """A model that adds (benchmarks/sums.py), made where it is missing: trained from nothing for so many epochs."""
    start, run = place / name, place / f"{name}-run"
    if not start.exists():
        model = sums.untrained(place / "untrained", seed)
        steps = (f"training.num_train_epochs={epochs}", "training.learning_rate=1e-3", "generation.batch_size=128")
        arguments = ("sft", f"seed={seed}", "iterations=1", "warmup=null", f"model.name={model}", *steps)
        batch = "training.per_device_train_batch_size=64"
        play_all([Play(run=run, arguments=(*arguments, batch, *sums.data(place, seed), *changes))], at_once=2)
        sparring("export", run, start, "--policy", "iterations/000", threads=1)
    return start


def on_sums(place: Path, seed: int, iterations: int, name: str = "start") -> tuple[str, ...]:
    """What every run on the sums of a seed has in common, from the start of that name."""
    common = (f"seed={seed}", f"iterations={iterations}", f"model.name={place / name}")
    return (*common, *sums.data(place, seed), *SUMS_STEPS)
