"""What leaves this machine, and what is said of it."""

from __future__ import annotations

import pytest

from sparring.consent import is_loopback, sends_key


@pytest.mark.parametrize(
    "address",
    ["http://127.0.0.1:8000/v1", "http://127.9.9.9", "http://localhost", "https://[::1]:1/v1", "127.0.0.1:6379"],
)
def test_this_machine(address: str) -> None:
    assert is_loopback(address)
    assert not list(sends_key("KEY", address))


@pytest.mark.parametrize(
    "address",
    ["http://127.0.0.1.example.org", "http://localhost.example.org", "http://10.0.0.1", "10.0.0.1:6379", "http://", ""],
)
def test_another_machine(address: str) -> None:
    assert not is_loopback(address)
    assert list(sends_key("KEY", address)) == [f"would send the key in the variable KEY to {address}"]
    assert not list(sends_key(None, address))
