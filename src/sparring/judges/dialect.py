"""What a model takes of a request: some refuse a field that others need, and say so."""

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
    """How the limit of a reply is called, and whether the model lets its temperature be set.

    Some models that reason before they answer know `max_completion_tokens` alone, and no temperature but 1.

    Attributes:
        model: The model's name.
        limit: The name of the limit.
        temperature: Whether 0 is asked for.
    """

    model: str
    limit: str = "max_tokens"
    temperature: bool = True

    def settings(self, max_tokens: int) -> dict[str, Any]:
        """The fields of a request that models differ in."""
        return {self.limit: max_tokens} | ({"temperature": 0.0} if self.temperature else {})

    def learns(self, answer: Answer, sent: Mapping[str, Any]) -> bool:
        """Whether a refusal names a field of what was sent that can be written otherwise; it is from then on."""
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
