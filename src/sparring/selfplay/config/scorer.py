"""The section `scorer`: the policy whose next-token distributions a distillation objective learns from."""

from __future__ import annotations

from typing import Literal, Self

from pydantic import BaseModel, ConfigDict, Field, field_validator, model_validator

from sparring.data import DEMONSTRATION, PROMPT
from sparring.policies import BASE, TEACHER


class ScorerConfig(BaseModel):
    """The scorer, which scores the generated responses token by token for objectives that need it, and its prompts.

    Attributes:
        policy: "previous", the policy that the iteration starts from, or "base", the base model, each of which is shown
            the expert's response to the prompt; or "teacher", the one of `data.teacher`, with its own prompts.
        template: The scorer's prompt in place of a prompt, or of a chat's last user turn: text in which `{prompt}`
            stands for these words and `{demonstration}` for the expert's response; not for the teacher. By default a
            chat asks for another answer beside the demonstration, and a plain prompt is followed by the demonstration
            and then repeated.
        candidates: The number of the scorer's likeliest next tokens that are distinguished; all others are one class.
    """

    model_config = ConfigDict(extra="forbid", frozen=True)

    policy: Literal["previous", "base", "teacher"] = "previous"
    template: str | None = None
    candidates: int = Field(default=32, ge=1)

    @field_validator("template")
    @classmethod
    def _shows(cls, template: str | None) -> str | None:
        for mark in (PROMPT, DEMONSTRATION):
            if template is not None and mark not in template:
                raise ValueError(f"must have {mark} in it, which stands for what the scorer is shown")
        return template

    @model_validator(mode="after")
    def _is_asked(self) -> Self:
        if self.policy == "teacher" and self.template is not None:
            raise ValueError("the teacher is asked as data.teacher says; remove template, or set policy")
        return self

    def number(self, iteration: int) -> int:
        """The number of the policy that scores in an iteration."""
        return {"previous": iteration, "base": BASE, "teacher": TEACHER}[self.policy]
