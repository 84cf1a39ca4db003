"""The time that a chat template sees."""

from __future__ import annotations

from dataclasses import dataclass
from datetime import datetime
from typing import Self

from sparring.errors import InputError


@dataclass(frozen=True)
class Clock:
    """A clock that stands still, for templates that write a date.

    A run has one, set at its start and kept in its manifest, so that a prompt is the same text in every stage, after
    midnight, after a resume and in an export.

    Attributes:
        time: The local time that it shows, to the second.
    """

    time: datetime

    @classmethod
    def now(cls) -> Self:
        """A clock that shows this second for ever."""
        return cls(datetime.now().replace(microsecond=0))

    @classmethod
    def read(cls, text: str) -> Self:
        """The clock that `str` turned into a text.

        Raises:
            InputError: The text is no time in ISO 8601.
        """
        try:
            return cls(datetime.fromisoformat(text))
        except ValueError as error:
            raise InputError(f"'{text}' is no time", fix="write it as 2026-01-31T12:00:00") from error

    def __str__(self) -> str:
        return self.time.isoformat()

    def strftime(self, format: str) -> str:  # noqa: A002 (as templates call it)
        """The time as `strftime_now` writes it in a template."""
        return self.time.strftime(format)
