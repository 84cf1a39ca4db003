"""`sparring game imitation` and `sparring game preference`: exact games from the command line."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from sparring.errors import InputError

if TYPE_CHECKING:
    from sparring.registry import Registry

app = typer.Typer(help="Play an exact tabular game with the objects that train language models.", no_args_is_help=True)

ROCK_PAPER_SCISSORS = "0.5,0,1;1,0.5,0;0,1,0.5"

Objective = Annotated[
    str,
    typer.Argument(
        metavar="OBJECTIVE[:OPTION=VALUE,...]", help="E.g. spif:beta=1,reward_bound=2, or my_module:MyObjective"
    ),
]
Opponent = Annotated[str, typer.Option(help="E.g. previous, or fictitious-play:history=3")]
Iterations = Annotated[int, typer.Option(min=1, help="How many exact best responses.")]
Html = Annotated[Path | None, typer.Option("--html", help="Write the trajectory as a page.")]
Json = Annotated[bool, typer.Option("--json", help="Print JSON for programs.")]


@app.command()
def imitation(  # noqa: PLR0917 - options of a command
    objective: Objective = "spif",
    expert: Annotated[str, typer.Option(help="π_E, comma-separated.")] = "0.6,0.3,0.1",
    initial: Annotated[str, typer.Option(help="π_0, comma-separated.")] = "0.2,0.3,0.5",
    opponent: Opponent = "previous",
    iterations: Iterations = 10,
    html: Html = None,
    json: Json = False,
) -> None:
    """Imitate an expert: the distance to π_E after every exact best response."""
    from sparring.games import ImitationGame

    game = _valid(lambda: ImitationGame(expert=_row(expert), initial=_row(initial)))
    play = _valid(lambda: game.play(_objective(objective), opponent=_opponent(opponent), iterations=iterations))
    curves = {name: getattr(play, name).tolist() for name in ("kl", "total_variation", "chi_squared", "log_error")}
    _show(f"imitation, {objective}", play, curves, html=html, as_json=json)


@app.command()
def preference(  # noqa: PLR0917 - options of a command
    objective: Objective = "sppo",
    table: Annotated[
        str,
        typer.Option("--preference", help="P(row ≻ column), rows separated by ';'; rock–paper–scissors by default."),
    ] = ROCK_PAPER_SCISSORS,
    reference: Annotated[str, typer.Option(help="π_ref = π_0, comma-separated.")] = "0.5,0.3,0.2",
    regularizer: Annotated[
        list[str] | None, typer.Option("--regularizer", "-r", help="E.g. reverse-kl:weight=0.5; may be repeated.")
    ] = None,
    opponent: Opponent = "previous",
    iterations: Iterations = 50,
    html: Html = None,
    json: Json = False,
) -> None:
    """Play for preferences: the exploitability of the last iterate and of the average."""
    import torch

    from sparring.games import PreferenceGame
    from sparring.regularizers import REGULARIZERS

    rows = [_row(row) for row in table.split(";")]
    game = _valid(lambda: PreferenceGame(preference=torch.stack(rows), reference=_row(reference)))
    penalties = [_component(REGULARIZERS, "regularizer", text) for text in regularizer or []]
    play = _valid(lambda: game.play(_objective(objective), penalties, _opponent(opponent), iterations))
    curves = {name: getattr(play, name).tolist() for name in ("exploitability", "average_exploitability")}
    _show(f"preference, {objective}", play, curves, html=html, as_json=json)


def _objective(text: str) -> Any:
    from sparring.objectives import OBJECTIVES

    return _component(OBJECTIVES, "objective", text)


def _opponent(text: str) -> Any:
    from sparring.opponents import OPPONENTS

    return _component(OPPONENTS, "opponent", text)


def _component(registry: Registry[Any], kind: str, text: str) -> Any:
    """Builds `name:option=value,option=value`, or `module:Class:option=value,…`; values are YAML."""
    from sparring.own_code import importable_from
    from sparring.registry import build
    from sparring.selfplay.config.yaml import apply_overrides

    name, _, options = text.partition(":")
    attribute, _, more = options.partition(":")
    if attribute and "=" not in attribute and name not in registry:
        # A game has no configuration, so modules are looked for in the current folder.
        importable_from(Path.cwd())
        name, options = f"{name}:{attribute}", more
    return build(registry, kind, name, apply_overrides({}, options.split(",") if options else []))


def _row(text: str) -> Any:
    import torch

    try:
        return torch.tensor([float(part) for part in text.split(",")], dtype=torch.float64)
    except ValueError as error:
        raise InputError(f"'{text}' is not a comma-separated list of numbers", fix="write e.g. 0.6,0.3,0.1") from error


def _valid(make: Callable[[], Any]) -> Any:
    """Makes something of the games, and turns their errors into InputError."""
    try:
        return make()
    except InputError:
        raise
    except (ValueError, RuntimeError) as error:
        raise InputError(str(error), where="game") from error


def _show(title: str, play: Any, curves: Mapping[str, Sequence[float]], *, html: Path | None, as_json: bool) -> None:
    from sparring.cli.output import out, print_json, print_lines
    from sparring.reports.trajectory import table, write_page

    policies = play.policies.tolist()
    if html is not None:
        write_page(html, title, policies, curves)
    if as_json:
        print_json({"policies": policies, **curves, "stopped": play.stopped, "page": str(html) if html else None})
        return
    out.print(table(title, policies, curves))
    if play.stopped is not None:
        print_lines([f"stopped: {play.stopped}"])
    if html is not None:
        print_lines([f"page: {html.resolve()}"])
