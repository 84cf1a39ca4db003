"""Trains a reward model on right and wrong answers, and lets it judge a run.

    python benchmarks/reward_model.py FOLDER [--results benchmarks/results]

SmolLM2 with one label, trained by Bradley and Terry to score the solution of a word problem above the same solution
with another result. Then it is the judge `reward-model` of one iteration of the recipe sppo, on fewer and other
problems, from the start of alignment.py (which is shared, where FOLDER is the same). How often is it right, on unseen
pairs and on the policy's own answers? What is there already in FOLDER is not done again.
"""

from __future__ import annotations

import argparse
import json
import random
import re
from pathlib import Path
from typing import Any

import torch
from transformers import AutoModelForSequenceClassification, AutoTokenizer

from alignment import play, started
from measuring import hardware, versions
from sparring.data import VERIFIERS, DataConfig, load
from sparring.data.verifiers import final_number
from sparring.files import atomic_path
from sparring.judges import JUDGES, Question
from sparring.models.quiet import quiet_transformers
from sparring.models.smollm2 import embedded_model
from sparring.reports.summary import summarize
from sparring.run_directory import RunDirectory, read_shard
from sparring.training.config import SelfPlayConfig
from sparring.training.stages.generate import read_samples

PAIRS, UNSEEN, EPOCHS, ACCUMULATED, LEARNING_RATE = 96, 48, 2, 4, 2e-5
# The run plays problems of another seed.
SEED, RUN_SEED = 1, 0
RUN = ("iterations=1", "warmup=null", "data.limit=12", "data.held_out=20", "data.max_response_tokens=40")
METRICS = ("accuracy/greedy", "accuracy/sampled", "length/sampled", "kl_to_base")

Pair = tuple[str, str, str]


def pairs() -> tuple[list[Pair], list[Pair]]:
    """(prompt, right answer, wrong answer), to train on and unseen."""
    data = load(DataConfig(source="arithmetic", limit=PAIRS, held_out=UNSEEN), SEED)
    draw = random.Random(SEED)
    seen, unseen = (
        [(item.prompt, item.response, wrong(item.response, draw)) for item in part]
        for part in (data.train, data.held_out)
    )
    return seen, unseen


def wrong(solution: str, draw: random.Random) -> str:
    """The solution with another result, off by one to nine, wherever the result stands."""
    result = int(final_number(solution) or 0)
    other = result + draw.choice([step for step in range(-9, 10) if step and result + step >= 0])
    return re.sub(rf"(?<=[=#] ){result}$", str(other), solution, flags=re.MULTILINE)


def train(folder: Path, examples: list[Pair]) -> None:
    """Minimises −log σ(s_right − s_wrong)."""
    torch.manual_seed(SEED)
    source = embedded_model()
    tokenizer = AutoTokenizer.from_pretrained(source)
    with quiet_transformers():
        model = AutoModelForSequenceClassification.from_pretrained(source, num_labels=1, dtype=torch.float32)
    optimizer = torch.optim.AdamW(model.parameters(), lr=LEARNING_RATE, weight_decay=0.0)

    def score(prompt: str, response: str) -> torch.Tensor:
        turns = [{"role": "user", "content": prompt}, {"role": "assistant", "content": response}]
        return model(**tokenizer.apply_chat_template(turns, return_dict=True, return_tensors="pt")).logits[0, 0]

    model.train()
    order = random.Random(SEED)
    for epoch in range(EPOCHS):
        losses = []
        for number, (prompt, right, other) in enumerate(order.sample(examples, len(examples)), start=1):
            loss = torch.nn.functional.softplus(score(prompt, other) - score(prompt, right))
            (loss / ACCUMULATED).backward()
            losses.append(loss.item())
            if number % ACCUMULATED == 0:
                optimizer.step()
                optimizer.zero_grad()
        print(f"epoch {epoch}: loss {sum(losses) / len(losses):.3f} (log 2 = 0.693 knows nothing)", flush=True)
    with quiet_transformers(), atomic_path(folder) as partial:
        model.save_pretrained(partial)
        tokenizer.save_pretrained(partial)


def accuracy(model: Path, examples: list[Pair]) -> float:
    """The share of pairs of which the judge prefers the right answer."""
    judge = JUDGES["reward-model"](model=str(model)).start(model)
    verdicts = judge([Question(prompt=prompt, responses=(right, other)) for prompt, right, other in examples])
    return sum((verdict.pairwise[0][1] or 0.0) > 0.5 for verdict in verdicts) / len(verdicts)


def agreement(run: Path) -> dict[str, float]:
    """Of the pairs of a right and a wrong answer in the run's own samples, how often the judge preferred the right."""
    stage, verify = RunDirectory(run).iteration(0), VERIFIERS["final-number"]()
    expert = {
        item.index: item.response for item in load(SelfPlayConfig.from_yaml(run / "config.yaml").data, RUN_SEED).train
    }
    samples = read_samples(sorted(stage.samples.iterdir()))
    judged = [row for path in sorted(stage.judgements.iterdir()) for row in read_shard(path)]
    right = {index: [verify(row["text"], expert[index]) for row in rows] for index, rows in samples.items()}
    preferred = [
        row["pairwise"][i][j] > 0.5
        for row in judged
        for i, good in enumerate(right[row["index"]])
        for j, bad in enumerate(right[row["index"]])
        if good and not bad
    ]
    return {"pairs": len(preferred), "preferred_the_right_one": sum(preferred) / max(1, len(preferred))}


def main() -> None:
    """Trains, measures, plays, prints and writes."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("folder", type=Path)
    parser.add_argument("--results", type=Path, default=Path(__file__).parent / "results")
    options = parser.parse_args()
    folder: Path = options.folder.absolute()
    seen, unseen = pairs()
    model, run = folder / "reward-model", folder / "judged-by-reward-model"
    if not model.exists():
        train(model, seen)
    start, judge = started(folder, RUN_SEED), f"judge={{name: reward-model, model: {model}}}"
    play(run, ["sppo", f"seed={RUN_SEED}", f"model.name={start}", judge, *RUN])
    policies = [{key: row.estimates[key] for key in METRICS} | {"policy": row.name} for row in summarize(run).rows]
    report: dict[str, Any] = {
        "hardware": hardware(),
        "versions": versions("peft"),
        "trained": {"pairs": PAIRS, "epochs": EPOCHS, "learning_rate": LEARNING_RATE, "seed": SEED},
        "accuracy": {"seen": accuracy(model, seen), "unseen": accuracy(model, unseen), "unseen_pairs": UNSEEN},
        "on_the_policy": agreement(run),
        "policies": policies,
    }
    (options.results / "reward_model.json").write_text(json.dumps(report, indent=1, ensure_ascii=False) + "\n")
    print(json.dumps({key: report[key] for key in ("accuracy", "on_the_policy", "policies")}, indent=1))


if __name__ == "__main__":
    main()
