"""Prepares a run: checks a configuration, from the cheapest part to the dearest, before a model is loaded."""

from __future__ import annotations

import dataclasses
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from functools import partial
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
        config: The configuration, with the choices of a recipe written out.
        reasons: The recipe's choices and their reasons, in plain words.
        phases: The phases, in order.
        tokenizer: The model's tokenizer, with the run's chat template.
        model_config: The model's own configuration.
        report: The numbers of rows that were read, kept and left out.
        template: Writes the prompts, at the run's own time.
        teacher: The language model that is the expert, or None.
        train: The training prompts as token ids.
        held_out: The held-out prompts as token ids; None if nothing is held out.
        verifier: The rule that tells right responses from wrong ones, or None.
        held_out_judge: The settings of the judge that compares policies on the held-out set, or None.
        engine: The engine that samples in place of the policy's own model, or None.
        adapter: The run's LoRA as fitted to the model, or None.
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

    def scorer_prompts(self, phase: Phase, examples: Sequence[EncodedExample]) -> Mapping[int, Sequence[int]]:
        """The prompts of some examples as token ids, in the form that the scorer of a phase reads, by index."""
        if self.teacher is not None and not phase.shows_expert:
            return self.teacher.train_ids
        words = None if phase.scorer is None else phase.scorer.template
        prompts = demonstration_prompts(examples, self.template, words)
        return {example.index: ids for example, ids in zip(examples, prompts, strict=True)}

    def without_data(self) -> Prepared:
        """A copy without prompts and responses, for workers in other processes."""
        return dataclasses.replace(
            self,
            train=dataclasses.replace(self.train, examples=[]),
            held_out=None,
            teacher=None if self.teacher is None else dataclasses.replace(self.teacher, train=[], held_out=[]),
        )


def prepare(config: SelfPlayConfig, clock: Clock | None = None) -> Prepared:
    """Checks a configuration from the cheapest part to the dearest; no weights are loaded.

    Args:
        config: The configuration of the run.
        clock: The time that its chat template sees; None for now.

    Raises:
        InputError: Something is wrong with it, its data, its model or its tokenizer.
    """
    config, reasons, phases, judge = _from_settings(config)
    data = load(config.data, config.seed, row_needs(config, phases))
    # All processes use the same time.
    clock = clock or processes.on_main(Clock.now)
    model_config, tokenizer = load_config(config.model), run_tokenizer(config, clock)
    adapter = adapter_for(config, model_config)
    ends, context = end_ids(config.model), context_length(model_config)
    template = config.data.template(tokenizer, clock, end_ids=ends)
    verifier = VERIFIERS[config.data.verifier]() if config.data.verifier is not None else None
    held_out_by = usable_judge(config, judge, data)
    check_stop(config, data, verifier, held_out_by)
    check_judges(config, phases, held_out_by)

    encoded = partial(
        encode, tokenizer=tokenizer, config=config.data, context_length=context, clock=clock, end_ids=ends
    )
    train = encoded(_taken(data.train))
    check_prompts(config, phases, train.examples)
    check_answers(config, phases, train)
    check_own_judges(config, phases, held_out_by, train.examples, clock)
    check_scorers(config, phases, train.examples, template, model_config)
    held_out = encoded(_taken(data.held_out)) if data.held_out else None
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


def _from_settings(
    config: SelfPlayConfig,
) -> tuple[SelfPlayConfig, tuple[str, ...], tuple[Phase, ...], JudgeSettings | None]:
    """The configuration with a recipe's choices, their reasons, the phases, and the judge of held-out responses.

    All checks that need only the settings are made; a recipe reads the data too.
    """
    # Checked first, since the messages of other checks repeat settings, and an address may hold a password.
    check_addresses(config)
    config, reasons = resolve(config)
    phases, _ = check_all(lambda: phases_of(config), lambda: check_training(config))
    judge = held_out_judge(config.evaluation.judge, [phase.judge for phase in phases])
    # Imports the user's own generator before anything expensive.
    generator_class(config.generation)
    return config, reasons, phases, judge


def _taken(examples: list[Example]) -> Iterator[Example]:
    """The examples in order, each removed from the list: its encoded form, which holds the text too, replaces it."""
    examples.reverse()
    while examples:
        yield examples.pop()


def _ids(encoded: Encoded | None) -> Iterator[int]:
    """Every token id that prompts, responses and end tokens use."""
    if encoded is None:
        return
    yield from encoded.stop_ids
    for example in encoded.examples:
        yield from chain(example.prompt_ids, example.expert_ids, *example.compared_ids)


def run_tokenizer(config: SelfPlayConfig, clock: Clock | None) -> Any:
    """The model's tokenizer with the run's chat template, so that a saved policy is prompted as it was trained.

    Args:
        config: The configuration of the run.
        clock: The run's clock.
    """
    tokenizer = load_tokenizer(config.model)
    template = config.data.template(tokenizer, clock)
    if template.text is not None and template.standalone() != tokenizer.chat_template:
        tokenizer.chat_template = template.standalone()
    return tokenizer
