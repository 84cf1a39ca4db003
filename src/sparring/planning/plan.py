"""The plan of a run, before it is played: stability, tokens, memory, disk, and time from a short calibration."""

from __future__ import annotations

from collections.abc import Collection, Iterator, Mapping
from dataclasses import asdict, dataclass, replace
from typing import Any, Self

from rich.table import Table

from sparring.models.quantization import share_quantized
from sparring.planning.cost import Batch, Memory, flops, memory, model_shapes
from sparring.planning.disk import Disk, disk
from sparring.planning.levers import levers
from sparring.planning.phases import PhasePlan, held_out_comparisons, phase_plan
from sparring.planning.rates import BUSY, Calibration, Rates, calibrate
from sparring.planning.read_share import read_share
from sparring.planning.tokens import Tokens, tokens_by_part, trained_rows
from sparring.progress import duration
from sparring.selfplay.arguments import arguments_of
from sparring.selfplay.checks.quantization import refuse_sharding
from sparring.selfplay.config.schema import SelfPlayConfig
from sparring.selfplay.notes import notes
from sparring.selfplay.phases import Phase
from sparring.selfplay.prepared import Prepared, prepare
from sparring.trainer.memory import recomputes_gates
from sparring.trainer.parts import PART_TOKENS, in_parts
from sparring.work import processes as launched

LONG = 3600.0
"""Seconds above which a plan names the longest part of the run, and how to shorten it."""


@dataclass(frozen=True, kw_only=True)
class Part:
    """A part of a run: the warm-up, the play, the evaluation, and so on.

    Attributes:
        tokens: Its tokens.
        seconds: Its time; None where no speed was measured.
        is_most: Whether these are upper bounds, and it may well take less.
    """

    tokens: Tokens
    seconds: float | None
    is_most: bool

    @classmethod
    def of(cls, tokens: Tokens, rates: Rates | None, processes: int, *, is_most: bool) -> Self:
        """A part with so many tokens, its time from measured rates if there are some."""
        seconds = None if rates is None else sum(seconds_of(tokens, rates, processes).values())
        return cls(tokens=tokens, seconds=seconds, is_most=is_most)


@dataclass(frozen=True, kw_only=True)
class Plan:
    """The plan of a run, which `sparring plan` prints.

    Attributes:
        processes: The processes that would play the run.
        phases: Each phase.
        data: The number of examples to train on and held out.
        notes: What is left out of the data or cut, and where the model sees other text than the rows hold.
        comparisons: Comparisons of policies on the held-out set by a judge that takes time; phases have their own.
        tokens: The tokens of the whole run.
        rates: The measured tokens a second; None where none were measured.
        share: As in `Calibration`.
        quantized: The share of the model's weights that `model.quantization` holds in few bits.
        memory: Peak memory of a process, in the phase that takes most.
        disk: Disk use.
        flops: Floating-point operations of generating, scoring and training.
        seconds: The time of each of these; empty where no speed was measured.
        parts: The parts of the run by name.
        smaller: The settings that shorten the longest part.
    """

    processes: int
    phases: list[PhasePlan]
    data: dict[str, int]
    notes: list[str]
    comparisons: int
    tokens: Tokens
    rates: Rates | None
    share: float | None
    quantized: float
    memory: Memory
    disk: Disk
    flops: dict[str, float]
    seconds: dict[str, float]
    parts: dict[str, Part]
    smaller: list[str]

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
        """The plan as a table for people."""
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
        for row in self._of_the_time():
            table.add_row(*row)
        return table

    def _of_the_time(self) -> Iterator[tuple[str, str]]:
        """Rows about the time: the total, a remark if the machine was busy, and one if the run takes long."""
        total = sum(self.seconds.values())
        if self.seconds:
            most = "at most " if any(part.is_most for part in self.parts.values()) else ""
            yield "time, total", f"{most}about {duration(total)}"
        if self.share is not None and self.share < BUSY:
            others = f"other programs had the processor {1 - self.share:.0%} of the time"
            yield "this machine is busy", f"{others}; alone it would be about {duration(total * self.share)}"
        if total > LONG:
            most = longest(self.parts)
            less = f"; change {' or '.join(self.smaller)} to shorten it" if self.smaller else ""
            fitting = "--within 15m finds settings for 15 minutes"
            yield "most of the time", f"{most}, {duration(self.parts[most].seconds or 0)}{less}; {fitting}"

    def _generates_held_out(self) -> bool:
        """Whether only answers to held-out prompts are generated, because the data bring the training responses."""
        return {name for name, part in self.parts.items() if part.tokens.generate} == {"evaluation"}


def _size(size: int) -> str:
    return f"{size / 2**30:.2f} GiB" if size >= 2**28 else f"{size / 2**20:.1f} MiB"


def longest(parts: Mapping[str, Part]) -> str:
    """The part of a run that takes most of the time."""
    return max(parts, key=lambda name: parts[name].seconds or 0.0)


def plan(
    config: SelfPlayConfig,
    *,
    processes: int | None = None,
    sharded: bool = False,
    calibrated: bool = True,
    calibration: Calibration | None = None,
) -> Plan:
    """Checks a configuration and estimates what its run takes.

    Args:
        config: The configuration.
        processes: The processes that would play it; None for those that a launcher started.
        sharded: Whether they would share out the weights in training (FSDP).
        calibrated: Whether to load the model and measure its speed here, which takes about half a minute; if not, only
            the model's configuration is read, and there are no times.
        calibration: A speed that was measured before; it is not measured again.

    Raises:
        InputError: Something is wrong with the configuration, the data or the model.
    """
    refuse_sharding(config, sharded=sharded)
    prepared = answered(prepare(config))
    # With what a recipe chose written out.
    config = prepared.config
    processes = launched.count() if processes is None else processes
    by_part = tokens_by_part(prepared, processes)
    tokens = Tokens.total(by_part.values())
    model = model_shapes(config.model, prepared.model_config, config.lora)
    if calibrated and calibration is None:
        calibration = calibrate(prepared)
    rates = None if calibration is None else calibration.rates
    untaught = _untaught(prepared)
    bounded = _bounded(prepared, untaught)
    parts = {name: Part.of(part, rates, processes, is_most=name in bounded) for name, part in by_part.items()}
    checkpointing = any(arguments_of(config, each.training).gradient_checkpointing for each in config.schedule)
    return Plan(
        processes=processes,
        phases=[phase_plan(prepared, phase) for phase in prepared.phases],
        data={
            "train": len(prepared.train.examples),
            "held_out": len(prepared.held_out.examples) if prepared.held_out is not None else 0,
        },
        notes=[*notes(prepared), *untaught],
        comparisons=held_out_comparisons(prepared),
        tokens=tokens,
        rates=rates,
        quantized=0.0 if config.model.quantization is None else share_quantized(model),
        memory=_memory(prepared, model, processes, sharded=sharded),
        disk=disk(prepared, model, processes=processes),
        flops=flops(model, **asdict(tokens), checkpointing=checkpointing),
        seconds=seconds_of(tokens, rates, processes),
        share=None if calibration is None else calibration.share,
        parts=parts,
        smaller=[setting for setting, _ in levers(prepared, longest(parts))],
    )


def seconds_of(tokens: Tokens, rates: Rates | None, processes: int) -> dict[str, float]:
    """The seconds that tokens take, by what is done with them; empty where no speed was measured."""
    if rates is None:
        return {}
    return {name: getattr(tokens, name) / rate / processes for name, rate in asdict(rates).items()}


def answered(prepared: Prepared) -> Prepared:
    """The run with each response that a teacher has yet to write in it, as long as it may become."""
    if prepared.teacher is None:
        return prepared
    ids = [prepared.train.stop_ids[0]] * prepared.config.data.max_response_tokens
    train, held_out = (
        None if part is None else replace(part, examples=[replace(item, expert_ids=ids) for item in part.examples])
        for part in (prepared.train, prepared.held_out)
    )
    return replace(prepared, train=train or prepared.train, held_out=held_out)


def _memory(prepared: Prepared, model: Any, processes: int, *, sharded: bool) -> Memory:
    """The memory of a process in the phase that takes most."""
    phases = (_phase_memory(prepared, phase, model, processes, sharded=sharded) for phase in prepared.phases)
    return max(phases, key=lambda each: each.total)


def _phase_memory(prepared: Prepared, phase: Phase, model: Any, processes: int, *, sharded: bool) -> Memory:
    args = arguments_of(prepared.config, phase.config.training)
    # If every iteration is played on all prompts, the last stands for all, since its team has most members. A run that
    # ends after its warm-up has no iteration, and its first phase has the warm-up's objective.
    iterations = phase.iterations if prepared.config.data.prompts_per_iteration else phase.iterations[-1:] or range(1)
    batch = Batch.largest(
        (row for iteration in iterations for row in trained_rows(prepared, phase, iteration)),
        prompts=args.per_device_train_batch_size,
        sequences=phase.config.generation.batch_size,
        limit=prepared.config.data.max_response_tokens,
        part=PART_TOKENS if in_parts(phase.objective, args.device.type, processes) else None,
    )
    shards = processes if sharded else 1
    quantization = prepared.config.model.quantization
    own_sampling = phase.config.generation.name == "transformers" and quantization is None
    return memory(
        model,
        args,
        batch,
        shards=shards,
        quantization=quantization,
        laid_out=own_sampling and args.device.type == "cpu",
        gates_kept=quantization is not None or not recomputes_gates(args, processes),
    )


def _bounded(prepared: Prepared, untaught: Collection[str]) -> set[str]:
    """The parts whose tokens are upper bounds, since verdicts leave responses out or a plateau may come early."""
    warmup = prepared.config.warmup
    ends = {"warm-up"} if warmup is not None and warmup.until == "plateau" else set()
    return ends | ({"play", "control"} if untaught else set())


def _untaught(prepared: Prepared) -> list[str]:
    """Sentences on the objectives that train on fewer responses than are generated."""
    told = (read_share(prepared, phase).told for phase in prepared.phases)
    return [*dict.fromkeys(text for text in told if text is not None)]
