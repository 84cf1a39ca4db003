"""How wrong are estimates of KL(π_θ‖π_ref) from an opponent's samples, and where does self-play with them settle?

    python benchmarks/reverse_kl_bias.py [--results benchmarks/results]        # seconds on one core

Everything is exact, on distributions of a few outcomes, where an expectation is a sum. First, values and gradients of
each estimator while the policy moves away from the opponent π_o whose samples it gets. Second, how noisy the gradient
of one sample is where an iteration starts. Then RSPO (`sppo` with one regularizer) played by exact best responses: how
far the first best response is from the one to the true regularised loss, and how far the last policy is from the
equilibrium of the game that the regularizer is meant for. It prints tables and writes reverse_kl_bias.json and
reverse_kl_bias.html.
"""

from __future__ import annotations

import argparse
import json
from functools import partial
from pathlib import Path
from typing import Any

import plotly.graph_objects as go
import torch
from plotly.subplots import make_subplots
from torch import Tensor

from sparring.games import PreferenceGame
from sparring.log_ratios import LogRatios
from sparring.objectives import OBJECTIVES
from sparring.regularizers import REGULARIZERS, ReverseKl
from sparring.types import Regularizer

OUTCOMES, SEED = 8, 0
# How far along the way from π_o the policy is, as a share of a direction drawn at random.
STEPS = [0.0, 0.05, 0.1, 0.2, 0.3, 0.5, 0.7, 1.0, 1.4, 2.0]
ESTIMATORS: dict[str, dict[str, Any]] = {
    "k2, unweighted (published)": {"estimator": "k2"},
    "k1, unweighted": {"estimator": "k1"},
    "k3, unweighted": {"estimator": "k3"},
    "k1, importance": {"estimator": "k1", "importance": True},
    "k3, importance": {"estimator": "k3", "importance": True},
}
COLOURS = ["#e76f51", "#e9c46a", "#f4a261", "#264653", "#2a9d8f"]
# The penalty's weight in the game, and steps: λ = τη plays the same game at every η.
TAU, ETAS, ITERATIONS = 0.5, (1.0, 5.0), 200
# Label, regularizer, its settings, and the penalty that it stands for.
GAMES: list[tuple[str, str, dict[str, Any], str]] = [
    *[(f"reverse-kl {label}", "reverse-kl", settings, "reverse-kl") for label, settings in ESTIMATORS.items()],
    ("forward-kl e^−δ, unweighted (published)", "forward-kl", {"samples": "generated"}, "forward-kl"),
    ("forward-kl, importance", "forward-kl", {"samples": "generated", "importance": True}, "forward-kl"),
    ("forward-kl, reference samples", "forward-kl", {}, "forward-kl"),
    (
        "chi-squared e^δ, unweighted (published)",
        "chi-squared",
        {"estimator": "k1", "importance": False},
        "chi-squared",
    ),
    *[(f"chi-squared {k}, importance", "chi-squared", {"estimator": k}, "chi-squared") for k in ("k1", "k3")],
]
# Regularizer and settings of which the noise is computed, and whether its samples are the reference's.
NOISY: dict[str, tuple[str, dict[str, Any], bool]] = {
    "reverse-kl k2, unweighted": ("reverse-kl", {}, False),
    "reverse-kl k1, importance": ("reverse-kl", {"estimator": "k1", "importance": True}, False),
    "reverse-kl k3, importance": ("reverse-kl", {"estimator": "k3", "importance": True}, False),
    "forward-kl, reference samples": ("forward-kl", {}, True),
    "chi-squared k1, importance": ("chi-squared", {"estimator": "k1"}, False),
    "chi-squared k3, importance": ("chi-squared", {"estimator": "k3"}, False),
}


def players() -> tuple[Tensor, Tensor, Tensor]:
    """`[n]` each: log π_ref, log π_o, and the direction in which the policy leaves π_o."""
    generator = torch.Generator().manual_seed(SEED)
    reference, away, direction = torch.randn(3, OUTCOMES, generator=generator, dtype=torch.float64)
    return reference.log_softmax(0), (reference + 0.5 * away).log_softmax(0), direction


def estimate(settings: dict[str, Any], log_policy: Tensor, log_opponent: Tensor, log_reference: Tensor) -> Tensor:
    """What the estimator is in expectation over samples of π_o: all outcomes, weighed by π_o."""
    ratios = LogRatios(
        generated=(log_policy - log_opponent)[None],
        generated_weight=log_opponent.exp()[None],
        reference_generated=(log_policy - log_reference)[None],
    )
    return ReverseKl(weight=1.0, **settings)(ratios).loss[0]


def along_the_way() -> list[dict[str, Any]]:
    """For each step away from π_o: every estimator's value, the error of its gradient, and the weights' variance."""
    log_reference, log_opponent, direction = players()
    rows = []
    for step in STEPS:
        logits = (log_opponent + step * direction).requires_grad_()
        log_policy = logits.log_softmax(0)
        truth = (log_policy.exp() * (log_policy - log_reference)).sum()
        (slope,) = torch.autograd.grad(truth, logits, retain_graph=True)
        row: dict[str, Any] = {
            "step": step,
            "kl_to_opponent": (log_policy.exp() * (log_policy - log_opponent)).sum().item(),
            "kl_to_reference": truth.item(),
            # By this factor weighting divides the number of samples that count.
            "mean_square_weight": (2.0 * log_policy - log_opponent).exp().sum().item(),
        }
        for name, settings in ESTIMATORS.items():
            value = estimate(settings, log_policy, log_opponent, log_reference)
            (found,) = torch.autograd.grad(value, logits, retain_graph=True)
            error = (found - slope).norm() / slope.norm()
            row[name] = {"value_error": (value - truth).item(), "gradient_error": error.item()}
        rows.append(row)
    return rows


def noise() -> list[dict[str, Any]]:
    """Where π_o = π_θ is off π_ref: the mean gradient of one sample at λ = 1, in the logits, and its deviation.

    In a direction drawn at random, and where the policy is the reference sharpened, π_ref^s.
    """
    log_reference, _, direction = players()
    ways = {"random": direction, "sharper": log_reference}
    rows = []
    for way, step in ((way, step) for way in ways for step in STEPS):
        logits = log_reference + step * ways[way]
        log_opponent = logits.log_softmax(0)
        row: dict[str, Any] = {
            "way": way,
            "step": step,
            "kl_to_reference": float((log_opponent.exp() * (log_opponent - log_reference)).sum()),
        }
        for label, (name, settings, of_reference) in NOISY.items():
            each = partial(of_one_sample, REGULARIZERS[name](weight=1.0, **settings), log_opponent, log_reference)
            gradients = torch.autograd.functional.jacobian(each, logits)
            drawn = (log_reference if of_reference else log_opponent).exp()
            mean = drawn @ gradients
            deviation = (drawn @ (gradients - mean).square().sum(1)).sqrt()
            row[label] = {"gradient": float(mean.norm()), "deviation": float(deviation)}
        rows.append(row)
    return rows


def of_one_sample(penalty: Regularizer, log_opponent: Tensor, log_reference: Tensor, logits: Tensor) -> Tensor:
    """`[n]`: the penalty with each outcome as the only sample."""
    log_policy = logits.log_softmax(0)
    ratios = LogRatios(
        generated=(log_policy - log_opponent)[:, None],
        reference_generated=(log_policy - log_reference)[:, None],
        policy_reference=log_policy[:, None],
    )
    return penalty(ratios).loss


def game() -> PreferenceGame:
    """A random table of preferences, cycles among them, and a random reference."""
    generator = torch.Generator().manual_seed(SEED)
    scores = torch.randn(OUTCOMES, OUTCOMES, generator=generator, dtype=torch.float64)
    reference = torch.randn(OUTCOMES, generator=generator, dtype=torch.float64).softmax(0)
    return PreferenceGame(preference=torch.sigmoid(scores - scores.T), reference=reference)


def settled(eta: float) -> list[dict[str, Any]]:
    """Where RSPO with each regularizer goes, beside the equilibria of the three games."""
    table, objective, weight = game(), OBJECTIVES["sppo"](eta=eta), TAU * eta
    exact = {"reverse-kl": {"estimator": "k3", "importance": True}, "forward-kl": {}, "chi-squared": {}}
    rows = []
    for label, name, settings, kind in GAMES:
        play = table.play(objective, [REGULARIZERS[name](weight=weight, **settings)], iterations=ITERATIONS)
        right = table.play(objective, [REGULARIZERS[kind](weight=weight, **exact[kind])], iterations=1)
        equilibria = {other: table.regularized_equilibrium(TAU, other) for other in exact}
        half = table.regularized_equilibrium(TAU / 2, kind)
        rows.append(
            {
                "eta": eta,
                "regularizer": label,
                "penalty": kind,
                "first_step": distance(play.policies[1], right.policies[1]),
                "to_its_equilibrium": distance(play.policies[-1], equilibria[kind]),
                "to_the_equilibrium_at_half_weight": distance(play.policies[-1], half),
                "to_the_equilibria": {k: distance(play.policies[-1], v) for k, v in equilibria.items()},
                "regularized_exploitability": table.regularized_exploitability(play.policies[-1], TAU, kind),
                "moved_in_the_last_iteration": distance(play.policies[-1], play.policies[-2]),
            }
        )
    return rows


def distance(one: Tensor, other: Tensor) -> float:
    """Total variation."""
    return 0.5 * float((one - other).abs().sum())


def draw(way: list[dict[str, Any]], rows: list[dict[str, Any]]) -> go.Figure:
    """Errors of value and gradient along the way, and the distance of the fixed points."""
    titles = ("error of the value, nats", "error of the gradient, relative", "fixed point to its equilibrium (TV)")
    figure = make_subplots(1, 3, subplot_titles=titles, column_widths=[0.3, 0.3, 0.4], horizontal_spacing=0.12)
    x = [row["kl_to_opponent"] for row in way]
    for colour, name in zip(COLOURS, ESTIMATORS, strict=True):
        for column, key in enumerate(("value_error", "gradient_error"), start=1):
            figure.add_scatter(
                x=x,
                y=[row[name][key] for row in way],
                name=name,
                legendgroup=name,
                showlegend=column == 1,
                line_color=colour,
                row=1,
                col=column,
            )
    rows = [row for row in rows if row["eta"] == ETAS[0]]
    figure.add_bar(
        x=[max(row["to_its_equilibrium"], 1e-16) for row in rows],
        y=[row["regularizer"] for row in rows],
        orientation="h",
        showlegend=False,
        marker_color="#6c757d",
        row=1,
        col=3,
    )
    figure.update_xaxes(title="KL(π_θ‖π_o), nats", row=1, col=1)
    figure.update_xaxes(title="KL(π_θ‖π_o), nats", row=1, col=2)
    figure.update_xaxes(type="log", row=1, col=3)
    figure.update_yaxes(autorange="reversed", row=1, col=3)
    figure.update_layout(title="KL(π_θ‖π_ref) from samples of π_o", legend={"orientation": "h", "y": -0.2})
    return figure


def main() -> None:
    """Computes, prints and writes."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--results", type=Path, default=Path(__file__).parent / "results")
    results: Path = parser.parse_args().results
    torch.set_num_threads(1)
    way, noisy, rows = along_the_way(), noise(), [row for eta in ETAS for row in settled(eta)]
    settings = {"outcomes": OUTCOMES, "seed": SEED, "tau": TAU, "iterations": ITERATIONS}
    report = {"settings": settings, "along_the_way": way, "noise": noisy, "settled": rows}
    results.mkdir(parents=True, exist_ok=True)
    (results / "reverse_kl_bias.json").write_text(json.dumps(report, indent=1, ensure_ascii=False) + "\n")
    draw(way, rows).write_html(results / "reverse_kl_bias.html", include_plotlyjs="cdn")
    for row in way:
        cells = [f"{row[name]['value_error']:+.3f} {row[name]['gradient_error']:6.3f}" for name in ESTIMATORS]
        print(f"KL to π_o {row['kl_to_opponent']:.3f}  E w² {row['mean_square_weight']:7.2f}  " + "  ".join(cells))
    for row in noisy:
        cells = [f"{row[name]['gradient']:.3f} ± {row[name]['deviation']:.3f}" for name in NOISY]
        print(f"{row['way']}, KL to π_ref {row['kl_to_reference']:.3f}  gradient of one sample: {'  '.join(cells)}")
    for row in rows:
        print(
            f"η {row['eta']:g} {row['regularizer']:45} first step {row['first_step']:.1e}  to its equilibrium "
            f"{row['to_its_equilibrium']:.1e}  at half weight {row['to_the_equilibrium_at_half_weight']:.1e}  "
            f"others {', '.join(f'{k} {v:.1e}' for k, v in row['to_the_equilibria'].items())}"
        )


if __name__ == "__main__":
    main()
