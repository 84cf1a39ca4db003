"""What a run would take, before it takes it: stability, tokens, memory, and time from a short calibration."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import asdict, dataclass, replace
from typing import Any

from rich.table import Table

from sparring.progress import duration
from sparring.run_directory import BASE
from sparring.training import processes as launched
from sparring.training.arguments import arguments_of, autocast_dtype
from sparring.training.config import PhaseConfig, SelfPlayConfig
from sparring.training.cost import Batch, Memory, Row, described, flops, memory
from sparring.training.phases import Phase
from sparring.training.policy import Policy
from sparring.training.prepare import Prepared, prepare
from sparring.training.rates import Rates, measure_rates
from sparring.types import EXPERT, EncodedExample


@dataclass(frozen=True, kw_only=True)
class Tokens:
    """Tokens of each kind of work in the whole run.

    Generated lengths are taken to be the expert's, or as long as they may be where a prompt has none.
    A token that is sampled from a mixture counts twice: two models read it.
    """

    generate: int
    score: int
    train: int

    def __add__(self, other: Tokens) -> Tokens:
        return Tokens(**{name: count + getattr(other, name) for name, count in asdict(self).items()})


@dataclass(frozen=True, kw_only=True)
class PhasePlan:
    """What is known of one phase. `comparisons` are those of its judge; their time is not estimated."""

    objective: str
    iterations: int
    prompts: int
    stability: dict[str, Any] | None
    comparisons: int

    def rows(self) -> list[tuple[str, str]]:
        """For people: what it is about, and what is said of it."""
        rows = []
        if self.stability is not None:
            number = f"{self.stability['symbol']} = {self.stability['value']:g}"
            rows.append(("stability", f"{number}; {self.stability['verdict']}"))
        if self.comparisons:
            rows.append(("judge", f"{self.comparisons:,} comparisons, whose time is not in the total"))
        return rows


@dataclass(frozen=True, kw_only=True)
class Plan:
    """What `sparring plan` prints: the phases one by one, and of all of them together what they take.

    `comparisons` are those of policies on the held-out set; the phases have their own.
    """

    processes: int
    phases: list[PhasePlan]
    data: dict[str, int]
    comparisons: int
    tokens: Tokens
    rates: Rates | None
    memory: Memory
    flops: dict[str, float]
    seconds: dict[str, float]

    def to_json(self) -> dict[str, Any]:
        """Plain values; bytes, seconds, tokens a second."""
        return asdict(self) | {"memory_total": self.memory.total, "seconds_total": sum(self.seconds.values())}

    def table(self) -> Table:
        """The same for people."""
        table = Table(show_header=False, box=None)
        for number, phase in enumerate(self.phases):
            if len(self.phases) > 1:
                text = f"{phase.objective}, {phase.iterations} iterations on {phase.prompts} prompts"
                table.add_row(f"phase {number}", text)
            for row in phase.rows():
                table.add_row(*row)
        table.add_row("examples", f"{self.data['train']} to train on, {self.data['held_out']} held out")
        if self.comparisons:
            text = f"{self.comparisons:,} comparisons of policies, whose time is not in the total"
            table.add_row("judge, held out", text)
        for name, count in asdict(self.tokens).items():
            rate = "" if self.rates is None else f" at {getattr(self.rates, name):,.0f} a second and process"
            spent = f": {duration(self.seconds[name])}" if rate else ""
            table.add_row(name, f"{count:,} tokens, {self.flops[name]:.2g} FLOPs{rate}{spent}")
        for name, size in asdict(self.memory).items():
            table.add_row(f"memory, {name}", f"{size / 2**30:.2f} GiB")
        table.add_row(
            "memory, total", f"{self.memory.total / 2**30:.2f} GiB a process, and about 0.6 GiB for libraries"
        )
        if self.seconds:
            table.add_row("time, total", f"about {duration(sum(self.seconds.values()))}")
        return table


def plan(
    config: SelfPlayConfig, *, processes: int | None = None, sharded: bool = False, calibrated: bool = True
) -> Plan:
    """Checks a configuration and estimates what it takes.

    Args:
        config: The run.
        processes: How many would play it; None for those that a launcher started.
        sharded: Whether they would share out the weights in training (FSDP).
        calibrated: Whether to load the model and measure its speed here, which takes about ten seconds; without,
            only the model's configuration is read, and there are no times.

    Raises:
        InputError: Something is wrong with the configuration, the data or the model.
    """
    prepared = _answered(prepare(config))
    processes = launched.count() if processes is None else processes
    tokens = _tokens(prepared, processes)
    rates: Rates | None = None
    model = described(config.model, prepared.model_config, config.lora)
    if calibrated:
        autocast = autocast_dtype(arguments_of(config, config.training))
        policy = Policy(config.model, prepared.tokenizer, lora=config.lora, seed=config.seed, autocast=autocast)
        model, rates = policy.model, measure_rates(prepared, policy)
    return Plan(
        processes=processes,
        phases=[_described(prepared, phase) for phase in prepared.phases],
        data={
            "train": len(prepared.train.examples),
            "held_out": len(prepared.held_out.examples) if prepared.held_out is not None else 0,
        },
        comparisons=_held_out_comparisons(prepared),
        tokens=tokens,
        rates=rates,
        memory=max(
            (_memory(prepared, phase, model, shards=processes if sharded else 1) for phase in prepared.phases),
            key=lambda each: each.total,
        ),
        flops=flops(
            model,
            **asdict(tokens),
            checkpointing=any(arguments_of(config, each.training).gradient_checkpointing for each in config.schedule),
        ),
        seconds={}
        if rates is None
        else {name: getattr(tokens, name) / rate / processes for name, rate in asdict(rates).items()},
    )


def _answered(prepared: Prepared) -> Prepared:
    """With a teacher, whose responses are not written yet, each as long as it may become."""
    if prepared.teacher is None:
        return prepared
    ids = [prepared.train.stop_ids[0]] * prepared.config.data.max_response_tokens
    train, held_out = (
        None if part is None else replace(part, examples=[replace(item, expert_ids=ids) for item in part.examples])
        for part in (prepared.train, prepared.held_out)
    )
    return replace(prepared, train=train or prepared.train, held_out=held_out)


def _described(prepared: Prepared, phase: Phase) -> PhasePlan:
    number, verdict = phase.objective.stability, None
    if number is not None:
        verdict = asdict(number) | {"contraction_factor": number.contraction_factor, "verdict": number.verdict}
    return PhasePlan(
        objective=phase.config.objective.name,
        iterations=len(phase.iterations),
        stability=verdict,
        prompts=len(phase.prompts(prepared.train.examples)),
        comparisons=_comparisons(phase.config, len(phase.prompts(prepared.train.examples))),
    )


def _memory(prepared: Prepared, phase: Phase, model: Any, *, shards: int) -> Memory:
    args = arguments_of(prepared.config, phase.config.training)
    batch = Batch.largest(
        _trained(prepared, phase),
        prompts=args.per_device_train_batch_size,
        sequences=phase.config.generation.batch_size,
        limit=prepared.config.data.max_response_tokens,
    )
    return memory(model, args, batch, shards=shards)


def _comparisons(config: PhaseConfig, prompts: int) -> int:
    """Every pair of responses to every prompt, in every iteration; an endpoint is asked about each in both orders."""
    if config.judge is None:
        return 0
    n = config.generation.samples_per_prompt + config.judge.expert_plays
    return config.iterations * prompts * n * (n - 1) // 2


def _held_out_comparisons(prepared: Prepared) -> int:
    """Every policy's held-out samples beside the base model's and the previous policy's."""
    if prepared.held_out_judge is None or prepared.held_out is None:
        return 0
    config = prepared.config
    # The first policy's previous one is the base model, which has no rival itself.
    rivals = 2 * config.total_iterations + (1 if config.warmup is not None else -1)
    return rivals * len(prepared.held_out.examples) * config.evaluation.samples_per_prompt


def _scored(prepared: Prepared, phase: Phase) -> list[Row]:
    """The rows that a phase scores."""
    return [
        Row(len(item.prompt_ids), (*([len(item.expert_ids)] if phase.reads_expert else []), *played))
        for item, played in _played(prepared, phase)
    ]


def _trained(prepared: Prepared, phase: Phase) -> list[Row]:
    """The rows that a phase trains on: an expert that is imitated and plays as well is in them twice."""
    requires, rows = phase.objective.requires, []
    for item, played in _played(prepared, phase):
        experts = (bool(requires & EXPERT) + phase.expert_plays) * [len(item.expert_ids)]
        initial = played if "policy_initial" in requires else []
        reference = _references(prepared, item) if "policy_reference" in requires else []
        rows.append(Row(len(item.prompt_ids), (*experts, *played, *initial, *reference)))
    return rows


def _played(prepared: Prepared, phase: Phase) -> Iterator[tuple[EncodedExample, list[int]]]:
    """The prompts of a phase, and how long the K responses to each are."""
    for item in phase.prompts(prepared.train.examples):
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


def _tokens(prepared: Prepared, processes: int) -> Tokens:
    total = _teacher_tokens(prepared) + _held_out_tokens(prepared) + _warmup_tokens(prepared, processes)
    total += _reference_tokens(prepared)
    for phase in prepared.phases:
        total += _phase_tokens(prepared, phase, processes)
    return total


def _teacher_tokens(prepared: Prepared) -> Tokens:
    """What a teacher writes, and scores of every policy's samples and of its own responses."""
    config, teacher = prepared.config, prepared.teacher
    if teacher is None:
        return Tokens(generate=0, score=0, train=0)
    limit, policies = config.data.max_response_tokens, config.total_iterations + 1 + (config.warmup is not None)
    asked = sum(len(item.prompt_ids) + limit for item in teacher.held_out)
    return Tokens(
        generate=(len(teacher.train) + len(teacher.held_out)) * limit,
        score=(1 + policies * config.evaluation.samples_per_prompt) * asked,
        train=0,
    )


def _warmup_tokens(prepared: Prepared, processes: int) -> Tokens:
    config, train = prepared.config, 0.0
    if config.warmup is not None:
        rows = [item for item in prepared.train.examples if item.expert_ids]
        epochs = _epochs(prepared, config.training | config.warmup.training, len(rows), processes)
        train = epochs * sum(len(item.prompt_ids) + len(item.expert_ids) for item in rows)
    return Tokens(generate=0, score=0, train=round(train))


def _reference_tokens(prepared: Prepared) -> Tokens:
    """What the base model samples once for all phases, where one of them learns from it."""
    needed = any("policy_reference" in phase.objective.requires for phase in prepared.phases)
    items = prepared.train.examples if needed else []
    return Tokens(generate=sum(sum(_references(prepared, item)) for item in items), score=0, train=0)


def _phase_tokens(prepared: Prepared, phase: Phase, processes: int) -> Tokens:
    """What a phase takes on the training prompts."""
    rows, iterations = _trained(prepared, phase), len(phase.iterations)
    scored = sum(len(phase.scorers(iteration)) for iteration in phase.iterations) if phase.needs_samples else 0
    readers = 2 if phase.opponent.spec(phase.iterations.start).base_share else 1
    epochs = _epochs(prepared, phase.config.training, len(rows), processes)
    generated = phase.samples * sum(_length(prepared, item) for item in phase.prompts(prepared.train.examples))
    return Tokens(
        generate=readers * iterations * generated,
        score=scored * sum(row.tokens for row in _scored(prepared, phase)),
        train=round(sum(row.tokens for row in rows) * iterations * epochs),
    )


def _held_out_tokens(prepared: Prepared) -> Tokens:
    """What evaluation takes, for each policy: one greedy and some sampled answers, all of which are scored."""
    config = prepared.config
    held_out = prepared.held_out.examples if prepared.held_out is not None else []
    samples, policies = config.evaluation.samples_per_prompt, config.total_iterations + 1 + (config.warmup is not None)
    # Every policy scores the experts, its greedy answer and its samples, of which the base model scores the last two
    # too. For the game it scores its opponent's samples, and those scorers come that have not done so yet; of a mixture
    # there are other samples, for which two models read every token.
    scored, mixed = policies * (3 + 2 * samples), 0
    for phase in prepared.phases:
        played = phase.iterations if phase.needs_samples else range(0)
        others = sum(len({*phase.scorers(iteration)} - {iteration, BASE}) for iteration in played)
        scored += len(played) * samples + others * (1 + samples)
        mixed += sum(2 * samples for iteration in played if phase.opponent.spec(iteration).base_share)
    lengths = [_length(prepared, item) for item in held_out]
    return Tokens(
        generate=(policies * (1 + samples) + mixed) * sum(lengths),
        score=scored * (sum(len(item.prompt_ids) for item in held_out) + sum(lengths)),
        train=0,
    )


def _epochs(prepared: Prepared, fields: Mapping[str, Any], rows: int, processes: int) -> float:
    """Passes over so many rows: as many as are asked for, or as the steps make that are set instead."""
    args = arguments_of(prepared.config, fields)
    if args.max_steps <= 0:
        return float(args.num_train_epochs)
    step = args.per_device_train_batch_size * args.gradient_accumulation_steps * processes
    return float(args.max_steps * step / rows)
