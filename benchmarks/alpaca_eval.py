"""Our win rates beside those of AlpacaEval's leaderboard, and what each part of the length control brings.

    python benchmarks/alpaca_eval.py FOLDER [--json FILE]        # about five minutes on one core

FOLDER holds `annotations.csv.gz`, a row a model and instruction (`model`, `index`, `length_baseline`, `length_model`
in characters, `preference` as alpaca_eval writes it), and `leaderboard.csv` (`model`, `win_rate` and
`length_controlled_winrate`, per cent). Nothing of it is stored here but the models' names and rates. A model's
difficulties and anchor are fitted on the others alone, and nothing is fitted to the leaderboard.
"""

from __future__ import annotations

import argparse
import csv
import gzip
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

import numpy as np
import scipy
from scipy.stats import spearmanr

from sparring.evaluation import Anchor, Annotations, Pool, WinRate, length_controlled_win_rate, win_rate
from sparring.files import write_json
from sparring.json_text import to_json

BASELINE = "gpt4_1106_preview"
# Mean φ (its sign turned to ours) and ψ of the baseline told to be verbose and told to be concise, as the official
# package's table of weights has them: what the official fit is drawn to, by rows that are not at hand.
PUBLISHED = Anchor(length=(1.5835 + 1.6425) / 2, difficulty=(0.8335 + 0.6836) / 2)

Variant = Callable[[Annotations, Pool], WinRate]
VARIANTS: dict[str, Variant] = {
    "plain win rate": lambda model, _: win_rate(model),
    "length alone": lambda model, _: length_controlled_win_rate(model),
    "+ difficulty": lambda model, pool: length_controlled_win_rate(model, difficulty=pool.difficulty),
    "+ anchor of the pool": lambda model, pool: length_controlled_win_rate(
        model, difficulty=pool.difficulty, anchor=pool.anchor
    ),
    "+ published anchor instead": lambda model, pool: length_controlled_win_rate(
        model, difficulty=pool.difficulty, anchor=PUBLISHED
    ),
}
FULL = "+ anchor of the pool"
DEFAULT_PRECISION = 0.1
PRECISIONS = (0.03, DEFAULT_PRECISION, 0.3, 1.0)


def read(folder: Path) -> list[Annotations]:
    """The annotations of every model but the baseline."""
    rows: dict[str, list[dict[str, str]]] = {}
    with gzip.open(folder / "annotations.csv.gz", "rt", encoding="utf-8", newline="") as file:
        for row in csv.DictReader(file):
            rows.setdefault(row["model"], []).append(row)
    return [
        Annotations(
            model=model,
            baseline=BASELINE,
            instructions=tuple(row["index"] for row in of),
            preference=np.array([preference(row["preference"]) for row in of]),
            model_length=np.array([float(row["length_model"]) for row in of]),
            baseline_length=np.array([float(row["length_baseline"]) for row in of]),
        )
        for model, of in rows.items()
    ]


def preference(text: str) -> float:
    """P(the model's answer is better) of what alpaca_eval wrote: 1 to 2, 0 for a tie, nothing for no verdict."""
    if not text:
        return float("nan")
    return 0.5 if float(text) == 0 else float(text) - 1


def agreement(found: Mapping[str, float], published: Mapping[str, float]) -> dict[str, float]:
    """Both in per cent."""
    ours, theirs = (np.array([table[model] for model in found]) for table in (found, published))
    return {
        "mean_absolute_difference": float(np.abs(ours - theirs).mean()),
        "mean_difference": float((ours - theirs).mean()),
        "greatest_absolute_difference": float(np.abs(ours - theirs).max()),
        "spearman": float(spearmanr(ours, theirs).statistic),
    }


def interpolated(models: list[Annotations], published: Mapping[str, float]) -> dict[str, Any]:
    """Without a pool, the models whose answers are longer than the baseline's, and shorter, a quarter of the time."""

    def alike(model: Annotations) -> np.ndarray:
        longest = np.maximum(model.model_length, model.baseline_length)
        return np.asarray(np.abs(model.model_length - model.baseline_length) <= 0.1 * longest)

    near = []
    for model in (each.with_verdict() for each in models if each.model != BASELINE):
        difference = model.model_length - model.baseline_length
        if min((difference > 0).mean(), (difference < 0).mean()) >= 0.25 and alike(model).any():
            near.append(model)
    names = [each.model for each in near]
    if len(near) < 2:
        message = "fewer than two models write about as much as the baseline, so none can be ranked so"
        return {"models": names, "message": message}

    def similar(model: Annotations) -> float:
        return float(model.preference[alike(model)].mean())

    variants: dict[str, Callable[[Annotations], float]] = {
        "plain win rate": lambda model: win_rate(model).rate,
        "length alone": lambda model: length_controlled_win_rate(model).rate,
        "plain, lengths within 10 %": similar,
    }
    found = {name: {each.model: 100 * rate(each) for each in near} for name, rate in variants.items()}
    return {"models": names} | {name: agreement(rates, published) for name, rates in found.items()}


def compare(models: list[Annotations], leaderboard: Mapping[str, Mapping[str, str]]) -> dict[str, Any]:
    """Every variant beside the leaderboard."""
    plain = {name: float(row["win_rate"]) for name, row in leaderboard.items()}
    controlled = {name: float(row["length_controlled_winrate"]) for name, row in leaderboard.items()}
    # The baseline against itself is one half by definition; the leaderboard does not fit it either.
    others = [model for model in models if model.model != BASELINE]
    pools = {value: [Pool.fit(models, of=model, precision=value) for model in others] for value in PRECISIONS}

    def rates(variant: Variant, precision: float = DEFAULT_PRECISION) -> dict[str, WinRate]:
        return {model.model: variant(model, pool) for model, pool in zip(others, pools[precision], strict=True)}

    def compared(found: Mapping[str, WinRate]) -> dict[str, float]:
        return agreement({name: 100 * rate.rate for name, rate in found.items()} | {BASELINE: 50.0}, controlled)

    won = {model.model: 100 * win_rate(model).rate for model in models}
    full = rates(VARIANTS[FULL])
    return {
        "models": len(models),
        "versions": {"numpy": np.__version__, "scipy": scipy.__version__},
        "plain_win_rate_to_published": agreement(won, plain),
        "to_published_length_controlled": {name: compared(rates(variant)) for name, variant in VARIANTS.items()},
        "precision_of_difficulty": {str(value): compared(rates(VARIANTS[FULL], value)) for value in PRECISIONS},
        "without_a_pool_where_lengths_are_alike": interpolated(models, controlled),
        "published_inside_interval": sum(
            100 * rate.interval[0] <= controlled[name] <= 100 * rate.interval[1] for name, rate in full.items()
        ),
        "by_model": {
            name: {
                "win_rate": round(won[name], 4),
                "length_controlled": round(100 * rate.rate, 2),
                "standard_error": round(100 * rate.standard_error, 2),
                "published": round(controlled[name], 2),
            }
            for name, rate in sorted(full.items(), key=lambda item: -controlled[item[0]])
        },
    }


def main() -> None:
    """Prints the comparison."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("folder", type=Path)
    parser.add_argument("--json", type=Path)
    options = parser.parse_args()
    with (options.folder / "leaderboard.csv").open(encoding="utf-8", newline="") as file:
        leaderboard = {row["model"]: row for row in csv.DictReader(file)}
    result = compare(read(options.folder), leaderboard)
    print(to_json(result, indent=2))
    if options.json is not None:
        write_json(options.json, result)


if __name__ == "__main__":
    main()
