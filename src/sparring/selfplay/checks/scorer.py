"""Checks that a scorer's prompts fit into its context, and that it has enough tokens for `candidates`."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from sparring.data import PromptTemplate, check_demonstrations
from sparring.errors import InputError
from sparring.examples import EncodedExample
from sparring.models import context_length
from sparring.selfplay.config.schema import SelfPlayConfig
from sparring.selfplay.phases import Phase, errors_name_phase


def check_scorers(
    config: SelfPlayConfig,
    phases: Sequence[Phase],
    train: Sequence[EncodedExample],
    template: PromptTemplate,
    model_config: Any,
) -> None:
    """Raises InputError where prompts with their demonstrations are too long, or `candidates` is the vocabulary."""
    vocabulary, limit = model_config.get_text_config().vocab_size, config.data.max_response_tokens
    for phase in phases:
        with errors_name_phase(config, phase.number):
            if phase.scorer is not None and phase.scorer.candidates >= vocabulary:
                problem = f"the model has {vocabulary} tokens, and at least one must be among all others"
                raise InputError(problem, where="scorer.candidates", fix="try 32")
            if phase.scorer is not None and phase.shows_expert:
                check_demonstrations(
                    phase.prompts(train),
                    template,
                    phase.scorer.template,
                    limit=context_length(model_config) - limit,
                    unwritten=0 if config.data.teacher is None else limit,
                )
