"""What the campaign `fuzz` puts together: odd values, texts and bytes, and how it spoils them."""

# fmt: off

from __future__ import annotations

import json
import random
from typing import Any

from hypothesis import strategies as st

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


INSERTED = (
    b"\0", b"\xff\xfe", b"\xef\xbb\xbf", b"\r", b"[" * 5000, b"\\ud800", b"9" * 4500, b'"', b"\n", b"{", b"!!int ''",
    b"1e999",
)


def damage(content: bytes, chance: random.Random) -> bytes:
    """Bytes, some of them flipped, left out, doubled, or cut off."""
    damaged = bytearray(content)
    for _ in range(chance.choice([1, 1, 2, 8])):
        at = chance.randrange(len(damaged) + 1)
        match chance.randrange(6):
            case 0:
                damaged[at : at + 1] = bytes([chance.randrange(256)])
            case 1:
                del damaged[at : at + chance.randrange(1, 20)]
            case 2:
                damaged[at:at] = damaged[at : at + 20]
            case 3 if chance.random() < 0.2:
                del damaged[at:]
            case _:
                damaged[at:at] = chance.choice(INSERTED)
    return bytes(damaged)


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


def put(value: Any, path: list[int], new: Any) -> Any:
    """The value with another one in some place."""
    if path and isinstance(value, dict) and value:
        key = sorted(value, key=str)[path[0] % len(value)]
        return {**value, key: put(value[key], path[1:], new)}
    if path and isinstance(value, list) and value:
        at = path[0] % len(value)
        return [*value[:at], put(value[at], path[1:], new), *value[at + 1 :]]
    return new


PLACES = st.lists(st.integers(0, 60), min_size=1, max_size=6)
