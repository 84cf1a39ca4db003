"""Every registered judge carries its own facts, explains itself and refuses nonsense."""

from __future__ import annotations

import dataclasses
import tomllib
from dataclasses import dataclass
from pathlib import Path
from typing import ClassVar

import pytest

from conformance.judges import DEFAULTS, JUDGE_ROWS, missing
from sparring.judges import JUDGES, JudgeSettings, fingerprint
from sparring.judges.protocol import Judge

DOCS = Path(__file__).parents[2] / "docs"

each_judge = pytest.mark.parametrize("name", JUDGES)


def test_every_judge_has_a_row_and_a_section_in_the_documentation() -> None:
    assert set(JUDGE_ROWS) == set(JUDGES)
    text = (DOCS / "judges.md").read_text(encoding="utf-8")
    assert all(f"## `{name}`" in text for name in JUDGES)


def test_the_contract_on_judges_names_every_module_of_one() -> None:
    contracts = tomllib.loads((DOCS.parent / "pyproject.toml").read_text(encoding="utf-8"))["tool"]["importlinter"]
    (contract,) = (each for each in contracts["contracts"] if each["name"].startswith("A judge is known by"))
    assert {build.__module__ for build in JUDGES.values()} <= set(contract["forbidden_modules"])


@each_judge
def test_every_fact_is_declared_and_known(name: str) -> None:
    build, row = JUDGES[name], JUDGE_ROWS[name]
    assert not missing(name, build)
    expected = DEFAULTS | row.facts
    assert {fact: getattr(build, fact) for fact in expected} == expected
    # They hold of the judge itself, whatever its settings.
    assert not set(expected) & {field.name for field in dataclasses.fields(build)}


@each_judge
def test_settings_are_frozen_explained_and_refuse_nonsense(name: str) -> None:
    build, row = JUDGES[name], JUDGE_ROWS[name]
    options = dataclasses.fields(build)
    assert build.__dataclass_params__.frozen
    assert all(field.kw_only and f"{field.name}: " in build.__doc__ for field in options)
    assert "Source: " in build.__doc__
    assert hash(build(**row.settings)) == hash(build(**row.settings))
    for wrong, reason in row.nonsense:
        with pytest.raises(ValueError) as caught:  # noqa: PT011 - the reason is looked for below
            build(**row.settings | wrong)
        assert reason in str(caught.value)
        assert "secret" not in str(caught.value)
        assert "sk-123" not in str(caught.value)


@each_judge
def test_how_it_is_reached_decides_no_verdict(name: str) -> None:
    build, row = JUDGES[name], JUDGE_ROWS[name]
    assert set(row.elsewhere) == set(build.reached_by)
    here = build(**row.settings)
    assert fingerprint(build(**{**row.settings, **row.elsewhere})) == fingerprint(here)
    assert all(isinstance(part, str) for part in here.on_this_machine())


@each_judge
def test_it_says_what_needs_consent(name: str) -> None:
    build, row = JUDGES[name], JUDGE_ROWS[name]
    assert list(build(**row.settings).needs_consent()) == []
    for settings, sentence in row.consent:
        assert list(build(**{**row.settings, **settings}).needs_consent()) == [sentence]


@dataclass(frozen=True, kw_only=True)
class Forgetful(JudgeSettings):
    """A judge that was added in haste."""

    needs_reference_answer: ClassVar[str] = "yes"
    reached_by: ClassVar[tuple[str, ...]] = ("address",)

    def start(self, cache: Path) -> Judge:
        raise NotImplementedError


@dataclass(frozen=True, kw_only=True)
class Stranger:
    """A judge that knows nothing of the protocol."""

    def start(self, cache: Path) -> Judge:
        raise NotImplementedError


def test_what_a_new_judge_lacks_is_named() -> None:
    assert missing("new", Forgetful) == [
        "judge 'new' declares needs_reference_answer as 'yes', which must be a bool",
        "judge 'new' must declare may_cost_money, a bool, as its class attribute",
        "judge 'new' names 'address' in reached_by, which is none of its settings",
    ]
    lacking = missing("new", Stranger)
    assert lacking[:2] == [
        "judge 'new' must name JudgeSettings among its bases",
        "judge 'new' must declare needs_reference_answer, a bool, as its class attribute",
    ]
    assert "judge 'new' must have the method needs_consent" in lacking
