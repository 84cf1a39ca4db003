"""Errors: no user and password of an address is repeated in one."""

from __future__ import annotations

import pickle

import pytest

from sparring.errors import InputError, RunError, without_user

KEPT = [
    "https://example.com/data.jsonl",
    "http://localhost:8000/v1",
    "the judge's endpoint http://10.0.0.1:8000/v1 did not answer for 600 s",
    "owner/model, revision 4f2a",
    "write to somebody@example.com",
    "my_code.py:Judge",
    "rows.jsonl, line 3: field 'a': must be text",
    '{"asked": "http://h:80/x", "mail": "me@example.com"}',
    "http://[::1]:8000/v1",
]
HIDDEN = {
    "https://user:pw@host/x": "https://***@host/x",
    "no such file: s3://key:sec/ret@bucket/x, look": "no such file: s3://***@bucket/x, look",
    "https://token@host/x": "https://***@host/x",
    "http://u:p@ss@host:8000/v1": "http://***@host:8000/v1",
    "http://:pw@host": "http://***@host",
    "got 'http://u:8000@host/v1'": "got 'http://***@host/v1'",
    "two: a://u:p@h b://v:q@i": "two: a://***@h b://***@i",
    "/mnt/user:pw@host/x.jsonl": "/mnt/***@host/x.jsonl",
    "me:secret@host:/data": "***@host:/data",
    "data.source=ftp://u:p@h/x": "data.source=ftp://***@h/x",
}


@pytest.mark.parametrize("text", KEPT)
def test_what_is_no_password_is_told(text: str) -> None:
    assert without_user(text) == text


@pytest.mark.parametrize(("text", "told"), HIDDEN.items())
def test_the_user_and_password_of_an_address_are_not(text: str, told: str) -> None:
    assert without_user(text) == told
    assert without_user(told) == told
    error = InputError(text, where=text, fix=text)
    assert str(error) == f"{told}: {told}\n  fix: {told}"
    assert (error.problem, error.where, error.fix) == (told, told, told)
    assert str(RunError(text)) == told
    copied = pickle.loads(pickle.dumps(error))
    assert (str(copied), copied.fix) == (str(error), error.fix)
