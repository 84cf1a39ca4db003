"""`sparring game imitation` and `sparring game preference`: exact games from the command line."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from sparring.errors import InputError

if TYPE_CHECKING:
    from sparring.games import ImitationGame, PreferenceGame
    from sparring.games.players import ExactGame
    from sparring.registry import Registry
    from sparring.types import Opponent, Regularizer, StabilityNumber

app = typer.Typer(help="Play an exact tabular game with the objects that train language models.", no_args_is_help=True)

ROCK_PAPER_SCISSORS = "0.5,0,1;1,0.5,0;0,1,0.5"
_SAMPLES = 3  # of each prompt, where a loss is tried


def _objectives(example: str) -> Any:
    told = f"E.g. {example}, or my_module:MyObjective; several are compared."
    return typer.Argument(metavar="[OBJECTIVE[:OPTION=VALUE,...]]...", help=told)


Regularizers = Annotated[
    list[str] | None, typer.Option("--regularizer", "-r", help="E.g. reverse-kl:weight=0.5; may be repeated.")
]
Against = Annotated[str, typer.Option(help="E.g. previous, or fictitious-play:history=3")]
Iterations = Annotated[int, typer.Option(min=1, help="How many exact best responses.")]
Html = Annotated[Path | None, typer.Option("--html", help="Write the trajectory as a page, of one objective.")]
Json = Annotated[bool, typer.Option("--json", help="Print JSON for programs.")]


@app.command()
def imitation(  # noqa: PLR0917 - options of a command
    objectives: Annotated[list[str] | None, _objectives("spif:beta=1,reward_bound=2")] = None,
    expert: Annotated[str, typer.Option(help="π_E, comma-separated.")] = "0.6,0.3,0.1",
    initial: Annotated[str, typer.Option(help="π_0 = π_ref, comma-separated.")] = "0.2,0.3,0.5",
    regularizer: Regularizers = None,
    opponent: Against = "previous",
    iterations: Iterations = 10,
    html: Html = None,
    json: Json = False,
) -> None:
    """Imitate an expert, by spif or other objectives: the distance to π_E after every exact best response."""
    from sparring.games import ImitationGame
    from sparring.games.stability import stability_or_reason

    game = _valid(lambda: ImitationGame(expert=_row("expert", expert), initial=_row("initial", initial)))
    penalties, against = _penalties(regularizer or []), _opponent(opponent)
    played = [
        _play(text, penalties, game, against, iterations, curves=_DISTANCES, number=stability_or_reason)
        for text in objectives or ["spif"]
    ]
    _show("imitation", played, html=html, as_json=json)


@app.command()
def preference(  # noqa: PLR0917 - options of a command
    objectives: Annotated[list[str] | None, _objectives("sppo:eta=1")] = None,
    table: Annotated[
        str,
        typer.Option("--preference", help="P(row ≻ column), rows separated by ';'; rock–paper–scissors by default."),
    ] = ROCK_PAPER_SCISSORS,
    reference: Annotated[str, typer.Option(help="π_ref = π_0, comma-separated.")] = "0.5,0.3,0.2",
    regularizer: Regularizers = None,
    opponent: Against = "previous",
    iterations: Iterations = 50,
    html: Html = None,
    json: Json = False,
) -> None:
    """Play for preferences, by sppo or other objectives: the exploitability of the last iterate and the average."""
    import torch

    from sparring.games import PreferenceGame

    rows = [_row("preference", row) for row in table.split(";")]
    game = _valid(lambda: PreferenceGame(preference=torch.stack(rows), reference=_row("reference", reference)))
    penalties, against = _penalties(regularizer or []), _opponent(opponent)
    played = [
        _play(text, penalties, game, against, iterations, curves=_EXPLOITABILITIES, number=lambda _: None)
        for text in objectives or ["sppo"]
    ]
    _show("preference", played, html=html, as_json=json)


_DISTANCES = ("kl", "total_variation", "chi_squared", "log_error")
_EXPLOITABILITIES = ("exploitability", "average_exploitability")


@dataclass(frozen=True, kw_only=True)
class _Played:
    """An objective's play with its regularizers.

    `problem` says why there is no play, or why it stopped early. `stability` is its stability number, or why it has
    none; None in a preference game, where it would depend on the preferences. `of_two` is whether the objective learns
    from the best and the worst outcome only.
    """

    objective: str
    regularizers: list[str]
    stability: StabilityNumber | str | None
    of_two: bool
    policies: list[list[float]] = field(default_factory=list)
    curves: dict[str, list[float]] = field(default_factory=dict)
    problem: str | None = None

    def to_json(self) -> dict[str, Any]:
        number = None if isinstance(self.stability, str) else self.stability and self.stability.to_json()
        ended = {"policies": self.policies, **self.curves, "stopped": self.problem}
        return {"objective": self.objective, "regularizers": self.regularizers, "stability": number} | ended

    @property
    def name(self) -> str:
        """The objective and its regularizers, as written on the command line."""
        return " + ".join([self.objective, *self.regularizers])

    def row(self) -> tuple[str, str, dict[str, list[float]], str]:
        """The row of the play for `comparison`."""
        number = self.stability
        known = "none" if isinstance(number, str) else ""
        if number is not None and not isinstance(number, str):
            known = f"{number.symbol} = {number.value:g}, × {number.contraction_factor:.2g}"
        return self.name, known, self.curves, self.problem or ""


def _play(
    text: str,
    penalties: Sequence[tuple[str, Regularizer]],
    game: ImitationGame | PreferenceGame,
    opponent: Opponent,
    iterations: int,
    *,
    curves: Sequence[str],
    number: Callable[[Any], StabilityNumber | str | None],
) -> _Played:
    """Plays an objective that is written on the command line, with its regularizers."""
    from sparring.games.newton import NoMinimiserError
    from sparring.objectives import OBJECTIVES
    from sparring.regularizers import Regularized

    objective = _component(OBJECTIVES, "objective", text)
    for kind, written, each in (("objective", text, objective), *(("regularizer", *each) for each in penalties)):
        _check_given(f"{kind} '{written}'", each.requires, game)
    whole = _valid(lambda: Regularized(objective, tuple(each for _, each in penalties))) if penalties else objective
    known = _valid(lambda: number(whole))
    unplayed = _Played(
        objective=text,
        regularizers=[written for written, _ in penalties],
        stability=known,
        of_two=getattr(objective, "pairs", None) == "best-worst",
    )
    try:
        played = _valid(lambda: game.play(whole, opponent=opponent, iterations=iterations))
    except NoMinimiserError as error:
        return replace(unplayed, problem=str(error))
    return replace(
        unplayed,
        policies=played.policies.tolist(),
        curves={name: getattr(played, name).tolist() for name in curves},
        problem=played.stopped,
    )


def _check_given(where: str, requires: frozenset[str], game: ExactGame) -> None:
    """Raises InputError if an objective or a regularizer reads fields that only the other game has."""
    from sparring.log_ratios import EXPERT_FIELDS, PREFERENCE_FIELDS

    start = game.initial.log()
    missing = requires - game.ratios(start, start, start.exp()).present().keys()
    if not missing:
        return
    none, other = ("preference", "preference") if missing <= PREFERENCE_FIELDS else ("expert", "imitation")
    both = requires & EXPERT_FIELDS and requires & PREFERENCE_FIELDS
    fix = "no exact game has an expert and preferences" if both else f"`sparring game {other}` plays it"
    raise InputError(f"it reads {', '.join(sorted(missing))}, and this game has no {none}", where=where, fix=fix)


def _penalties(texts: Sequence[str]) -> list[tuple[str, Regularizer]]:
    """The regularizers, each with its text on the command line."""
    from sparring.regularizers import REGULARIZERS

    return [(text, _component(REGULARIZERS, "regularizer", text)) for text in texts]


def _opponent(text: str) -> Any:
    from sparring.opponents import OPPONENTS

    return _component(OPPONENTS, "opponent", text)


def _component(registry: Registry[Any], kind: str, text: str) -> Any:
    """Builds `name:option=value,option=value`, or `module:Class:option=value,…`; values are YAML.

    The user's own components are tried first, as before a run, since a game would not reveal all faults: it has every
    log ratio, and sums over the loss.
    """
    from sparring.own_code import importable_from, is_own
    from sparring.registry import build
    from sparring.selfplay.config.yaml import apply_overrides
    from sparring.trials import try_loss, try_opponent

    name, _, options = text.partition(":")
    attribute, _, more = options.partition(":")
    if attribute and "=" not in attribute and name not in registry:
        # A game has no configuration, so modules are looked for in the current folder.
        importable_from(Path.cwd())
        name, options = f"{name}:{attribute}", more
    component = build(registry, kind, name, apply_overrides({}, options.split(",") if options else []))
    if is_own(name) and kind == "opponent":
        try_opponent(name, component)
    elif is_own(name):
        try_loss(kind, name, component, _SAMPLES)
    return component


def _row(option: str, text: str) -> Any:
    import torch

    try:
        return torch.tensor([float(part) for part in text.split(",")], dtype=torch.float64)
    except ValueError as error:
        problem = f"'{text[:60]}' is not a comma-separated list of numbers"
        raise InputError(problem, where=f"--{option}", fix="write e.g. 0.6,0.3,0.1") from error


def _valid(make: Callable[[], Any]) -> Any:
    """The result of a function of the games, with their errors as InputError, except NoMinimiserError."""
    from sparring.games.newton import NoMinimiserError

    try:
        return make()
    except (InputError, NoMinimiserError):
        raise
    except (ValueError, RuntimeError) as error:
        raise InputError(str(error), where="game") from error


def _show(game: str, played: Sequence[_Played], *, html: Path | None, as_json: bool) -> None:
    from sparring.cli.output import print_json, print_lines, print_table
    from sparring.reports.trajectory import comparison, table, write_page

    if len(played) > 1:
        if html is not None:
            raise InputError("is a page of one objective", where="--html", fix="give one objective, or leave it out")
        if as_json:
            print_json({"plays": [each.to_json() for each in played]})
        else:
            print_table(comparison(game, [each.row() for each in played]))
            print_lines([*_without_number(played), *_of_two(played)])
        return
    only = played[0]
    if not only.policies:
        raise InputError(str(only.problem), where="game")
    title = f"{game}, {only.name}"
    if html is not None:
        write_page(html, title, only.policies, only.curves)
    if as_json:
        print_json(only.to_json() | {"page": str(html) if html else None})
        return
    print_table(table(title, only.policies, only.curves))
    if only.stability is not None and not isinstance(only.stability, str):
        print_lines([f"stability against 'previous': {only.stability}"])
    print_lines(_without_number(played))
    if only.problem is not None:
        print_lines([f"stopped: {only.problem}"])
    if html is not None:
        print_lines([f"page: {html.resolve()}"])


def _without_number(played: Sequence[_Played]) -> list[str]:
    """Sentences on the plays without a stability number, and why."""
    return [
        f"{each.name} has no stability number at the expert: {each.stability}"
        for each in played
        if isinstance(each.stability, str)
    ]


def _of_two(played: Sequence[_Played]) -> list[str]:
    """A sentence on plays that learn from fewer outcomes than the others."""
    some = [each.name for each in played if each.of_two]
    if len(some) in {0, len(played)}:
        return []
    names = ", ".join(some)
    return [f"from the best and the worst outcome only (pairs=best-worst; pairs=all takes every one): {names}"]
