"""Does a judge that can be gamed spoil a language model, and do RSPO's regularizers hold it?

    python benchmarks/over_optimisation.py FOLDER [--weights 1 10] [--seeds 0] [--results benchmarks/results]

The judge prefers the longer answer to a word problem, whatever it says. One warm-up for each seed teaches SmolLM2 the
answers' format; every point is then a run of its own from there, with SPPO and perhaps one regularizer at one weight λ,
in its own folder below FOLDER. Started again, the command goes on where it was stopped, also within a run. It prints
a table and writes over_optimisation.json and over_optimisation.html, after every point.

To go on with one run by hand: `PYTHONPATH=benchmarks sparring resume --trust-remote-code FOLDER/seed-0/sppo`.
"""

from __future__ import annotations

import argparse
import json
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import plotly.graph_objects as go
from plotly.subplots import make_subplots

from measuring import hardware, versions
from sparring.reports.summary import summarize
from sparring.run_directory import RunDirectory
from sparring.training.config import SelfPlayConfig
from sparring.training.export import export
from sparring.training.loop import resume, run

# The smallest set-up in which the effect is there: the step is large (η = 10 asks for ±5 nats an iteration).
DATA = {"source": "arithmetic", "difficulty": 1, "held_out": 24, "max_response_tokens": 40}
WARM_UP = {
    "iterations": 1,
    "model": {"name": "smollm2-135m"},
    "data": DATA | {"limit": 64},
    "objective": {"name": "sft"},
    "generation": {"batch_size": 24},
    "training": {"learning_rate": 1e-4, "num_train_epochs": 3, "per_device_train_batch_size": 4},
}
GAME = {
    "iterations": 2,
    "data": DATA | {"limit": 12},
    "judge": {"name": "verifier", "rule": "over_optimisation:length"},
    "objective": {"name": "sppo", "eta": 10.0},
    "generation": {"samples_per_prompt": 4, "batch_size": 48},
    "lora": {"r": 16, "lora_alpha": 32},
    "training": {
        "learning_rate": 1e-3,
        "num_train_epochs": 2,
        "per_device_train_batch_size": 2,
        "lr_scheduler_type": "constant",
    },
    # The collapse is what is to be seen.
    "stop": {"enabled": False},
}
REVERSE, FORWARD = {"name": "reverse-kl"}, {"name": "forward-kl"}
REGULARIZERS: dict[str, tuple[dict[str, Any], ...]] = {
    "reverse-kl": (REVERSE,),
    "forward-kl": (FORWARD,),
    "chi-squared": ({"name": "chi-squared"},),
    "reverse and forward": (REVERSE, FORWARD),
}
METRICS = {"accuracy/greedy": 3, "accuracy/sampled": 3, "length/sampled": 1, "kl_to_base": 2}


def length(response: str, expert: str) -> int:  # noqa: ARG001 - a rule is given both
    """The rule of the judge: longer is better."""
    return len(response)


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
        return Path(f"seed-{self.seed}") / name

    def settings(self, start: Path) -> dict[str, Any]:
        """The run's configuration."""
        penalties = [item | {"weight": self.weight} for item in REGULARIZERS.get(self.regularizer, ())]
        return GAME | {"model": {"name": str(start)}, "regularizers": penalties, "seed": self.seed}


def play(folder: Path, settings: dict[str, Any]) -> None:
    """Plays a run, goes on with it, or finds it played."""
    config, directory = SelfPlayConfig.from_mapping(settings | {"output": str(folder)}), RunDirectory(folder)
    if not directory.config.exists():
        run(config)
    elif directory.config.read_text(encoding="utf-8") != config.to_yaml():
        raise SystemExit(f"{folder} holds a run with other settings; remove it, or take another folder")
    elif not directory.result.exists():
        resume(folder, trust_remote_code=True)


def warm_up(folder: Path, seed: int) -> Path:
    """The model that every point of a seed starts from."""
    start = folder / f"seed-{seed}" / "start"
    play(start / "run", WARM_UP | {"seed": seed})
    if not (start / "model").exists():
        export(start / "run", start / "model", "iterations/000")
    return start / "model"


def measured(folder: Path, point: Point) -> dict[str, Any]:
    """What the run says of its policies, from the start to the last."""
    rows = summarize(folder / point.folder).rows
    policies = [{name: row.estimates[name] for name in METRICS} | {"policy": row.name} for row in rows]
    return {"seed": point.seed, "regularizer": point.regularizer, "weight": point.weight, "policies": policies}


def write(results: Path, points: list[dict[str, Any]]) -> None:
    """The numbers, and the figure of them."""
    settings = {"warm_up": WARM_UP, "game": GAME, "regularizers": REGULARIZERS}
    report = {"hardware": hardware(), "versions": versions("peft"), "settings": settings, "points": points}
    results.mkdir(parents=True, exist_ok=True)
    (results / "over_optimisation.json").write_text(json.dumps(report, indent=1, ensure_ascii=False) + "\n")
    draw(points).write_html(results / "over_optimisation.html", include_plotlyjs="cdn")


def draw(points: list[dict[str, Any]]) -> go.Figure:
    """Accuracy, and what the judge rewards, of the last policy by λ; lines for the start and for plain SPPO."""
    names = {"accuracy/greedy": "right answers, held out, greedy", "length/sampled": "tokens an answer"}
    figure = make_subplots(1, len(names), subplot_titles=list(names.values()))
    for column, metric in enumerate(names, start=1):
        plain = [point for point in points if not point["regularizer"]]
        for label, number, dash in (("start", 0, "dot"), ("SPPO, λ = 0", -1, "dash")):
            level = sum(point["policies"][number][metric]["mean"] for point in plain) / len(plain)
            figure.add_hline(level, line_dash=dash, annotation_text=label, row=1, col=column)
        for colour, name in enumerate(REGULARIZERS):
            mine = [point for point in points if point["regularizer"] == name]
            last = [point["policies"][-1][metric] for point in mine]
            figure.add_scatter(
                x=[point["weight"] for point in mine],
                y=[value["mean"] for value in last],
                error_y={"array": [value["standard_error"] for value in last]},
                mode="lines+markers",
                name=name,
                legendgroup=name,
                showlegend=column == 1,
                line_color=f"rgb{((42, 157, 143), (231, 111, 81), (38, 70, 83), (233, 196, 106))[colour]}",
                row=1,
                col=column,
            )
    figure.update_xaxes(type="log", title="λ")
    figure.update_layout(title="SPPO under a judge that prefers the longer answer, after the last iteration")
    return figure


def main() -> None:
    """Plays every point that is not played yet, and prints the table."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("folder", type=Path, help="where the runs go")
    parser.add_argument("--weights", type=float, nargs="+", default=[10.0, 1.0], help="λ of every regularizer")
    parser.add_argument("--seeds", type=int, nargs="+", default=[0])
    parser.add_argument("--results", type=Path, default=Path(__file__).parent / "results")
    options = parser.parse_args()
    folder: Path = options.folder.absolute()
    points = []
    for seed in options.seeds:
        start = warm_up(folder, seed)
        todo = [Point(seed=seed)]
        todo += [Point(seed=seed, regularizer=name, weight=w) for w in options.weights for name in REGULARIZERS]
        for point in todo:
            play(folder / point.folder, point.settings(start))
            points.append(measured(folder, point))
            write(options.results, points)
    for point in points:
        for policy in point["policies"]:
            values = (
                f"{policy[name]['mean']:.{n}f} ± {policy[name]['standard_error']:.{n}f}" for name, n in METRICS.items()
            )
            label = f"{point['regularizer'] or 'sppo'} λ {point['weight']:g}, seed {point['seed']}, {policy['policy']}"
            print(f"{label:55} " + "  ".join(values))


if __name__ == "__main__":
    main()
