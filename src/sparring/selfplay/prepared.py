"""A configuration that was checked, from the cheapest part to the dearest, before a model is loaded."""

from __future__ import annotations

import dataclasses
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from itertools import chain
from typing import Any

from sparring.data import (
    VERIFIERS,
    Clock,
    DataReport,
    Encoded,
    PromptTemplate,
    demonstration_prompts,
    encode,
    load,
    prompts_of_iteration,
)
from sparring.errors import check_all
from sparring.examples import EncodedExample, Example
from sparring.generation import engine, generator_class
from sparring.generation.protocol import Engine
from sparring.judges import JudgeSettings
from sparring.models import context_length, load_config, load_tokenizer
from sparring.models.adapters import Adapter
from sparring.models.endings import end_ids
from sparring.models.vocabulary import check_tokens
from sparring.selfplay.auto import resolve
from sparring.selfplay.checks.addresses import check_addresses
from sparring.selfplay.checks.data import check_prompts, check_stop
from sparring.selfplay.checks.judges import check_answers, check_judges, check_own_judges, usable_judge
from sparring.selfplay.checks.scorer import check_scorers
from sparring.selfplay.checks.training import adapter_for, check_training
from sparring.selfplay.components import held_out_judge
from sparring.selfplay.config.schema import SelfPlayConfig
from sparring.selfplay.engine import engine_model
from sparring.selfplay.phases import Phase, phases_of, row_needs
from sparring.selfplay.teacher import Teacher, teacher_of
from sparring.work import processes


@dataclass(frozen=True, kw_only=True)
class Prepared:
    """A configuration that was checked, with its components built and its data as token ids.

    Attributes:
        config: The configuration, with what a recipe chose written out.
        reasons: What it chose, and why, in plain words.
        phases: What is played, in order.
        tokenizer: The model's, with the run's chat template.
        model_config: The model's own configuration.
        report: What became of the rows that were read.
        template: Writes the prompts, at the run's own time.
        teacher: The language model that plays the expert, if one does.
        train: The training prompts as token ids.
        held_out: Likewise the held-out ones; None where nothing is held out.
        verifier: Tells right responses from wrong ones, where the data have such a rule.
        held_out_judge: The settings of who compares policies on the held-out set, if anybody does.
        engine: What samples in place of the policy's own model, if anything does.
        adapter: What the run's LoRA does to the model, if it has one.
    """

    config: SelfPlayConfig
    reasons: tuple[str, ...]
    phases: tuple[Phase, ...]
    tokenizer: Any
    model_config: Any
    report: DataReport
    template: PromptTemplate
    teacher: Teacher | None
    train: Encoded
    held_out: Encoded | None
    verifier: Callable[[str, str], bool] | None
    held_out_judge: JudgeSettings | None
    engine: Engine | None
    adapter: Adapter | None

    def prompts(self, phase: Phase, iteration: int) -> list[EncodedExample]:
        """The training prompts that an iteration of a phase is played on."""
        fitting = phase.prompts(self.train.examples)
        each, seed = self.config.data.prompts_per_iteration, self.config.seed
        return [fitting[position] for position in prompts_of_iteration(len(fitting), each, iteration, seed)]

    def asked_by_scorer(self, phase: Phase, examples: Sequence[EncodedExample]) -> Mapping[int, Sequence[int]]:
        """The prompts of some examples as the scorer of a phase reads them, by index."""
        if self.teacher is not None and not phase.shows_expert:
            return self.teacher.train_ids
        words = None if phase.scorer is None else phase.scorer.template
        prompts = demonstration_prompts(examples, self.template, words)
        return {example.index: ids for example, ids in zip(examples, prompts, strict=True)}

    def without_data(self) -> Prepared:
        """The same without prompts and responses, which a worker elsewhere has no use for."""
        return dataclasses.replace(
            self,
            train=dataclasses.replace(self.train, examples=[]),
            held_out=None,
            teacher=None if self.teacher is None else dataclasses.replace(self.teacher, train=[], held_out=[]),
        )


def prepare(config: SelfPlayConfig, clock: Clock | None = None) -> Prepared:
    """Checks a configuration from the cheapest part to the dearest; no weights are loaded.

    Args:
        config: The run's.
        clock: The time that its chat template is told; None is now.

    Raises:
        InputError: Something is wrong with it, its data, its model or its tokenizer.
    """
    # First of all: other checks repeat what they find wrong.
    check_addresses(config)
    config, reasons = resolve(config)
    phases, _ = check_all(lambda: phases_of(config), lambda: check_training(config))
    judge = held_out_judge(config.evaluation.judge, [phase.judge for phase in phases])
    # The user's own code is imported before anything else is made.
    generator_class(config.generation)
    data = load(config.data, config.seed, row_needs(config, phases))
    # All processes are told the same time.
    clock = clock or processes.on_main(Clock.now)
    model_config, tokenizer = load_config(config.model), run_tokenizer(config, clock)
    adapter = adapter_for(config, model_config)
    ends, context = end_ids(config.model), context_length(model_config)
    template = config.data.template(tokenizer, clock, end_ids=ends)
    verifier = VERIFIERS[config.data.verifier]() if config.data.verifier is not None else None
    held_out_by = usable_judge(config, judge, data)
    check_stop(config, data, verifier, held_out_by)
    check_judges(config, phases, held_out_by)

    def encoded(examples: list[Example]) -> Encoded:
        # What becomes of an example has its words, so that it is let go of.
        given = _taken(examples)
        return encode(given, tokenizer, config.data, context_length=context, clock=clock, end_ids=ends)

    train = encoded(data.train)
    check_prompts(config, phases, train.examples)
    check_answers(config, phases, train)
    check_own_judges(config, phases, held_out_by, train.examples, clock)
    check_scorers(config, phases, train.examples, template, model_config)
    held_out = encoded(data.held_out) if data.held_out else None
    check_tokens(model_config, tokenizer, chain(_ids(train), _ids(held_out)))
    teacher = teacher_of(config, model_config, template, train, held_out)
    return Prepared(
        config=config,
        reasons=reasons,
        phases=phases,
        tokenizer=tokenizer,
        model_config=model_config,
        report=data.report,
        template=template,
        teacher=teacher,
        train=train,
        held_out=held_out,
        verifier=verifier,
        held_out_judge=held_out_by,
        engine=engine(config.generation, lambda: engine_model(config, model_config, train, held_out, teacher)),
        adapter=adapter,
    )


def _taken(examples: list[Example]) -> Iterator[Example]:
    """Each of them in order, taken out of the list."""
    examples.reverse()
    while examples:
        yield examples.pop()


def _ids(encoded: Encoded | None) -> Iterator[int]:
    """Every token id that is used."""
    if encoded is None:
        return
    yield from encoded.stop_ids
    for example in encoded.examples:
        yield from chain(example.prompt_ids, example.expert_ids, *example.compared_ids)


def run_tokenizer(config: SelfPlayConfig, clock: Clock | None) -> Any:
    """The model's tokenizer with the run's chat template, so that what is saved prompts as it was trained.

    Args:
        config: The run's.
        clock: The run's.
    """
    tokenizer = load_tokenizer(config.model)
    template = config.data.template(tokenizer, clock)
    if template.text is not None and template.standalone() != tokenizer.chat_template:
        tokenizer.chat_template = template.standalone()
    return tokenizer
