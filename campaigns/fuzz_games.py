"""Exact games for the campaign `fuzz`, as the command line takes them."""

from __future__ import annotations

from pathlib import Path
from types import SimpleNamespace
from typing import Any

from hypothesis import strategies as st

from fuzz_configs import as_setting, options
from fuzz_pieces import ANY_TEXT, few_odd, like, mostly

IMITATED = ("spif", "spin", "space", "f-divergence", "renyi", "t-spin", "tpaw", "sft", "dft")
PREFERRED = ("sppo", "dpo", "ipo", "inpo", "nash-md", "raft")
NUMBERS = ["0.6,0.3,0.1", "0.2,0.3,0.5", "0.98,0.01,0.01", "0.5,0.25,0.25"]
ODD_NUMBERS = [
    "1,0,0",
    "nan,1,1",
    "1e999,1",
    "",
    ",",
    "0.5,0.5",
    "-1,2,0",
    "1" * 5000,
    "½",
    "1e-320,1,0",
    "0.3,0.3,0.3",
]
TABLES = ["0.5,0,1;1,0.5,0;0,1,0.5", "0.5,0.7,0.4;0.3,0.5,0.9;0.6,0.1,0.5", "0.5,0.5,1;0.5,0.5,1;0,0,0.5"]
ODD_TABLES = [
    "0.5",
    "0.5,1;0,0.5",
    "0.5,1,1;1,0.5,1;0,0,0.5",
    "nan,1;0,0.5",
    ";",
    "0.5,1;0",
    "2,0;1,0.5",
    "1,1,1;0,1,1;0,0,1",
]


@st.composite
def components(draw: Any, registry: Any, names: Any) -> str:
    """NAME:OPTION=VALUE,… of a component, with what it needs and perhaps an option more, of which one may be odd."""
    name = draw(st.sampled_from(sorted(names)))
    known, needed = options(registry[name])
    chosen = draw(st.lists(st.sampled_from(sorted(known)), max_size=2, unique=True)) if known else []
    values = {
        **dict.fromkeys(needed, 0.5),
        **{each: draw(mostly(st.just(known[each]), like(known[each]))) for each in chosen},
    }
    written = ",".join(f"{key}={as_setting(value)}" for key, value in values.items())
    odd = st.sampled_from(
        [f"{name}:", f"{name}:beta=", f"{name}:beta=[[", f"{name}:x=1", name[1:], "a:b", ":", f"{name}:beta=1e999"]
    )
    text: str = draw(mostly(st.just(f"{name}:{written}" if written else name), odd | ANY_TEXT))
    return text


@st.composite
def games(draw: Any) -> tuple[str, dict[str, Any]]:
    """A game and its settings, of which mostly one is odd."""
    from sparring.objectives import OBJECTIVES
    from sparring.opponents import OPPONENTS
    from sparring.regularizers import REGULARIZERS

    game, own = draw(st.sampled_from([("imitation", IMITATED), ("preference", PREFERRED)]))
    numbers = (st.sampled_from(NUMBERS), st.sampled_from(ODD_NUMBERS) | ANY_TEXT)
    penalties = st.lists(components(REGULARIZERS, REGULARIZERS), min_size=1, max_size=2)
    against = components(OPPONENTS, OPPONENTS)
    objective, opponent, regularizer, one, other = draw(
        few_odd(
            (components(OBJECTIVES, own), components(OBJECTIVES, OBJECTIVES)),
            (st.just("previous"), against),
            (st.just([]), penalties),
            numbers,
            numbers if game == "imitation" else (st.sampled_from(TABLES), st.sampled_from(ODD_TABLES) | ANY_TEXT),
        )
    )
    names = ("expert", "initial") if game == "imitation" else ("reference", "table")
    settings = {"objectives": [objective], "opponent": opponent, "regularizer": regularizer}
    return game, {**settings, names[0]: one, names[1]: other}


def read_game(value: tuple[str, dict[str, Any]], _: Path) -> None:
    """As `game imitation` and `game preference` do."""
    from sparring.cli import game, output

    output.out = SimpleNamespace(print=lambda *_: None)  # type: ignore[assignment]
    name, settings = value
    {"imitation": game.imitation, "preference": game.preference}[name](**settings, iterations=2, json=True)
