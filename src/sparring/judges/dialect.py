"""The form of request that a model accepts: some models refuse a field that others need."""

from __future__ import annotations

from collections.abc import Mapping
from contextlib import suppress
from dataclasses import dataclass
from typing import Any

from sparring.progress import console
from sparring.web import Answer, BadAnswerError

_REFUSED = ("unsupported_parameter", "unsupported_value")


@dataclass
class Dialect:
    """The fields of a request that differ between models: the name of a reply's limit, and the temperature.

    Some models that reason before they answer accept only `max_completion_tokens`, and no temperature but 1.

    Attributes:
        model: The model's name.
        limit: The name of the field with the limit.
        temperature: Whether to ask for the temperature 0.
    """

    model: str
    limit: str = "max_tokens"
    temperature: bool = True

    def settings(self, max_tokens: int) -> dict[str, Any]:
        """The fields of a request that models differ in."""
        return {self.limit: max_tokens} | ({"temperature": 0.0} if self.temperature else {})

    def learns(self, answer: Answer, sent: Mapping[str, Any]) -> bool:
        """Adapts to a refusal that names such a field; returns whether the next request will differ."""
        refused: Any = None
        with suppress(BadAnswerError):
            refused = answer.json()
        match refused:
            case {"error": {"param": "max_tokens", "code": code}} if code in _REFUSED and "max_tokens" in sent:
                self.limit = "max_completion_tokens"
            case {"error": {"param": "temperature", "code": code}} if code in _REFUSED and "temperature" in sent:
                if self.temperature:
                    console.print(
                        f"judge: {self.model} takes no temperature, so each answer is a sample: asked anew, it may "
                        "say another"
                    )
                self.temperature = False
            case _:
                return False
        return True
