"""The teacher: a language model that is the expert of a run."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from functools import cached_property
from itertools import chain
from typing import Any

from sparring.data import Encoded, PromptTemplate, TeacherConfig, teacher_prompts
from sparring.errors import InputError
from sparring.examples import EncodedExample
from sparring.generation import names
from sparring.logprobs.temperature import caps_logits
from sparring.models import ModelConfig, context_length, load_config, load_tokenizer
from sparring.models.endings import end_ids
from sparring.models.vocabulary import check_tokens
from sparring.selfplay.config.schema import SelfPlayConfig


@dataclass(frozen=True, kw_only=True)
class Teacher:
    """A language model that is the expert.

    Attributes:
        model: The model; None for the run's base model.
        temperature: The temperature that divides its logits.
        train: The training prompts as the teacher reads them.
        held_out: The held-out prompts as the teacher reads them.
        asked_otherwise: Whether another chat template than the model's writes its prompts.
    """

    model: ModelConfig | None
    temperature: float
    train: list[EncodedExample]
    held_out: list[EncodedExample]
    asked_otherwise: bool = False

    @cached_property
    def train_ids(self) -> dict[int, list[int]]:
        """The token ids of the training prompts, as the teacher reads them, by index."""
        return {example.index: example.prompt_ids for example in self.train}

    @cached_property
    def held_out_ids(self) -> dict[int, list[int]]:
        """The token ids of the held-out prompts, as the teacher reads them, by index."""
        return {example.index: example.prompt_ids for example in self.held_out}


def teacher_of(
    config: SelfPlayConfig,
    model_config: Any,
    template: PromptTemplate,
    train: Encoded,
    held_out: Encoded | None,
) -> Teacher | None:
    """The run's teacher, without its weights; None if it has none.

    Args:
        config: The configuration of the run.
        model_config: The configuration of the run's model.
        template: Writes the model's prompts.
        train: The training prompts as the policy reads them.
        held_out: The held-out prompts as the policy reads them.

    Raises:
        InputError: It cannot teach this model: it has other tokens, caps its logits, or a prompt is too long for it.
    """
    teacher = config.data.teacher
    if teacher is None:
        return None
    model, its_own = None, template.text
    if teacher.model is not None:
        model, model_config, tokenizer = _other(config, teacher, template.tokenizer, train.stop_ids)
        template = config.data.template(tokenizer, template.clock, end_ids=end_ids(model))
    if teacher.temperature != 1.0 and caps_logits(model_config):
        problem = "the teacher caps its logits, so at another temperature than 1 the law of its samples is not known"
        raise InputError(problem, where="data.teacher.temperature", fix="set it to 1")

    def read(examples: Sequence[EncodedExample]) -> list[EncodedExample]:
        return teacher_prompts(
            examples,
            template,
            system=teacher.system,
            limit=context_length(model_config) - config.data.max_response_tokens,
        )

    asked, asked_held_out = read(train.examples), read(held_out.examples if held_out is not None else [])
    used = chain(train.stop_ids, (token for item in chain(asked, asked_held_out) for token in item.prompt_ids))
    where = "data.teacher" if model is None else "data.teacher.model"
    check_tokens(model_config, template.tokenizer, used, where=where)
    return Teacher(
        model=model,
        temperature=teacher.temperature,
        train=asked,
        held_out=asked_held_out,
        asked_otherwise=template.text != its_own,
    )


def _other(
    config: SelfPlayConfig, teacher: TeacherConfig, tokenizer: Any, stop_ids: Sequence[int]
) -> tuple[ModelConfig, Any, Any]:
    """A teacher with weights of its own: the settings to load them, its configuration and its tokenizer."""
    where = "data.teacher.model"
    if config.generation.engine is not None:
        problem = f"the generator '{config.generation.name}' plays the run's own model, and the teacher is another"
        raise InputError(problem, where=where, fix=f"set generation.name: {names(lambda kind: kind.engine is None)}")
    # The user has not agreed to run code that comes with the teacher.
    changes = {"name": teacher.model, "revision": teacher.revision, "trust_remote_code": False}
    model = config.model.model_copy(update=changes)
    try:
        model_config, own = load_config(model), load_tokenizer(model)
    except InputError as error:
        raise InputError(error.problem, where=where, fix=error.fix) from error
    ends = config.data.template(own, end_ids=end_ids(model)).stop_ids()
    if own.get_vocab() != tokenizer.get_vocab() or ends != tuple(stop_ids):
        problem = "the teacher's tokens, or those that end its responses, are not the model's, so neither can score "
        fix = "take a teacher with the model's own tokenizer and chat template, such as one fine-tuned from it"
        raise InputError(problem + "what the other wrote", where=where, fix=fix)
    return model, model_config, own
