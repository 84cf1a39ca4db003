from __future__ import annotations

from decimal import Decimal

import pytest
from hypothesis import given
from hypothesis import strategies as st

from sparring.data.verifiers import VERIFIERS, final_number
from sparring.errors import InputError


@pytest.mark.parametrize(
    ("text", "number"),
    [
        ("3 + 4 = 7\n#### 7", "7"),
        ("#### 7\nno, #### 8", "8"),
        ("#### 12 apples and 3 pears", "12"),
        ("It is 1,234.", "1234"),
        ("#### $1,200.50", "1200.5"),
        ("-5", "-5"),
        ("−5", "-5"),
        ("-$5", "-5"),
        ("so 10-5=5", "5"),
        ("7-5", "5"),
        ("(2)-3", "3"),
        ("42.", "42"),
        ("1, 2, 3", "3"),
        ("3,4", "4"),
        (".5", "0.5"),
        ("#### 007", "7"),
        ("5 ####", None),
        ("no idea", None),
        ("", None),
    ],
)
def test_final_number_known_answers(text, number):
    assert final_number(text) == (None if number is None else Decimal(number))


@pytest.mark.parametrize(
    ("response", "expert", "right"),
    [
        ("the answer is 1,200.00.", "#### 1200", True),
        ("#### -3", "#### 3", False),
        ("12", "#### 120", False),
        ("none", "#### 3", False),
        ("none", "none", False),
    ],
)
def test_final_number_compares_with_the_expert(response, expert, right):
    assert VERIFIERS["final-number"]()(response, expert) is right


def test_exact_ignores_only_outer_white_space():
    exact = VERIFIERS["exact"]()
    assert exact(" a b\n", "a b")
    assert not exact("a  b", "a b")


@given(st.integers(-(10**12), 10**12), st.text("abc .,\n", max_size=20))
def test_any_written_integer_is_read_back(number, words):
    assert final_number(f"{words} {number:,}.\n") == number
    assert final_number(f"1 2 3 {words}#### {number}") == number


@given(st.text(max_size=60), st.text(max_size=60))
def test_verifiers_take_any_text(response, expert):
    for name in ("final-number", "exact"):
        assert VERIFIERS[name]()(response, expert) in (True, False)


@pytest.mark.parametrize(
    ("response", "expert", "right"),
    [
        ("so it is $\\frac{1}{2}$", "$0.5$", True),
        ("$\\boxed{x^2 + 2x + 1}$", "$(x+1)^2$", True),
        ("the answer is 1/3", "$\\frac{1}{2}$", False),
        ("no formula at all", "$7$", False),
        ("", "$7$", False),
        ("7", "nothing to compare with", False),
    ],
)
def test_math_compares_formulas(response, expert, right):
    pytest.importorskip("math_verify")
    assert VERIFIERS["math"]()(response, expert) is right


def test_math_without_its_package_says_what_to_install(monkeypatch):
    monkeypatch.setattr("importlib.util.find_spec", lambda _: None)
    with pytest.raises(InputError, match=r"pip install 'sparring\[math\]'"):
        VERIFIERS["math"]()


@pytest.mark.parametrize(
    ("response", "answer", "right"),
    [
        (' {"b": [1, 2.50], "a": null}\n', '{"a":null,"b":[1.0,2.5]}', True),
        ("1e2", "100", True),
        ("[1, 2]", "[2, 1]", False),
        ('{"a": 1}', '{"a": true}', False),
        ('{"a": 1}', '{"a": 1, "b": null}', False),
        ('so {"a": 1}', '{"a": 1}', False),
        ("NaN", "NaN", False),
        ("1e99999999999999999999", "1", False),
        ("[" * 100_000, "1", False),
    ],
)
def test_json_is_compared_as_values(response: str, answer: str, right: bool) -> None:
    assert VERIFIERS["json"]()(response, answer) is right
