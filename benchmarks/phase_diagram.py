"""Phase diagram of exact self-play: objective × β × R → converges, cycles, diverges; and how fast.

    python benchmarks/phase_diagram.py OUT          # writes OUT/phase_diagram.json and OUT/phase_diagram.html

Each cell is one exact play from far away (total variation 0.6) on four outcomes, 40 iterations against the previous
policy. The rate is the factor by which the error in log π shrinks or grows an iteration, beside the one that the
stability number predicts near the expert.
"""

from __future__ import annotations

import argparse
import json
from collections.abc import Mapping
from pathlib import Path

import plotly.graph_objects as go
import torch

from sparring.games import ImitationGame, ImitationPlay, stability
from sparring.objectives import OBJECTIVES

BETAS = [0.1, 0.2, 0.3, 0.4, 0.45, 0.5, 0.55, 0.6, 0.8, 1.0, 1.5, 2.0, 4.0]
ROWS: list[tuple[str, Mapping[str, float | str]]] = [
    *[("spin", {"link": link}) for link in ("logistic", "exponential", "squared")],
    *[("spif", {"reward_bound": bound}) for bound in (0.5, 1.0, 2.0, 4.0)],
    *[("space", {"mu": mu}) for mu in (0.3, 1.0, 3.0)],
    *[("f-divergence", {"divergence": name}) for name in ("js", "squared_hellinger", "kl", "reverse_kl")],
    ("renyi", {"alpha": 0.5}),
]
VERDICTS = ["converges", "cycles", "diverges", "out of range"]
COLOURS = ["#2a9d8f", "#e9c46a", "#e76f51", "#6c757d"]
ITERATIONS = 40
GAME = ImitationGame(
    expert=torch.tensor([0.55, 0.25, 0.15, 0.05], dtype=torch.float64),
    initial=torch.tensor([0.1, 0.1, 0.3, 0.5], dtype=torch.float64),
)


def judge(play: ImitationPlay, predicted: float) -> tuple[str, float | None]:
    """What the play did, and the factor an iteration over its last resolved errors (None where it took one step).

    A play that leaves float64's range diverges if it grew as predicted all the way; if it grew by less, as with a
    bounded reward, it may be on a cycle too wide to resolve.
    """
    error = play.log_error
    if play.stopped is not None:
        rate = float(error[1] / error[0])
        return ("diverges" if rate > 0.99 * predicted else "out of range"), rate
    resolved = error[error > 1e-9]
    span = min(8, len(resolved) - 1)
    last = float((resolved[-1] / resolved[-1 - span]) ** (1 / span)) if span > 0 else None
    settled = len(resolved) < len(error) or (last is not None and last < 0.98)
    return ("converges" if settled else "cycles"), last


def cell(name: str, settings: Mapping[str, float | str], beta: float) -> dict[str, object]:
    """One play."""
    objective = OBJECTIVES[name](beta=beta, **settings)
    number = stability(objective)
    assert number is not None
    predicted = number.contraction_factor
    verdict, rate = judge(GAME.play(objective, iterations=ITERATIONS), predicted)
    label = f"{name} {', '.join(f'{key} {value}' for key, value in settings.items())}"
    return {"row": label, "beta": beta, "verdict": verdict, "rate": rate, "predicted": predicted}


def draw(cells: list[dict[str, object]]) -> go.Figure:
    """The heat map: colour is the verdict, the number is the rate."""
    rows = list(dict.fromkeys(str(entry["row"]) for entry in cells))
    table = {(entry["row"], entry["beta"]): entry for entry in cells}
    steps = [(edge, colour) for index, colour in enumerate(COLOURS) for edge in (index / 4, (index + 1) / 4)]
    figure = go.Figure(
        go.Heatmap(
            x=[str(beta) for beta in BETAS],
            y=rows,
            z=[[VERDICTS.index(str(table[row, beta]["verdict"])) + 0.5 for beta in BETAS] for row in rows],
            text=[[_number(table[row, beta]["rate"]) for beta in BETAS] for row in rows],
            customdata=[[_number(table[row, beta]["predicted"]) for beta in BETAS] for row in rows],
            texttemplate="%{text}",
            hovertemplate="%{y}, β = %{x}<br>rate %{text}, predicted %{customdata}<extra></extra>",
            colorscale=steps,
            zmin=0,
            zmax=4,
            colorbar={"tickvals": [0.5, 1.5, 2.5, 3.5], "ticktext": VERDICTS},
            xgap=1,
            ygap=1,
        )
    )
    figure.update_layout(title="Exact self-play against the previous policy: error factor an iteration")
    figure.update_xaxes(title="β", type="category")
    figure.update_yaxes(autorange="reversed")
    return figure


def _number(value: object) -> str:
    return f"{value:.2f}" if isinstance(value, float) else "–"


def main() -> None:
    """Plays every cell, prints the table, writes both files."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("folder", type=Path, help="where phase_diagram.json and phase_diagram.html go")
    folder: Path = parser.parse_args().folder
    cells = [cell(name, settings, beta) for name, settings in ROWS for beta in BETAS]
    folder.mkdir(parents=True, exist_ok=True)
    (folder / "phase_diagram.json").write_text(json.dumps(cells, indent=1, ensure_ascii=False) + "\n")
    draw(cells).write_html(folder / "phase_diagram.html", include_plotlyjs=True)
    for entry in cells:
        print(
            f"{entry['row']:36} β {entry['beta']:<5} {entry['verdict']:12} {_number(entry['rate'])} "
            f"(predicted {_number(entry['predicted'])})"
        )


if __name__ == "__main__":
    main()
