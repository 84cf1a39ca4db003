"""What people read of policies."""

from __future__ import annotations

from sparring.policies import BASE, TEACHER, is_start, words


def test_no_number_of_the_base_model_or_the_teacher_is_shown() -> None:
    assert [words(policy) for policy in (BASE, TEACHER, 0, 12)] == [
        "the base model",
        "the teacher",
        "policy 0",
        "policy 12",
    ]


def test_other_runs_start_from_the_base_model_and_from_policy_0() -> None:
    assert [is_start(policy) for policy in (TEACHER, BASE, 0, 1)] == [False, True, True, False]
