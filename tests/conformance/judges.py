"""One row for every registered judge, and what every judge must say of itself."""

from __future__ import annotations

import dataclasses
from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any, ClassVar, get_args, get_origin, get_type_hints

from sparring.judges.protocol import JudgeSettings


@dataclass(frozen=True, kw_only=True)
class JudgeRow:
    """One registered judge.

    Attributes:
        settings: Settings to make it with.
        nonsense: Settings that must be refused, each with a part of the reason.
        facts: What it says of itself where that is not what most judges say.
        elsewhere: For each setting that only says how it is reached, another value; the verdicts stay the same.
        consent: Settings with the sentence that asks for consent to them; the row's own need none.
    """

    settings: Mapping[str, Any] = field(default_factory=dict)
    nonsense: tuple[tuple[Mapping[str, Any], str], ...] = ()
    facts: Mapping[str, Any]
    elsewhere: Mapping[str, Any] = field(default_factory=dict)
    consent: tuple[tuple[Mapping[str, Any], str], ...] = ()


# What a judge inherits; the rest it declares.
DEFAULTS = {"ranks_policies": True, "expert_must_play": False, "reads_text": True, "reads_log_ratios": False}
DEFAULTS |= {"reached_by": (), "private": ()}

JUDGE_ROWS = {
    "verifier": JudgeRow(
        nonsense=(
            ({"rule": "final-numbr"}, "did you mean 'final-number'"),
            ({"rule": "regex"}, "need each other"),
            ({"pattern": "x"}, "need each other"),
            ({"rule": "regex", "pattern": "("}, "no regular expression"),
        ),
        facts={"needs_reference_answer": True, "may_cost_money": False},
        consent=(({"rule": "a.b:c"}, "judges with the Python function 'a.b:c', which would run with all your rights"),),
    ),
    "reward-model": JudgeRow(
        settings={"model": "somewhere"},
        nonsense=(
            ({"temperature": 0}, "temperature must be a finite number > 0"),
            ({"max_tokens": -1}, "max_tokens must be"),
            ({"device": "tpu"}, "device"),
        ),
        facts={"needs_reference_answer": False, "may_cost_money": False},
    ),
    "pairwise": JudgeRow(
        settings={"model": "somewhere"},
        nonsense=(
            ({"max_tokens": 0}, "max_tokens must be"),
            ({"dtype": "int8"}, "dtype"),
            ({"template": "/no/such/file"}, "there is no such file"),
        ),
        facts={"needs_reference_answer": False, "may_cost_money": False, "private": ("template",)},
    ),
    "llm": JudgeRow(
        settings={"model": "m", "base_url": "http://127.0.0.1:1/v1"},
        nonsense=(
            ({"base_url": "localhost:8000"}, "is no address"),
            ({"base_url": "https://me:secret@host/v1"}, "must not carry a password or key"),
            ({"base_url": "https://host/v1?key=secret"}, "must not carry a password or key"),
            ({"api_key_env": "sk-123"}, "api_key_env must be the name"),
            ({"concurrency": 0}, "concurrency must be"),
            ({"concurrency": 1.5}, "concurrency must be a whole number"),
            ({"requests_per_minute": 0}, "requests_per_minute must be"),
            ({"patience": -1.0}, "patience must be"),
            ({"prompt_price": -1.0}, "prompt_price must be"),
        ),
        facts={
            "needs_reference_answer": False,
            "may_cost_money": True,
            "reached_by": ("base_url", "api_key_env", "concurrency", "requests_per_minute", "timeout", "patience"),
            "private": ("template",),
        },
        elsewhere={
            "base_url": "http://127.0.0.1:2/v1",
            "api_key_env": "ANOTHER_KEY",
            "concurrency": 2,
            "requests_per_minute": 6.0,
            "timeout": 1.0,
            "patience": 2.0,
        },
        consent=(
            (
                {"base_url": "https://judge.example.org/v1", "api_key_env": "JUDGE_KEY"},
                "would send the key in the variable JUDGE_KEY to https://judge.example.org/v1",
            ),
        ),
    ),
    "consensus": JudgeRow(
        nonsense=(
            ({"rule": "final-numbr"}, "did you mean 'final-number'"),
            ({"rule": "regex"}, "need each other"),
            ({"rule": "regex", "pattern": "("}, "no regular expression"),
        ),
        facts={"needs_reference_answer": False, "may_cost_money": False, "ranks_policies": False},
        consent=(({"rule": "a.b:c"}, "judges with the Python function 'a.b:c', which would run with all your rights"),),
    ),
    "implicit": JudgeRow(
        nonsense=(
            ({"beta": 0}, "beta must be a finite number > 0"),
            ({"length_penalty": -0.1}, "length_penalty must be a finite number > 0"),
        ),
        facts={
            "needs_reference_answer": False,
            "may_cost_money": False,
            "ranks_policies": False,
            "reads_text": False,
            "reads_log_ratios": True,
        },
    ),
    "discriminator": JudgeRow(
        nonsense=(
            ({"temperature": 0}, "temperature must be a finite number > 0"),
            ({"folds": 1}, "folds must be a whole number ≥ 2"),
            ({"folds": 2.5}, "folds must be a whole number ≥ 2"),
        ),
        facts={"needs_reference_answer": False, "may_cost_money": False, "ranks_policies": False, "reads_text": False},
    ),
    "expert": JudgeRow(
        facts={
            "needs_reference_answer": False,
            "may_cost_money": False,
            "ranks_policies": False,
            "expert_must_play": True,
            "reads_text": False,
        },
    ),
}


def missing(name: str, build: type) -> list[str]:
    """What a judge lacks to be one, in words; nothing where it is whole."""
    found = []
    if JudgeSettings not in build.__mro__:
        found.append(f"judge '{name}' must name JudgeSettings among its bases")
    for fact, kind in _facts().items():
        value = getattr(build, fact, None)
        if value is None:
            found.append(f"judge '{name}' must declare {fact}, a {kind.__name__}, as its class attribute")
        elif not isinstance(value, kind) or (kind is tuple and not all(isinstance(each, str) for each in value)):
            found.append(f"judge '{name}' declares {fact} as {value!r}, which must be a {kind.__name__}")
    found += [
        f"judge '{name}' must have the method {method}"
        for method in ("start", "check", "check_answers", "needs_consent", "on_this_machine", "reward_player")
        if not callable(getattr(build, method, None))
    ]
    known = {each.name for each in dataclasses.fields(build)} if dataclasses.is_dataclass(build) else set()
    for fact in ("reached_by", "private"):
        found += [
            f"judge '{name}' names '{each}' in {fact}, which is none of its settings"
            for each in getattr(build, fact, ())
            if each not in known
        ]
    return found


def _facts() -> dict[str, type]:
    """The class attributes of `JudgeSettings`, with their types."""
    hints = get_type_hints(JudgeSettings)
    kinds = {name: get_args(hint)[0] for name, hint in hints.items() if get_origin(hint) is ClassVar}
    return {name: get_origin(kind) or kind for name, kind in kinds.items()}
