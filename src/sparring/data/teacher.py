"""A language model as the expert, of which log π_E(y|x) is known for every response: its settings and its prompts."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace
from typing import Self

from pydantic import BaseModel, ConfigDict, Field, model_validator

from sparring.data.template import PromptTemplate
from sparring.errors import InputError
from sparring.examples import EncodedExample, Example


class TeacherConfig(BaseModel):
    """The section `data.teacher`: the expert is a language model, and writes the responses to the data's prompts.

    π_E(y|x) is the probability that the teacher, at its temperature and without top-k or top-p, writes exactly y: the
    product over tokens of softmax(logits / temperature). Like any response, y is cut at `max_response_tokens`.
    """

    model_config = ConfigDict(extra="forbid", frozen=True, use_attribute_docstrings=True)

    system: str | None = None
    """A system turn that the teacher alone sees, in place of the prompt's own if it has one."""

    temperature: float = Field(default=1.0, gt=0.0, allow_inf_nan=False)
    """Divides the teacher's logits, before every token."""

    model: str | None = None
    """The teacher's weights, as `model.name`; None takes those of the run's base model."""

    revision: str | None = None
    """Branch, tag or commit of a Hugging Face id, for `model` only."""

    @model_validator(mode="after")
    def _differs(self) -> Self:
        if self.system is None and self.temperature == 1.0 and self.model is None:
            raise ValueError("the teacher would be the base model itself; set system, temperature or model")
        if self.revision is not None and self.model is None:
            raise ValueError("revision is the teacher's own model's; set model too, or remove it")
        return self


def teacher_prompts(
    examples: Sequence[EncodedExample], template: PromptTemplate, *, system: str | None, limit: int
) -> list[EncodedExample]:
    """The examples' prompts as the teacher reads them.

    Args:
        examples: The examples, with the prompts that the policy reads.
        template: The template of the teacher's tokenizer.
        system: As `TeacherConfig.system`.
        limit: Tokens that the teacher's context leaves for a prompt.

    Raises:
        InputError: A prompt is over the limit, the template refuses it, or a system turn is given without a template.
    """
    asked = [_asked(example, system) for example in examples]
    read = []
    for example, ids in zip(examples, template.safe_prompts(asked), strict=True):
        if len(ids) > limit:
            raise InputError(
                f"the teacher reads {len(ids)} tokens before row {example.index + 1}, its context has room for {limit}",
                where="data.teacher.system",
                fix="shorten it, or lower data.max_prompt_tokens",
            )
        read.append(replace(example, prompt_ids=ids))
    return read


def _asked(example: EncodedExample, system: str | None) -> Example:
    messages = example.messages
    if system is not None:
        turns = messages or ({"role": "user", "content": example.prompt},)
        messages = ({"role": "system", "content": system}, *(turn for turn in turns if turn["role"] != "system"))
    return Example(index=example.index, messages=messages, prompt=example.prompt, response="")
