"""What the campaign `fuzz` puts together: usual values with something odd among them, and bytes with a slip in them."""

# fmt: off

from __future__ import annotations

import json
import random
from collections.abc import Callable
from typing import Any

from hypothesis import strategies as st
from hypothesis.strategies import SearchStrategy

ANY_TEXT = st.text(st.characters(exclude_categories=()), max_size=20)
NASTY: list[Any] = [
    *(None, True, False, 0, -1, 1, 7, 2**31, 2**63, -(2**63) - 1, 10**400, -(10**400)),
    *(0.0, -0.0, 0.5, 1e-320, 1e308, float("nan"), float("inf"), float("-inf")),
    *(
        "", " ", "\0", "\ud800", "a\udfffb", "\x1b[2J", "\u202e", "x" * 3000, "1" * 5000, "1e999", "nan", "null",
        "~nobody/x",
    ),
    *([], {}, [[]], [None], [1, "a", None], {"a": {"b": {}}}, [[[[[[[[]]]]]]]], {"": None}, {"role": "user"}),
    *(
        "auto", "none", "base", "user", "a:b", "os:path", "http://[::1", "http://a:99999999", "ftp://x", "/dev/zero",
        "/",
    ),
    [{"role": "user", "content": "q"}, {"role": "assistant", "content": "a"}],
    [{"from": "human", "value": 3}, {"from": "\ud800", "value": "a"}],
]
_KEYS = (
    "prompt response completion messages conversations chosen rejected responses scores pairwise instruction input "
    "output system history context role content from value tools weight text label generator_1 generator_2 output_1 "
    "output_2 preference annotator generator question_id category turns reference choices model_id name "
    "system_prompt prompt_template index"
)
KEYS = st.sampled_from(_KEYS.split())
SCALARS = st.one_of(
    st.integers(0, len(NASTY) - 1).map(lambda number: NASTY[number]), ANY_TEXT, st.integers(), st.floats()
)
VALUES = st.recursive(
    SCALARS,
    lambda inner: st.lists(inner, max_size=4) | st.dictionaries(KEYS | ANY_TEXT, inner, max_size=4),
    max_leaves=12,
)
WHOLE = st.sampled_from([0, 1, 2, 3, 7, 64, -1, 2**31, 2**63]) | st.integers(1, 20)
BROKEN = st.sampled_from([0.5, 0.1, 1.0, 2.0, 1e-5, 0.0, -1.0, 1e-320, 1e308]) | st.floats(0, 1)
PLACES = st.lists(st.integers(0, 60), min_size=1, max_size=6)


def mostly(usual: SearchStrategy[Any], odd: SearchStrategy[Any]) -> SearchStrategy[Any]:
    """Three values of four are usual, one is odd."""
    return st.integers(1, 4).flatmap(lambda number: odd if number == 4 else usual)


@st.composite
def few_odd(draw: Any, *parts: tuple[SearchStrategy[Any], SearchStrategy[Any]]) -> tuple[Any, ...]:
    """A value of every part, each a usual one, but for one part that is odd; sometimes for none, seldom for two."""
    count = draw(st.sampled_from([1, 1, 1, 0, 0, 2]))
    odd = draw(st.permutations(range(len(parts))))[:count]
    return tuple(draw(part[number in odd]) for number, part in enumerate(parts))


def like(value: Any) -> SearchStrategy[Any]:
    """Other values of the same kind."""
    match value:
        case bool() | int() | float():
            return {bool: st.booleans(), int: WHOLE, float: BROKEN}[type(value)]
        case str():
            return st.sampled_from([f"{value}s", value.upper(), f" {value}", value[1:], value * 2]) | ANY_TEXT
        case [_, *_]:
            return st.sampled_from([value[1:], value[:-1], value[::-1], value * 2])
        case dict() if value:
            names = st.sampled_from(sorted(value, key=str))
            without = names.map(lambda name: {key: value[key] for key in value if key != name})
            return without | st.builds(lambda key, new: {**value, key: new}, KEYS, SCALARS)
        case _:
            return SCALARS


@st.composite
def spoilt(draw: Any, value: Any) -> Any:
    """The value with another one in some place in it, mostly of the same kind."""
    return put(value, draw(PLACES), lambda there: draw(mostly(like(there), VALUES)))


def put(value: Any, path: list[int], change: Callable[[Any], Any]) -> Any:
    """The value, changed in some place."""
    if path and isinstance(value, dict) and value:
        key = sorted(value, key=str)[path[0] % len(value)]
        return {**value, key: put(value[key], path[1:], change)}
    if path and isinstance(value, list) and value:
        at = path[0] % len(value)
        return [*value[:at], put(value[at], path[1:], change), *value[at + 1 :]]
    return change(value)


INSERTED = (
    b"\0", b"\xff\xfe", b"\xef\xbb\xbf", b"\r", b"[" * 5000, b"\\ud800", b"9" * 4500, b'"', b"\n", b"{", b"!!int ''",
    b"1e999",
)


def damage(content: bytes, chance: random.Random) -> bytes:
    """Bytes, one of them mistyped, left out, or doubled with others; seldom something worse, or more of it."""
    damaged = bytearray(content)
    for _ in range(chance.choice([1, 1, 1, 2])):
        at = chance.randrange(len(damaged) + 1)
        match chance.randrange(8):
            case 0:
                damaged[at:at] = chance.choice(INSERTED)
            case 1:
                damaged[at : at + 1] = bytes([chance.randrange(256)])
            case 2 if chance.random() < 0.3:
                del damaged[at:]
            case 2 | 3:
                del damaged[at : at + chance.choice([1, 1, 1, 20])]
            case 4:
                damaged[at:at] = damaged[at : at + 20]
            case _:
                damaged[at : at + 1] = bytes([chance.choice(content or b" ")])
    return bytes(damaged)


def damaged(content: bytes) -> SearchStrategy[bytes]:
    """Three of four as they are, one damaged."""
    broken = st.integers(0, 2**32).map(lambda number: damage(content, random.Random(number)))
    return mostly(st.just(content), broken)


def text_damage(content: str, chance: random.Random) -> str:
    """As `damage`, of a text, whose halves of characters stay."""
    return damage(content.encode("utf-8", "surrogatepass"), chance).decode("utf-8", "replace")


def as_json(value: Any) -> str:
    """JSON also of numbers that Python would not write."""
    try:
        return json.dumps(value, ensure_ascii=random.Random(len(str(value)[:9])).random() < 0.5)
    except ValueError:
        return "9" * 5000


def encoded(text: str) -> bytes:
    """UTF-8, with halves of characters as they are."""
    return text.encode("utf-8", "surrogatepass")
