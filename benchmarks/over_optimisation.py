"""Does a judge that can be gamed spoil a language model, and do RSPO's regularizers hold it?

    python benchmarks/over_optimisation.py FOLDER [key.path=value …] [--model smollm2] [--weights 30 10 3 1]
        [--regularizers reverse-kl …] [--seeds 0 1 2] [--results FOLDER]

Of two answers the judge prefers the one with the larger number, whatever is right. The model is that of sums.py, or
SmolLM2 from the start of alignment.py, with its problems and steps. Every point is a run of its own: SPPO, with one
regularizer or none, at one weight λ. Started again, the command goes on where it was stopped, also within a run. After
every point it writes over_optimisation.json and over_optimisation.html; at the end it prints the table.
"""

from __future__ import annotations

import argparse
import json
import os
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from statistics import mean, stdev
from typing import Any

import plotly.graph_objects as go
from plotly.subplots import make_subplots

import sums
from alignment import GAME as SMOLLM2
from alignment import ITERATIONS, play, started, word_problems
from measuring import hardware, versions
from sparring.data.verifiers import final_number
from sparring.metrics import Estimate
from sparring.reports.summary import summarize
from sparring.shards import read_samples
from sparring.stage_directory import StageDirectory

# η = 10 asks for ±5 nats.
GAME = ("judge={name: verifier, rule: 'over_optimisation:larger'}", "objective.eta=10", f"iterations={ITERATIONS}")
# A rate that falls to zero: where a penalty balances the judge, steps of one size would only shake the policy.
SUMS = (
    "warmup=null",
    "data.limit=128",
    "generation.batch_size=128",
    "training.learning_rate=3e-4",
    "training.lr_scheduler_type=linear",
    "training.num_train_epochs=8",
    "training.per_device_train_batch_size=32",
)
SUMS_START = ("training.num_train_epochs=20", "training.learning_rate=1e-3", "training.per_device_train_batch_size=64")
REGULARIZERS = {
    "reverse-kl": ("name: reverse-kl",),
    "chi-squared k3": ("name: chi-squared, estimator: k3",),
    "chi-squared k1": ("name: chi-squared, estimator: k1",),
    "forward-kl": ("name: forward-kl",),
    "reverse and forward": ("name: reverse-kl", "name: forward-kl"),
}
COLOURS = ("#2a9d8f", "#e76f51", "#f4a261", "#264653", "#e9c46a")
WON = "judge/win_rate_over_start"
METRICS = {"accuracy/greedy": 3, "accuracy/sampled": 3, WON: 3, "kl_to_base": 2}


def larger(response: str, expert: str) -> float:  # noqa: ARG001 - a rule is given both
    """The rule of the judge: the larger the number that an answer ends in, the better."""
    number = final_number(response)
    return -1.0 if number is None else float(number)


@dataclass(frozen=True, kw_only=True)
class Point:
    """A run; `regularizer` is empty for plain SPPO."""

    seed: int
    regularizer: str = ""
    weight: float = 0.0

    @property
    def folder(self) -> Path:
        """Below the campaign's folder."""
        name = f"{self.regularizer.replace(' ', '-')}-{self.weight:g}" if self.regularizer else "sppo"
        return Path(f"seed-{self.seed}") / f"larger-{name}"

    def arguments(self, game: Sequence[str]) -> list[str]:
        """The recipe and its changes."""
        parts = REGULARIZERS.get(self.regularizer, ())
        penalties = ", ".join(f"{{{part}, weight: {self.weight:g}}}" for part in parts)
        return ["sppo", f"seed={self.seed}", f"regularizers=[{penalties}]", *game]


def on_sums(folder: Path, seed: int) -> list[str]:
    """What to play with the model of sums.py, trained where it is missing."""
    below = folder / f"seed-{seed}"
    data, model = sums.data(below, seed), sums.untrained(below / "untrained", seed)
    return [f"model.name={started(folder, seed, (f'model.name={model}', *data, *SUMS_START))}", *data]


def on_smollm2(folder: Path, seed: int) -> list[str]:
    """What to play with SmolLM2."""
    return list(word_problems(folder, seed))


MODELS = {"sums": (on_sums, SUMS), "smollm2": (on_smollm2, SMOLLM2)}


def measured(folder: Path, point: Point) -> dict[str, Any]:
    """What the run says of its policies, from the start to the last, and what the judge would say of them."""
    run = folder / point.folder
    rows, first = summarize(run).rows, scores(run / "base")
    policies = []
    for row in rows:
        now = scores(run / row.path)
        won = Estimate.of([0.5 * ((now[index] > first[index]) + (now[index] >= first[index])) for index in first])
        policies.append({"policy": row.name} | {name: (row.estimates | {WON: won.to_json()})[name] for name in METRICS})
    return {"seed": point.seed, "regularizer": point.regularizer, "weight": point.weight, "policies": policies}


def scores(stage: Path) -> dict[int, float]:
    """What the judge goes by: the number that each held-out answer of a policy ends in, greedy."""
    answers = read_samples(sorted(StageDirectory(stage).held_out.glob("greedy-*.parquet")))
    return {index: larger(row["text"], "") for index, (row,) in answers.items()}


def write(results: Path, model: str, game: Sequence[str], points: list[dict[str, Any]]) -> None:
    """The numbers, and the figure of them."""
    about = {"hardware": hardware(), "versions": versions("peft"), "model": model}
    report = {**about, "game": ["sppo", *game], "points": points}
    results.mkdir(parents=True, exist_ok=True)
    text = json.dumps(report, indent=1, ensure_ascii=False)
    (results / "over_optimisation.json").write_text(text + "\n", encoding="utf-8")
    draw(points).write_html(results / "over_optimisation.html", include_plotlyjs="cdn")


def draw(points: list[dict[str, Any]]) -> go.Figure:
    """What is true and what the judge says of the last policy, by λ; lines for the start and for plain SPPO."""
    names = {"accuracy/greedy": "right answers, held out", WON: "win rate over the start, by the judge"}
    figure = make_subplots(1, len(names), subplot_titles=list(names.values()))
    for column, metric in enumerate(names, start=1):
        for name, colour in zip(REGULARIZERS, COLOURS, strict=True):
            curve = by_weight(points, name, metric)
            figure.add_scatter(
                x=list(curve),
                y=[mean(values) for values in curve.values()],
                error_y={"array": [stdev(values) if len(values) > 1 else 0.0 for values in curve.values()]},
                mode="lines+markers",
                name=name,
                legendgroup=name,
                showlegend=column == 1,
                line_color=colour,
                row=1,
                col=column,
            )
        plain = [point["policies"] for point in points if not point["regularizer"]]
        for label, number, dash in (("start", 0, "dot"), ("SPPO, λ = 0", -1, "dash")):
            level = mean(policies[number][metric]["mean"] for policies in plain)
            figure.add_hline(level, line_dash=dash, annotation_text=label, row=1, col=column)
    figure.update_xaxes(type="log", title="λ")
    figure.update_yaxes(range=[0, 1])
    title = "SPPO under a judge that prefers the larger number, after the last iteration; bars: deviation over seeds"
    figure.update_layout(title=title)
    return figure


def by_weight(points: list[dict[str, Any]], regularizer: str, metric: str) -> dict[float, list[float]]:
    """The last policy's metric, seed by seed, by λ."""
    curve: dict[float, list[float]] = {}
    for point in sorted(points, key=lambda point: point["weight"]):
        if point["regularizer"] == regularizer:
            curve.setdefault(point["weight"], []).append(point["policies"][-1][metric]["mean"])
    return curve


def table(points: list[dict[str, Any]]) -> None:
    """Prints a line a policy."""
    for point in points:
        for policy in point["policies"]:
            cells = [
                f"{policy[name]['mean']:.{n}f} ± {policy[name]['standard_error']:.{n}f}" for name, n in METRICS.items()
            ]
            label = f"{point['regularizer'] or 'sppo'} λ {point['weight']:g}, seed {point['seed']}, {policy['policy']}"
            print(f"{label:50} " + "  ".join(cells))


def main() -> None:
    """Plays every point that is not played yet."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("folder", type=Path, help="where the runs go")
    parser.add_argument("changes", nargs="*", help="what is to be otherwise in every point, as key.path=value")
    parser.add_argument("--model", choices=MODELS, default="sums")
    parser.add_argument("--weights", type=float, nargs="+", default=[30.0, 10.0, 3.0, 1.0], help="λ of every one")
    parser.add_argument("--regularizers", nargs="+", choices=REGULARIZERS, default=list(REGULARIZERS))
    parser.add_argument("--seeds", type=int, nargs="+", default=[0, 1, 2])
    parser.add_argument("--results", type=Path, default=Path(__file__).parent / "results")
    options = parser.parse_args()
    # The runs import the rule from here.
    os.environ["PYTHONPATH"] = os.pathsep.join([str(Path(__file__).parent), os.environ.get("PYTHONPATH", "")])
    folder: Path = options.folder.absolute()
    points = []
    start, settings = MODELS[options.model]
    game = (*GAME, *settings, *options.changes)
    for seed in options.seeds:
        place = start(folder, seed)
        todo = [Point(seed=seed)]
        todo += [Point(seed=seed, regularizer=name, weight=w) for w in options.weights for name in options.regularizers]
        for point in todo:
            play(folder / point.folder, point.arguments([*place, *game]))
            points.append(measured(folder, point))
            write(options.results, options.model, game, points)
    table(points)


if __name__ == "__main__":
    main()
