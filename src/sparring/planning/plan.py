"""What a run would take, before it takes it: stability, tokens, memory, and time from a short calibration."""

from __future__ import annotations

from collections.abc import Collection, Iterator, Mapping
from dataclasses import asdict, dataclass, replace
from typing import Any, Self

from rich.table import Table

from sparring.models.quantization import share_quantized
from sparring.planning.cost import Batch, Memory, described, flops, memory
from sparring.planning.disk import Disk, disk
from sparring.planning.levers import levers
from sparring.planning.phases import PhasePlan, held_out_comparisons, phase_plan
from sparring.planning.rates import BUSY, Calibration, Rates, calibrate
from sparring.planning.reading import reading_of
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
"""Seconds from which on a plan says what takes most of them."""


@dataclass(frozen=True, kw_only=True)
class Part:
    """What a part of a run takes of the whole.

    `seconds` is None where no speed was measured; `is_most` says that it may well take less.
    """

    tokens: Tokens
    seconds: float | None
    is_most: bool

    @classmethod
    def of(cls, tokens: Tokens, rates: Rates | None, processes: int, *, is_most: bool) -> Self:
        """A part of so many tokens, played by so many processes at the rates that were measured, if any were."""
        seconds = None if rates is None else sum(seconds_of(tokens, rates, processes).values())
        return cls(tokens=tokens, seconds=seconds, is_most=is_most)


@dataclass(frozen=True, kw_only=True)
class Plan:
    """What `sparring plan` prints: the phases one by one, and of all of them together what they take.

    `comparisons` are those of policies on the held-out set that take time; the phases have their own. `notes` say what
    was left out of the data or cut, and what the model sees otherwise than the rows say. `quantized` is the share of
    the model's weights that `model.quantization` holds in few bits. `parts` are what the warm-up, the play, the control
    and the like take of the tokens and the seconds. `share` is that of `Calibration`. `smaller` are the settings that
    make the longest part less, where the run takes long.
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
        for row in self._of_the_time():
            table.add_row(*row)
        return table

    def _of_the_time(self) -> Iterator[tuple[str, str]]:
        """The total, where there are times; of a machine that was busy, and of a run that takes long, what follows."""
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
        """Whether all that is generated are answers to held-out prompts, as where the data bring the responses."""
        return {name for name, part in self.parts.items() if part.tokens.generate} == {"evaluation"}


def _size(size: int) -> str:
    return f"{size / 2**30:.2f} GiB" if size >= 2**28 else f"{size / 2**20:.1f} MiB"


def longest(parts: Mapping[str, Part]) -> str:
    """The part that takes most of the time."""
    return max(parts, key=lambda name: parts[name].seconds or 0.0)


def plan(
    config: SelfPlayConfig,
    *,
    processes: int | None = None,
    sharded: bool = False,
    calibrated: bool = True,
    calibration: Calibration | None = None,
) -> Plan:
    """Checks a configuration and estimates what it takes.

    Args:
        config: The run.
        processes: How many would play it; None for those that a launcher started.
        sharded: Whether they would share out the weights in training (FSDP).
        calibrated: Whether to load the model and measure its speed here, which takes about half a minute; without,
            only the model's configuration is read, and there are no times.
        calibration: The speed as it was measured before, which is then not measured again.

    Raises:
        InputError: Something is wrong with the configuration, the data or the model.
    """
    refuse_sharding(config, sharded=sharded)
    prepared = answered(prepare(config))
    # With what a recipe chose written out.
    config = prepared.config
    processes = launched.count() if processes is None else processes
    parts = tokens_by_part(prepared, processes)
    tokens = Tokens.total(parts.values())
    model = described(config.model, prepared.model_config, config.lora)
    if calibrated and calibration is None:
        calibration = calibrate(prepared)
    rates = None if calibration is None else calibration.rates
    untaught = _untaught(prepared)
    bounded = _bounded(prepared, untaught)
    taken = {name: Part.of(part, rates, processes, is_most=name in bounded) for name, part in parts.items()}
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
        seconds=seconds_of(tokens, rates, processes),
        share=None if calibration is None else calibration.share,
        parts=taken,
        smaller=[setting for setting, _ in levers(prepared, longest(taken))],
    )


def seconds_of(tokens: Tokens, rates: Rates | None, processes: int) -> dict[str, float]:
    """How long some tokens take, by what is done with them; nothing where no speed was measured."""
    if rates is None:
        return {}
    return {name: getattr(tokens, name) / rate / processes for name, rate in asdict(rates).items()}


def answered(prepared: Prepared) -> Prepared:
    """With a teacher, whose responses are not written yet, each as long as it may become."""
    if prepared.teacher is None:
        return prepared
    ids = [prepared.train.stop_ids[0]] * prepared.config.data.max_response_tokens
    train, held_out = (
        None if part is None else replace(part, examples=[replace(item, expert_ids=ids) for item in part.examples])
        for part in (prepared.train, prepared.held_out)
    )
    return replace(prepared, train=train or prepared.train, held_out=held_out)


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
    """The parts of which the most is counted: what verdicts leave out, or a plateau ends, shows in the run alone."""
    warmup = prepared.config.warmup
    ends = {"warm-up"} if warmup is not None and warmup.until == "plateau" else set()
    return ends | ({"play", "control"} if untaught else set())


def _untaught(prepared: Prepared) -> list[str]:
    """Which objectives train on fewer responses than are generated."""
    told = (reading_of(prepared, phase).told for phase in prepared.phases)
    return [*dict.fromkeys(text for text in told if text is not None)]
