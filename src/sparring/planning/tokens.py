"""How many tokens a run samples, scores and trains on."""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from dataclasses import asdict, dataclass

from sparring.examples import EncodedExample
from sparring.log_ratios import EXPERT_FIELDS
from sparring.planning.cost import TokenCounts
from sparring.planning.reading import reading_of
from sparring.policies import BASE
from sparring.selfplay.arguments import epochs_of
from sparring.selfplay.phases import Phase
from sparring.selfplay.prepared import Prepared


@dataclass(frozen=True, kw_only=True)
class Tokens:
    """Tokens of the whole run.

    A generated response is taken to be as long as the expert's, or the limit where a prompt has none. A prompt counts
    once for all responses that are read with it, as packed rows read it; a model that reads padded rows reads it once
    for each of them.

    Attributes:
        generate: Sampled tokens; one from a mixture counts twice, since two models read it.
        score: Scored tokens, prompts included, and those from whose predictions a reward is learnt.
        train: Trained tokens, prompts included, of all epochs; on average at most, where a rule's verdicts decide which
            responses are trained on.
    """

    generate: int = 0
    score: int = 0
    train: int = 0

    def __add__(self, other: Tokens) -> Tokens:
        return Tokens(**{name: count + getattr(other, name) for name, count in asdict(self).items()})

    @classmethod
    def total(cls, parts: Iterable[Tokens]) -> Tokens:
        """The sum of some."""
        return sum(parts, cls())


def scored_rows(prepared: Prepared, phase: Phase, iteration: int) -> Iterator[TokenCounts]:
    """The rows that an iteration scores; one at a time, since there may be millions."""
    for item, played in _played(prepared, phase, iteration):
        expert = [len(item.expert_ids)] if phase.reads_expert else []
        yield TokenCounts(len(item.prompt_ids), (*expert, *played))


def shown_rows(prepared: Prepared, phase: Phase, iteration: int) -> Iterator[TokenCounts]:
    """The rows that an iteration's scorer reads token by token, with what it is shown; none without one."""
    if phase.scorer is None:
        return
    asked = prepared.asked_by_scorer(phase, prepared.prompts(phase, iteration))
    unwritten = prepared.teacher is not None and phase.shows_expert
    for item, played in _played(prepared, phase, iteration):
        yield TokenCounts(len(asked[item.index]) + unwritten * len(item.expert_ids), tuple(played))


def rewarded_rows(prepared: Prepared, phase: Phase, iteration: int) -> Iterator[TokenCounts]:
    """The rows from whose predictions an iteration's reward player learns; none where it has no such player."""
    if phase.reward_player is None:
        return
    for item, played in _played(prepared, phase, iteration):
        expert = [len(item.expert_ids)] if item.expert_ids else []
        yield TokenCounts(len(item.prompt_ids), (*expert, *played))


def trained_rows(prepared: Prepared, phase: Phase, iteration: int) -> Iterator[TokenCounts]:
    """The rows that an iteration trains on: an expert that is imitated and plays as well is in them twice."""
    requires = phase.objective.requires
    for item, played in _played(prepared, phase, iteration):
        experts = (bool(requires & EXPERT_FIELDS) + phase.expert_plays) * [len(item.expert_ids)]
        initial = played if "policy_initial" in requires else []
        reference = _references(prepared, item) if "policy_reference" in requires else []
        earlier = len(phase.team(iteration)[1:]) * played
        yield TokenCounts(len(item.prompt_ids), (*experts, *played, *initial, *reference, *earlier))


def _played(prepared: Prepared, phase: Phase, iteration: int) -> Iterator[tuple[EncodedExample, list[int]]]:
    """The prompts of an iteration, and how long the K responses to each are."""
    for item in prepared.prompts(phase, iteration):
        yield (
            item,
            [len(ids) for ids in item.compared_ids] if phase.given else phase.samples * [_length(prepared, item)],
        )


def _references(prepared: Prepared, item: EncodedExample) -> list[int]:
    """How long the M reference samples of a prompt are."""
    return prepared.config.generation.samples_per_prompt * [_length(prepared, item)]


def _length(prepared: Prepared, item: EncodedExample) -> int:
    """How long a generated response is taken to be."""
    return len(item.expert_ids) or prepared.config.data.max_response_tokens


def tokens_by_part(prepared: Prepared, processes: int) -> dict[str, Tokens]:
    """What a run takes, played by so many processes: its parts by name, those that take nothing left out."""
    phases = [_phase_tokens(prepared, phase, processes) for phase in prepared.phases]
    parts = {
        "teacher": _teacher_tokens(prepared),
        "warm-up": _warmup_tokens(prepared, processes),
        "play": Tokens.total([_reference_tokens(prepared), *phases]),
        "control": _control_tokens(prepared, phases),
        "evaluation": _held_out_tokens(prepared),
    }
    return {name: tokens for name, tokens in parts.items() if any(asdict(tokens).values())}


def _control_tokens(prepared: Prepared, phases: Iterable[Tokens]) -> Tokens:
    """What the control trains on, for as much computation as the phases take."""
    if not prepared.config.control:
        return Tokens()
    # A token that is read takes a third of one that is trained on, or half of one of which an adapter alone is trained.
    share = 3 if prepared.config.lora is None else 2
    return Tokens(train=sum(each.train + (each.generate + each.score) // share for each in phases))


def _teacher_tokens(prepared: Prepared) -> Tokens:
    """What a teacher writes, and scores of every policy's samples and of its own responses."""
    config, teacher = prepared.config, prepared.teacher
    if teacher is None:
        return Tokens()
    limit, policies = config.data.max_response_tokens, config.measured
    asked = sum(len(item.prompt_ids) + limit for item in teacher.held_out)
    return Tokens(
        generate=(len(teacher.train) + len(teacher.held_out)) * limit,
        score=(1 + policies * config.evaluation.samples_per_prompt) * asked,
    )


def _warmup_tokens(prepared: Prepared, processes: int) -> Tokens:
    """What the warm-up takes; until a plateau, to its limit."""
    config, warmup = prepared.config, prepared.config.warmup
    if warmup is None:
        return Tokens()
    taught, validation = warmup.split(prepared.train.examples)
    epochs = epochs_of(config, warmup.fields(config.training), rows=len(taught), processes=processes)
    once, look = (sum(len(item.prompt_ids) + len(item.expert_ids) for item in items) for items in (taught, validation))
    return Tokens(score=round(look * (1 + epochs / warmup.every)), train=round(epochs * once))


def _reference_tokens(prepared: Prepared) -> Tokens:
    """What the base model samples once for all phases, where one of them learns from it."""
    needed = any("policy_reference" in phase.objective.requires for phase in prepared.phases)
    items = prepared.train.examples if needed else []
    return Tokens(generate=sum(sum(_references(prepared, item)) for item in items))


def _phase_tokens(prepared: Prepared, phase: Phase, processes: int) -> Tokens:
    """What a phase takes on the training prompts."""
    total, reading = Tokens(), reading_of(prepared, phase)
    for iteration in phase.iterations:
        prompts = prepared.prompts(phase, iteration)
        trained = sum(reading.of(row, phase.samples) for row in trained_rows(prepared, phase, iteration))
        scorers = len(phase.scorers(iteration)) if phase.needs_samples else 0
        readers = 2 if phase.opponent.spec(iteration).base_share else 1
        epochs = epochs_of(prepared.config, phase.config.training, rows=len(prompts), processes=processes)
        generated = phase.samples * sum(_length(prepared, item) for item in prompts)
        shown = sum(row.read for row in shown_rows(prepared, phase, iteration))
        rewarded = sum(row.read for row in rewarded_rows(prepared, phase, iteration))
        total += Tokens(
            generate=readers * generated,
            score=scorers * sum(row.read for row in scored_rows(prepared, phase, iteration)) + shown + rewarded,
            train=round(trained * epochs),
        )
    return total


def _held_out_tokens(prepared: Prepared) -> Tokens:
    """What evaluation takes: each policy scores what the data compare, and beside it answers, or else the experts."""
    config, policies = prepared.config, prepared.config.measured
    held_out = prepared.held_out.examples if prepared.held_out is not None else []
    compared = sum(len(item.prompt_ids) + sum(map(len, item.compared_ids)) for item in held_out if item.compared_ids)
    if not config.evaluation.answers:
        experts = sum(len(item.prompt_ids) + len(item.expert_ids) for item in held_out if item.expert_ids)
        return Tokens(score=policies * (experts + compared))
    prompts = sum(len(item.prompt_ids) for item in held_out)
    response = sum(_length(prepared, item) for item in held_out)
    own = _own_answers_tokens(prepared, prompts, response)
    return Tokens.total([Tokens(score=policies * compared), own, _game_tokens(prepared, prompts, response)])


def _own_answers_tokens(prepared: Prepared, prompts: int, response: int) -> Tokens:
    """What the policies' own answers to the held-out prompts take: of each a greedy one and some samples.

    The policy scores the experts, its greedy answer and its samples in one reading of the prompt, and the base model
    the last two in another.

    Args:
        prepared: The run.
        prompts: Tokens of all held-out prompts.
        response: Tokens of one response to each of them.
    """
    policies, answers = prepared.config.measured, 1 + prepared.config.evaluation.samples_per_prompt
    return Tokens(
        generate=policies * answers * response,
        score=policies * (2 * prompts + (1 + 2 * answers) * response),
    )


def _game_tokens(prepared: Prepared, prompts: int, response: int) -> Tokens:
    """What the game on the held-out prompts takes beside the policies' own answers; arguments as there.

    The policy reads its opponent's samples with its own, those of earlier members of a team too, and those scorers come
    that have not done so yet. Of a mixture there are other samples, for which two models read every token.
    """
    samples, total = prepared.config.evaluation.samples_per_prompt, Tokens()
    for phase in prepared.phases:
        for iteration in phase.iterations if phase.needs_samples else ():
            others = len({*phase.scorers(iteration)} - {iteration, BASE})
            read = len(phase.team(iteration)[1:]) + 1
            mixed = 2 if phase.opponent.spec(iteration).base_share else 0
            total += Tokens(
                generate=mixed * samples * response,
                score=others * prompts + (read * samples + others * (1 + samples)) * response,
            )
    return total
