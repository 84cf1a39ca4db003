"""Tasks on which nothing of the recipe `auto` was chosen: problems with two steps, and words to be sorted."""

from __future__ import annotations

import random
from collections.abc import Callable
from pathlib import Path

import benchmarks_path  # noqa: F401 - the next one is found by it
import problems

TRAINED, HELD_OUT = 256, 128
_WORDS = (
    "apple bread candle desk eagle forest garden hammer island jacket kettle lemon mirror needle ocean pencil quilt "
    "river spoon table umbrella violin window yarn zebra anchor basket cactus drum engine feather glove honey igloo "
    "jungle kitten ladder magnet nest onion parrot queen rabbit saddle tiger uncle valley wagon year zipper"
)


def two_steps(_folder: Path, _seed: int) -> tuple[str, ...]:
    """The arithmetic word problems of two steps instead of one."""
    return ("data.difficulty=2", "data.max_response_tokens=48")


def sorted_words(folder: Path, seed: int) -> tuple[str, ...]:
    """Five words to be put in alphabetical order; an answer is right that equals the sorted words."""
    words, draw = _WORDS.split(), random.Random(f"words/{seed}")
    drawn = dict.fromkeys(tuple(draw.sample(words, 5)) for _ in range(2 * (TRAINED + HELD_OUT)))
    rows = [(f"Sort these words from A to Z: {', '.join(each)}", ", ".join(sorted(each))) for each in drawn]
    parts = {"held-out": rows[:HELD_OUT], "train": rows[HELD_OUT:][:TRAINED]}
    paths = problems.write(folder / f"words-{seed}", parts)
    sources = (f"data.source={paths['train']}", f"data.held_out_source={paths['held-out']}")
    return (*sources, "data.verifier=exact", "data.max_response_tokens=24")


TASKS: dict[str, Callable[[Path, int], tuple[str, ...]]] = {"two-steps": two_steps, "words": sorted_words}
"""By name: from a folder for its files and a seed to what is changed in the configuration."""
