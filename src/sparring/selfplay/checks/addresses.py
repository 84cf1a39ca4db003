"""Refuses passwords in settings, since a run writes its settings down."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from typing import Any

from sparring.errors import InputError, without_user
from sparring.selfplay.config.schema import SelfPlayConfig


def check_addresses(config: SelfPlayConfig) -> None:
    """Raises InputError if a setting is a path or an address with `user:password@` in it.

    All settings are written into the run directory, and some into its report and the cards of its models.
    """
    for where, text in _texts(config.model_dump(mode="json"), ""):
        # A prompt or a template is no address, but its text may mention one.
        if without_user(text) != text and not any(map(str.isspace, text)):
            problem = "holds a user or a password, which would be written into the run directory"
            fix = "name it without; a key belongs into the environment variable that api_key_env names"
            raise InputError(f"{problem}, got {text}", where=where, fix=fix)


def _texts(value: Any, where: str) -> Iterator[tuple[str, str]]:
    """Every text in nested settings, with its key."""
    if isinstance(value, str):
        yield where, value
    elif isinstance(value, Mapping):
        for key, each in value.items():
            yield from _texts(each, f"{where}.{key}" if where else str(key))
    elif isinstance(value, Sequence):
        for number, each in enumerate(value):
            yield from _texts(each, f"{where}.{number}")
