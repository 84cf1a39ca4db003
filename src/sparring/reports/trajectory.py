"""The trajectory of an exact game as a table for the terminal, and as a page."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path

from plotly.subplots import make_subplots
from rich.table import Table

from sparring.files import write_text
from sparring.reports.sparkline import BLOCKS, sparkline

_ROWS = 12


def table(title: str, policies: Sequence[Sequence[float]], curves: Mapping[str, Sequence[float]]) -> Table:
    """A table of some iterations, first and last included: the policy as one bar an outcome, and the curves' values.

    The last row draws each curve over all iterations, on a logarithmic scale.
    """
    result = Table(title=title, title_justify="left")
    result.add_column("iteration", justify="right")
    result.add_column("policy")
    for name in curves:
        result.add_column(name.replace("_", " "), justify="right")
    last = len(policies) - 1
    for t in sorted({round(n * last / min(_ROWS, last or 1)) for n in range(min(_ROWS, last or 1) + 1)}):
        bars = "".join(BLOCKS[round(probability * 8)] for probability in policies[t])
        values = " ".join(f"{probability:.3f}" for probability in policies[t][:4])
        result.add_row(str(t), f"{bars} {values}", *(f"{values_[t]:.3g}" for values_ in curves.values()))
    result.add_section()
    result.add_row("all", "", *(sparkline(values_, logarithmic=True) for values_ in curves.values()))
    return result


def comparison(title: str, plays: Sequence[tuple[str, str, Mapping[str, Sequence[float]], str]]) -> Table:
    """A table of plays of one game, a row each.

    Args:
        title: The game.
        plays: For each play its name; its stability number against the opponent `previous`, whatever its opponent, with
            the factor of the error in each iteration ("" if not asked for); its curves, whose last values are shown;
            and why it stopped early. A play that failed has no curves.
    """
    names = list(dict.fromkeys(name for _, _, curves, _ in plays for name in curves))
    known, stopped = (any(play[place] for play in plays) for place in (1, 3))
    result = Table(title=title, title_justify="left")
    result.add_column("objective", overflow="fold")
    if known:
        result.add_column("stability against 'previous', error an iteration")
    for name in names:
        result.add_column(f"{name.replace('_', ' ')}, last", justify="right")
    result.add_column("from first to last")
    if stopped:
        result.add_column("stopped")
    for objective, number, curves, why in plays:
        last = [f"{curves[name][-1]:.3g}" if name in curves else "" for name in names]
        drawn = sparkline(curves[names[0]], logarithmic=True) if names and names[0] in curves else ""
        result.add_row(objective, *([number] if known else []), *last, drawn, *([why] if stopped else []))
    return result


def write_page(
    path: Path, title: str, policies: Sequence[Sequence[float]], curves: Mapping[str, Sequence[float]]
) -> None:
    """Writes a self-contained page: the probabilities of outcomes, and the curves on a logarithmic scale."""
    figure = make_subplots(rows=2, cols=1, shared_xaxes=True, subplot_titles=("policy", "distance"))
    for outcome in range(len(policies[0])):
        probabilities = [policy[outcome] for policy in policies]
        figure.add_scatter(y=probabilities, name=f"outcome {outcome}", mode="lines+markers", row=1, col=1)
    for name, values in curves.items():
        figure.add_scatter(y=list(values), name=name.replace("_", " "), mode="lines+markers", row=2, col=1)
    figure.update_yaxes(range=[0, 1], row=1, col=1)
    figure.update_yaxes(type="log", row=2, col=1)
    figure.update_layout(title=title, height=800)
    figure.update_xaxes(title="iteration", row=2, col=1)
    write_text(path, figure.to_html(include_plotlyjs=True))
