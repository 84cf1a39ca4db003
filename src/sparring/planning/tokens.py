"""The tokens that a run samples, scores and trains on, counted from the lengths of the data."""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from dataclasses import asdict, dataclass

from sparring.examples import EncodedExample
from sparring.log_ratios import EXPERT_FIELDS
from sparring.planning.cost import TokenCounts
from sparring.planning.read_share import read_share
from sparring.policies import BASE
from sparring.selfplay.arguments import epochs_of
from sparring.selfplay.phases import Phase
from sparring.selfplay.prepared import Prepared


@dataclass(frozen=True, kw_only=True)
class Tokens:
    """Tokens of a run, or of a part of it, by what is done with them.

    A generated response is taken to be as long as the expert's, or as the limit where a prompt has none. A prompt is
    counted once for all responses that are read with it, as in packed rows; a model that is read in padded rows reads
    it once for each of them.

    Attributes:
        generate: Sampled tokens; one from a mixture counts twice, since two models read it.
        score: Tokens read for log-probs or for the features of a reward player, prompts included.
        train: Trained tokens of all epochs, prompts included; where a rule's verdicts decide which responses are
            trained on, an upper bound of their average.
    """

    generate: int = 0
    score: int = 0
    train: int = 0

    def __add__(self, other: Tokens) -> Tokens:
        return Tokens(**{name: count + getattr(other, name) for name, count in asdict(self).items()})

    @classmethod
    def total(cls, parts: Iterable[Tokens]) -> Tokens:
        """The sum of several parts."""
        return sum(parts, cls())


def scored_rows(prepared: Prepared, phase: Phase, iteration: int) -> Iterator[TokenCounts]:
    """The rows that an iteration scores, as an iterator since there may be millions."""
    for item, lengths in _generated(prepared, phase, iteration):
        expert = [len(item.expert_ids)] if phase.reads_expert else []
        yield TokenCounts(len(item.prompt_ids), (*expert, *lengths))


def scorer_rows(prepared: Prepared, phase: Phase, iteration: int) -> Iterator[TokenCounts]:
    """The rows in which an iteration's scorer reads the responses, after a prompt of its own; none without a scorer."""
    if phase.scorer is None:
        return
    asked = prepared.scorer_prompts(phase, prepared.prompts(phase, iteration))
    # A teacher's response that the scorer is shown is not written yet, so its prompt lacks it.
    unwritten = prepared.teacher is not None and phase.shows_expert
    for item, lengths in _generated(prepared, phase, iteration):
        yield TokenCounts(len(asked[item.index]) + unwritten * len(item.expert_ids), tuple(lengths))


def reward_player_rows(prepared: Prepared, phase: Phase, iteration: int) -> Iterator[TokenCounts]:
    """The rows from whose features an iteration's reward player learns; none without such a player."""
    if phase.reward_player is None:
        return
    for item, lengths in _generated(prepared, phase, iteration):
        expert = [len(item.expert_ids)] if item.expert_ids else []
        yield TokenCounts(len(item.prompt_ids), (*expert, *lengths))


def trained_rows(prepared: Prepared, phase: Phase, iteration: int) -> Iterator[TokenCounts]:
    """The rows that an iteration trains on; an expert that is imitated and is compared with samples counts twice."""
    requires = phase.objective.requires
    for item, lengths in _generated(prepared, phase, iteration):
        experts = (bool(requires & EXPERT_FIELDS) + phase.expert_plays) * [len(item.expert_ids)]
        initial = lengths if "policy_initial" in requires else []
        reference = _references(prepared, item) if "policy_reference" in requires else []
        earlier = len(phase.team(iteration)[1:]) * lengths
        yield TokenCounts(len(item.prompt_ids), (*experts, *lengths, *initial, *reference, *earlier))


def _generated(prepared: Prepared, phase: Phase, iteration: int) -> Iterator[tuple[EncodedExample, list[int]]]:
    """The prompts of an iteration, each with the lengths of the K responses that are sampled or given."""
    for item in prepared.prompts(phase, iteration):
        given = [len(ids) for ids in item.compared_ids]
        yield item, given if phase.given else phase.samples * [_length(prepared, item)]


def _references(prepared: Prepared, item: EncodedExample) -> list[int]:
    """The lengths of a prompt's M samples from the base model."""
    return prepared.config.generation.samples_per_prompt * [_length(prepared, item)]


def _length(prepared: Prepared, item: EncodedExample) -> int:
    """The length that a generated response is taken to have."""
    return len(item.expert_ids) or prepared.config.data.max_response_tokens


def tokens_by_part(prepared: Prepared, processes: int) -> dict[str, Tokens]:
    """The tokens of each part of a run by its name, for a number of processes; parts without tokens are left out."""
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
    """The tokens that the control trains on, which take as much computation as the phases."""
    if not prepared.config.control:
        return Tokens()
    # A forward pass takes a third of the computation of a training step, or half where an adapter alone is trained.
    share = 3 if prepared.config.lora is None else 2
    return Tokens(train=sum(each.train + (each.generate + each.score) // share for each in phases))


def _teacher_tokens(prepared: Prepared) -> Tokens:
    """The tokens that a teacher writes, and those that it scores: every policy's held-out samples and its own."""
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
    """The tokens of the warm-up; where it ends at a plateau, those of all its epochs."""
    config, warmup = prepared.config, prepared.config.warmup
    if warmup is None:
        return Tokens()
    taught, validation = warmup.split(prepared.train.examples)
    epochs = epochs_of(config, warmup.fields(config.training), rows=len(taught), processes=processes)
    once, look = (sum(len(item.prompt_ids) + len(item.expert_ids) for item in items) for items in (taught, validation))
    return Tokens(score=round(look * (1 + epochs / warmup.every)), train=round(epochs * once))


def _reference_tokens(prepared: Prepared) -> Tokens:
    """The tokens that the base model samples, once for all phases, where an objective learns from its samples."""
    needed = any("policy_reference" in phase.objective.requires for phase in prepared.phases)
    items = prepared.train.examples if needed else []
    return Tokens(generate=sum(sum(_references(prepared, item)) for item in items))


def _phase_tokens(prepared: Prepared, phase: Phase, processes: int) -> Tokens:
    """The tokens of a phase on the training prompts."""
    total, share = Tokens(), read_share(prepared, phase)
    for iteration in phase.iterations:
        prompts = prepared.prompts(phase, iteration)
        generated = phase.samples * sum(_length(prepared, item) for item in prompts)
        models = 2 if phase.opponent.spec(iteration).base_share else 1
        scorers = len(phase.scorers(iteration)) if phase.needs_samples else 0
        scored = scorers * sum(row.packed for row in scored_rows(prepared, phase, iteration))
        by_scorer = sum(row.packed for row in scorer_rows(prepared, phase, iteration))
        by_reward_player = sum(row.packed for row in reward_player_rows(prepared, phase, iteration))
        trained = sum(share.of(row, phase.samples) for row in trained_rows(prepared, phase, iteration))
        epochs = epochs_of(prepared.config, phase.config.training, rows=len(prompts), processes=processes)
        total += Tokens(
            generate=models * generated,
            score=scored + by_scorer + by_reward_player,
            train=round(trained * epochs),
        )
    return total


def _held_out_tokens(prepared: Prepared) -> Tokens:
    """The tokens of evaluation.

    Each policy scores the responses that the data compare. It also answers the held-out prompts and plays its game on
    them; if `evaluation.answers` is off, it only scores the experts.
    """
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
    """The tokens of the policies' own answers to the held-out prompts: a greedy one and some samples of each policy.

    The policy scores the expert's response, its greedy answer and its samples, and reads the prompt once for all; the
    base model scores the greedy answer and the samples, and reads the prompt once too.

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
    """The tokens of the objectives on the held-out prompts, beside the policies' own answers; arguments as there.

    Policy t + 1 also scores the samples of its opponent and of each earlier member of a team. The experts and the
    opponent's samples are scored by every scorer but policy t and the base model, which have scored them already. A
    mixture draws samples of its own, whose every token two models read.
    """
    samples, total = prepared.config.evaluation.samples_per_prompt, Tokens()
    for phase in prepared.phases:
        for iteration in phase.iterations if phase.needs_samples else ():
            others = len({*phase.scorers(iteration)} - {iteration, BASE})
            players = len(phase.team(iteration)[1:]) + 1
            models = 2 if phase.opponent.spec(iteration).base_share else 0
            total += Tokens(
                generate=models * samples * response,
                score=others * prompts + (players * samples + others * (1 + samples)) * response,
            )
    return total
