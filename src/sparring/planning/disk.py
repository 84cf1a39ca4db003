"""Disk use of a run, from the shapes of its model and the lengths of its data, with what the run keeps."""

from __future__ import annotations

import math
from collections.abc import Iterator
from dataclasses import asdict, dataclass
from typing import Any

from sparring.planning.cost import state_bytes
from sparring.planning.tokens import reward_player_rows, scored_rows, scorer_rows
from sparring.selfplay.arguments import arguments_of, steps_of
from sparring.selfplay.phases import Phase
from sparring.selfplay.prepared import Prepared
from sparring.selfplay.retention import kept_samples, models_at_once
from sparring.trainer.arguments import saves_by_the_clock

# Bytes a token in Parquet files: its id and its text in a sample; in held-out files also its log-probs under several
# policies, and its row in the report. Measured, see docs/reliability.md; they depend on the texts.
_SAMPLE, _HELD_OUT = 3, 30
# Bytes of a sample's number, digest and log-prob in a file of scores.
_SCORE = 50
# Bytes of a next token's id and log-prob; compression does not make them fewer, since they look random.
_NEXT_TOKEN = 8


@dataclass(frozen=True, kw_only=True)
class Use:
    """Bytes on the disk.

    Attributes:
        models: Saved policies.
        checkpoints: The checkpoints of the training that is under way: weights, and the optimizer's states.
        samples: Samples and log-probs of the training prompts.
        held_out: Responses to the held-out prompts and their log-probs, which are always kept.
    """

    models: int
    checkpoints: int
    samples: int
    held_out: int

    @property
    def total(self) -> int:
        """The sum of all four."""
        return sum(asdict(self).values())


@dataclass(frozen=True, kw_only=True)
class Disk:
    """The disk use of a run: the peak of each of its parts, and what is left when it has ended."""

    peak: Use
    end: Use


def disk(prepared: Prepared, model: Any, *, processes: int) -> Disk:
    """The disk use of a run.

    Args:
        prepared: The run.
        model: The model from `model_shapes`.
        processes: The number of processes that train it.
    """
    config, phases = prepared.config, prepared.phases
    saved = _saved_bytes(model, adapter=config.lora is not None)
    models = models_at_once(config.keep, phases, warmed_up=config.warmup is not None)
    by_iteration = [_sample_bytes(prepared, phase, iteration) for phase in phases for iteration in phase.iterations]
    kept = [
        sum(by_iteration[number] for number in kept_samples(config.keep, phases, policy))
        for policy in range(len(by_iteration) + 1)
    ]
    held_out = config.measured * _held_out_bytes(prepared)
    return Disk(
        peak=Use(
            models=(models.most + config.controls) * saved,
            checkpoints=max(_checkpoint_bytes(prepared, model, saved, processes)),
            # The samples of the iteration that is played come on top of those that are kept.
            samples=max((before + new for before, new in zip(kept, by_iteration, strict=False)), default=0),
            held_out=held_out,
        ),
        end=Use(models=(models.end + config.controls) * saved, checkpoints=0, samples=kept[-1], held_out=held_out),
    )


def _saved_bytes(model: Any, *, adapter: bool) -> int:
    return sum(p.numel() * p.element_size() for p in model.parameters() if p.requires_grad or not adapter)


def _checkpoint_bytes(prepared: Prepared, model: Any, saved: int, processes: int) -> Iterator[int]:
    """The bytes of each training's checkpoints, with the new one that is written before the oldest is removed."""
    config, warmup = prepared.config, prepared.config.warmup
    trainings = [
        (phase.config.training, len(prepared.prompts(phase, phase.iterations.start)), 0) for phase in prepared.phases
    ]
    if warmup is not None:
        taught, validation = warmup.split(prepared.train.examples)
        # Training until a plateau also keeps the checkpoint with the best validation loss.
        trainings.append((warmup.fields(config.training), len(taught), int(bool(validation))))
    for fields, prompts, kept in trainings:
        args = arguments_of(config, fields)
        states = sum(
            p.numel() * state_bytes(args.optim, p.element_size()) for p in model.parameters() if p.requires_grad
        )
        steps = steps_of(args, rows=prompts, processes=processes)
        # As time passes, nobody knows after which steps: at most after each but the last.
        every = 1 if saves_by_the_clock(fields) else args.save_steps
        written = math.ceil(steps / (every if every >= 1 else max(1, every * steps)))
        at_once = written if args.save_total_limit is None else min(written, args.save_total_limit + 1)
        yield (at_once + kept) * (saved + states)


def _sample_bytes(prepared: Prepared, phase: Phase, iteration: int) -> int:
    scorers = len(phase.scorers(iteration))
    candidates = 0 if phase.scorer is None else phase.scorer.candidates
    # The features of `response_features` in fp32, beside a number and a digest, and the reward.
    each: int = 4 * prepared.model_config.get_text_config().hidden_size + 2 * _SCORE
    rewarded = sum(each * len(row.responses) for row in reward_player_rows(prepared, phase, iteration))
    return (
        rewarded
        + sum(
            _SAMPLE * row.unpacked + _SCORE * scorers * len(row.responses)
            for row in scored_rows(prepared, phase, iteration)
        )
        + sum(_NEXT_TOKEN * candidates * sum(row.responses) for row in scorer_rows(prepared, phase, iteration))
    )


def _held_out_bytes(prepared: Prepared) -> int:
    """The bytes of one policy's greedy and sampled responses to each prompt, and of the expert's log-probs."""
    if prepared.held_out is None:
        return 0
    evaluation, limit = prepared.config.evaluation, prepared.config.data.max_response_tokens
    times = 1 + (1 + evaluation.samples_per_prompt if evaluation.answers else 0)
    return sum(
        times * (_HELD_OUT * (len(item.expert_ids) or limit) + _SAMPLE * len(item.prompt_ids))
        for item in prepared.held_out.examples
    )
