"""What a run would take, before it takes it: stability, tokens, memory, and time from a short calibration."""

from __future__ import annotations

from dataclasses import asdict, dataclass, replace
from typing import Any

from rich.table import Table

from sparring.games.stability import stability
from sparring.models.quantization import share_quantized
from sparring.planning.cost import Batch, Memory, described, flops, memory
from sparring.planning.disk import Disk, disk
from sparring.planning.rates import Rates, measure_rates
from sparring.planning.reading import reading_of
from sparring.planning.tokens import Tokens, tokens_by_part, trained_rows
from sparring.progress import duration
from sparring.selfplay.arguments import arguments_of, run_autocast
from sparring.selfplay.checks.quantization import refuse_sharding
from sparring.selfplay.config.schema import PhaseConfig, SelfPlayConfig
from sparring.selfplay.notes import notes
from sparring.selfplay.phases import Phase
from sparring.selfplay.policy import Policy
from sparring.selfplay.prepared import Prepared, prepare
from sparring.trainer.parts import PART_TOKENS, in_parts
from sparring.types import StabilityNumber
from sparring.work import processes as launched


@dataclass(frozen=True, kw_only=True)
class PhasePlan:
    """What is known of one phase.

    `comparisons` are those of its judge, whose time is not estimated unless it `is_instant`; `experts` are the prompts
    from whose experts a reward player learns, where there is one.
    """

    game: str
    objective: str
    iterations: int
    prompts: int
    stability: StabilityNumber | None
    comparisons: int
    is_instant: bool
    experts: int | None

    def rows(self) -> list[tuple[str, str]]:
        """For people: what it is about, and what is said of it."""
        if self.iterations == 0:
            return [("game", "none: the run ends after its warm-up")]
        times = "1 iteration" if self.iterations == 1 else f"{self.iterations} iterations"
        rows = [("game", f"{self.game}; {times} on {self.prompts} prompts")]
        if self.stability is not None:
            limit = "that is of exact iterations: in training the learning rate decides first"
            rows.append(("stability", f"{self.stability}; {limit}"))
        elif self.comparisons:
            rows.append(("stability", "depends on the preferences: there is no number to check beforehand"))
        if self.comparisons and not self.is_instant:
            rows.append(("judge", f"{self.comparisons:,} comparisons, whose time is not in the total"))
        if self.experts is not None:
            rows.append(("reward player", f"learns from the experts of {self.experts} of {self.prompts} prompts"))
        return rows

    def to_json(self) -> dict[str, Any]:
        """Plain values."""
        return asdict(self) | {"stability": self.stability and self.stability.to_json()}


@dataclass(frozen=True, kw_only=True)
class Part:
    """What a part of a run takes of the whole.

    `seconds` is None where no speed was measured; `is_most` says that it may well take less.
    """

    tokens: Tokens
    seconds: float | None
    is_most: bool


@dataclass(frozen=True, kw_only=True)
class Plan:
    """What `sparring plan` prints: the phases one by one, and of all of them together what they take.

    `comparisons` are those of policies on the held-out set that take time; the phases have their own. `notes` say what
    was left out of the data or cut, and what the model sees otherwise than the rows say. `quantized` is the share of
    the model's weights that `model.quantization` holds in few bits. `parts` are what the warm-up, the play, the control
    and the like take of the tokens and the seconds.
    """

    processes: int
    phases: list[PhasePlan]
    data: dict[str, int]
    notes: list[str]
    comparisons: int
    tokens: Tokens
    rates: Rates | None
    quantized: float
    memory: Memory
    disk: Disk
    flops: dict[str, float]
    seconds: dict[str, float]
    parts: dict[str, Part]

    def to_json(self) -> dict[str, Any]:
        """Plain values; bytes, seconds, tokens a second."""
        totals = {"peak": self.disk.peak.total, "end": self.disk.end.total}
        return asdict(self) | {
            "phases": [phase.to_json() for phase in self.phases],
            "memory_total": self.memory.total,
            "disk_total": totals,
            "seconds_total": sum(self.seconds.values()),
        }

    def table(self) -> Table:
        """The same for people."""
        table = Table(show_header=False, box=None)
        for number, phase in enumerate(self.phases):
            for what, said in phase.rows():
                table.add_row(f"phase {number}" if what == "game" and len(self.phases) > 1 else what, said)
        table.add_row("examples", f"{self.data['train']} to train on, {self.data['held_out']} held out")
        if self.comparisons:
            text = f"{self.comparisons:,} comparisons of policies, whose time is not in the total"
            table.add_row("judge, held out", text)
        for name, count in asdict(self.tokens).items():
            rate = "" if self.rates is None else f" at {getattr(self.rates, name):,.0f} a second and process"
            spent = f": {duration(self.seconds[name])}" if rate else ""
            told = f"{name}, held out" if name == "generate" and self._generates_held_out() else name
            table.add_row(told, f"{count:,} tokens, {self.flops[name]:.2g} FLOPs{rate}{spent}")
        for name, part in self.parts.items():
            spent = "" if part.seconds is None else f": {duration(part.seconds)}"
            most = "at most " if part.is_most else ""
            table.add_row(f"of that, {name}", f"{most}{sum(asdict(part.tokens).values()):,} tokens{spent}")
        if self.quantized:
            table.add_row("quantised", f"{self.quantized:.1%} of the model's weights")
        for name, size in asdict(self.memory).items():
            table.add_row(f"memory, {name}", f"{size / 2**30:.2f} GiB")
        table.add_row(
            "memory, total", f"{self.memory.total / 2**30:.2f} GiB a process, and about 0.6 GiB for libraries"
        )
        for name, most in asdict(self.disk.peak).items():
            end = getattr(self.disk.end, name)
            table.add_row(f"disk, {name.replace('_', ' ')}", f"{_size(most)} at most, {_size(end)} in the end")
        total = f"{_size(self.disk.peak.total)} at most, {_size(self.disk.end.total)} in the end"
        table.add_row("disk, total", f"{total}, beside the data, the report and the cache")
        if self.seconds:
            most = "at most " if any(part.is_most for part in self.parts.values()) else ""
            table.add_row("time, total", f"{most}about {duration(sum(self.seconds.values()))}")
        return table

    def _generates_held_out(self) -> bool:
        """Whether all that is generated are answers to held-out prompts, as where the data bring the responses."""
        return {name for name, part in self.parts.items() if part.tokens.generate} == {"evaluation"}


def _size(size: int) -> str:
    return f"{size / 2**30:.2f} GiB" if size >= 2**28 else f"{size / 2**20:.1f} MiB"


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
    refuse_sharding(config, sharded=sharded)
    prepared = _answered(prepare(config))
    # With what a recipe chose written out.
    config = prepared.config
    processes = launched.count() if processes is None else processes
    parts = tokens_by_part(prepared, processes)
    tokens = Tokens.total(parts.values())
    rates: Rates | None = None
    model = described(config.model, prepared.model_config, config.lora)
    if calibrated:
        policy = Policy(
            config.model, prepared.tokenizer, lora=config.lora, seed=config.seed, autocast=run_autocast(config)
        )
        rates = measure_rates(prepared, policy)
    return Plan(
        processes=processes,
        phases=[_described(prepared, phase) for phase in prepared.phases],
        data={
            "train": len(prepared.train.examples),
            "held_out": len(prepared.held_out.examples) if prepared.held_out is not None else 0,
        },
        notes=[*notes(prepared), *_untaught(prepared)],
        comparisons=_held_out_comparisons(prepared),
        tokens=tokens,
        rates=rates,
        quantized=0.0 if config.model.quantization is None else share_quantized(model),
        memory=max(
            (_memory(prepared, phase, model, processes, sharded=sharded) for phase in prepared.phases),
            key=lambda each: each.total,
        ),
        disk=disk(prepared, model, processes=processes),
        flops=flops(
            model,
            **asdict(tokens),
            checkpointing=any(arguments_of(config, each.training).gradient_checkpointing for each in config.schedule),
        ),
        seconds=_seconds(tokens, rates, processes),
        parts={
            name: Part(
                tokens=part,
                seconds=None if rates is None else sum(_seconds(part, rates, processes).values()),
                is_most=name in _bounded(prepared),
            )
            for name, part in parts.items()
        },
    )


def _seconds(tokens: Tokens, rates: Rates | None, processes: int) -> dict[str, float]:
    """How long some tokens take, by what is done with them; nothing where no speed was measured."""
    if rates is None:
        return {}
    return {name: getattr(tokens, name) / rate / processes for name, rate in asdict(rates).items()}


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
    prompts = prepared.prompts(phase, phase.iterations.start)
    penalties = [f"{each.options['weight']:g} × {each.name}" for each in phase.config.regularizers]
    return PhasePlan(
        game=" + ".join([phase.title, *penalties]) + f", against '{phase.config.opponent.name}'",
        objective=phase.config.objective.name,
        iterations=len(phase.iterations),
        stability=stability(phase.objective),
        prompts=len(prompts),
        comparisons=_comparisons(phase.config, len(prompts)),
        is_instant=phase.judge is not None and phase.judge.is_instant,
        experts=None if phase.reward_player is None else sum(bool(item.expert_ids) for item in prompts),
    )


def _memory(prepared: Prepared, phase: Phase, model: Any, processes: int, *, sharded: bool) -> Memory:
    args = arguments_of(prepared.config, phase.config.training)
    # Where every iteration is played on all prompts, one stands for all: the last, by when a team is complete.
    # A run that ends after its warm-up has the objective of that.
    different = phase.iterations if prepared.config.data.prompts_per_iteration else phase.iterations[-1:] or range(1)
    batch = Batch.largest(
        (row for iteration in different for row in trained_rows(prepared, phase, iteration)),
        prompts=args.per_device_train_batch_size,
        sequences=phase.config.generation.batch_size,
        limit=prepared.config.data.max_response_tokens,
        part=PART_TOKENS if in_parts(phase.objective, args.device.type, processes) else None,
    )
    shards = processes if sharded else 1
    return memory(model, args, batch, shards=shards, quantization=prepared.config.model.quantization)


def _bounded(prepared: Prepared) -> set[str]:
    """The parts of which the most is counted: what verdicts leave out, or a plateau ends, shows in the run alone."""
    warmup = prepared.config.warmup
    ends = {"warm-up"} if warmup is not None and warmup.until == "plateau" else set()
    return ends | ({"play", "control"} if _untaught(prepared) else set())


def _untaught(prepared: Prepared) -> list[str]:
    """Which objectives train on fewer responses than are generated."""
    told = (reading_of(prepared, phase).told for phase in prepared.phases)
    return [*dict.fromkeys(text for text in told if text is not None)]


def _comparisons(config: PhaseConfig, prompts: int) -> int:
    """Every pair of responses to every prompt, in every iteration; an endpoint is asked about each in both orders."""
    if config.judge is None:
        return 0
    n = config.generation.samples_per_prompt + config.judge.expert_plays
    return config.iterations * prompts * n * (n - 1) // 2


def _held_out_comparisons(prepared: Prepared) -> int:
    """Every policy's held-out samples beside the base model's and the previous policy's; none that take no time."""
    if prepared.held_out_judge is None or prepared.held_out is None or prepared.held_out_judge.is_instant:
        return 0
    config = prepared.config
    # The first policy's previous one is the base model, which has no rival itself.
    rivals = 2 * config.total_iterations + (1 if config.warmup is not None else -1)
    rivals += 2 * config.controls - (config.warmup is None and config.controls > 0)
    return rivals * len(prepared.held_out.examples) * config.evaluation.samples_per_prompt
