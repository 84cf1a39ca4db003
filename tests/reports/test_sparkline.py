"""Curves whose blocks are known."""

from __future__ import annotations

import math

from hypothesis import given, settings
from hypothesis import strategies as st

from sparring.reports.sparkline import sparkline

VALUES = st.lists(st.sampled_from([None, math.nan, math.inf]) | st.floats(-1e300, 1e300), max_size=60)


def test_from_the_smallest_to_the_largest() -> None:
    assert sparkline([0, 1, 2, 3, 4, 5, 6, 7]) == "▁▂▃▄▅▆▇█"
    assert sparkline([3, -1]) == "█▁"
    assert sparkline([2.5, 2.5]) == "▁▁"


def test_a_block_is_the_mean_of_neighbours() -> None:
    assert sparkline([0, 2, 6, 8, 7, 7], width=3) == "▁██"
    assert sparkline([0, 14, None, 1, 0, 0], width=3) == "█▂▁"


def test_on_a_logarithmic_scale_factors_are_steps() -> None:
    assert sparkline([1, 1e-7, 0, -1], logarithmic=True) == "█▁  "
    assert sparkline([1, 10, 100, 1e7], logarithmic=True) == "▁▂▃█"


def test_what_is_no_number_is_blank() -> None:
    assert sparkline([0, None, math.inf, math.nan, 7]) == "▁   █"
    assert sparkline([None, math.nan]) == sparkline([]) == ""


@settings(max_examples=50)
@given(VALUES, st.integers(1, 30), st.booleans())
def test_as_long_as_there_is_room(values: list[float | None], width: int, logarithmic: bool) -> None:
    line = sparkline(values, width, logarithmic=logarithmic)
    assert len(line) in {0, min(width, len(values))}
    assert set(line) <= set(" ▁▂▃▄▅▆▇█")
