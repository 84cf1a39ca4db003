"""What a run would take, before it takes it: stability, tokens, memory, and time from a short calibration."""

from __future__ import annotations

import time
from collections.abc import Callable, Mapping, Sequence
from dataclasses import asdict, dataclass
from typing import Any

from rich.table import Table

from sparring.logprobs import sequence_log_probs
from sparring.progress import duration
from sparring.run_directory import BASE
from sparring.training import processes as launched
from sparring.training.arguments import autocast_dtype, training_arguments
from sparring.training.config import SelfPlayConfig
from sparring.training.cost import Batch, Memory, described, flops, memory
from sparring.training.game import needs_samples, scorers
from sparring.training.policy import Policy
from sparring.training.prepare import Prepared, prepare
from sparring.training.sampling import generator_for
from sparring.types import EncodedExample

# Seconds for each of generating, scoring and training; with loading, a calibration takes about ten.
_CALIBRATE_S = 3.0


@dataclass(frozen=True, kw_only=True)
class Rates:
    """Tokens a second, measured on this machine with this model."""

    generate: float
    score: float
    train: float


@dataclass(frozen=True, kw_only=True)
class Tokens:
    """Tokens of each kind of work in the whole run. Generated lengths are taken to be the expert's.

    A token that is sampled from a mixture counts twice: two models read it.
    """

    generate: int
    score: int
    train: int


@dataclass(frozen=True, kw_only=True)
class Plan:
    """What `sparring plan` prints. `comparisons` are those of the judge; their time is not estimated."""

    processes: int
    stability: dict[str, Any] | None
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
        if self.stability is not None:
            number = f"{self.stability['symbol']} = {self.stability['value']:g}"
            table.add_row("stability", f"{number}; {self.stability['verdict']}")
        table.add_row("examples", f"{self.data['train']} to train on, {self.data['held_out']} held out")
        if self.comparisons:
            table.add_row("judge", f"{self.comparisons:,} comparisons, whose time is not in the total")
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
    prepared = prepare(config)
    args = training_arguments(config.training, output=config.output, seed=config.seed, device=config.model.device)
    processes = launched.count() if processes is None else processes
    tokens = _tokens(prepared, processes)
    rates: Rates | None = None
    model = described(config.model, prepared.model_config, config.lora)
    if calibrated:
        policy = Policy(
            config.model, prepared.tokenizer, lora=config.lora, seed=config.seed, autocast=autocast_dtype(args)
        )
        model, rates = policy.model, _calibrate(prepared, policy)
    batch = Batch.largest(
        prepared.train.examples,
        prompts=args.per_device_train_batch_size,
        samples=config.generation.samples_per_prompt if needs_samples(prepared.objective) else 0,
        rows=config.generation.batch_size,
        limit=config.data.max_response_tokens,
    )
    held_out = prepared.held_out.examples if prepared.held_out is not None else []
    return Plan(
        processes=processes,
        stability=_stability(prepared),
        data={"train": len(prepared.train.examples), "held_out": len(held_out)},
        comparisons=_comparisons(config, len(prepared.train.examples)),
        tokens=tokens,
        rates=rates,
        memory=memory(model, args, batch, shards=processes if sharded else 1),
        flops=flops(model, **asdict(tokens), checkpointing=bool(args.gradient_checkpointing)),
        seconds={}
        if rates is None
        else {name: getattr(tokens, name) / rate / processes for name, rate in asdict(rates).items()},
    )


def _stability(prepared: Prepared) -> dict[str, Any] | None:
    number = prepared.objective.stability
    if number is None:
        return None
    return asdict(number) | {"contraction_factor": number.contraction_factor, "verdict": number.verdict}


def _comparisons(config: SelfPlayConfig, prompts: int) -> int:
    """Every pair of responses to every prompt, in every iteration; an endpoint is asked about each in both orders."""
    if config.judge is None:
        return 0
    n = config.generation.samples_per_prompt + config.judge.expert_plays
    return config.iterations * prompts * n * (n - 1) // 2


def _epochs(prepared: Prepared, fields: Mapping[str, Any], processes: int) -> float:
    """Passes over the training set: as many as are asked for, or as the steps make that are set instead."""
    config = prepared.config
    args = training_arguments(fields, output=config.output, seed=config.seed, device=config.model.device)
    if args.max_steps <= 0:
        return float(args.num_train_epochs)
    step = args.per_device_train_batch_size * args.gradient_accumulation_steps * processes
    return float(args.max_steps * step / len(prepared.train.examples))


def _scored(prepared: Prepared, rows: int, held_out_rows: int) -> int:
    """Tokens that are scored, of `rows` with K + 1 responses each in training, and of the held-out ones."""
    config, iterations = prepared.config, range(prepared.config.iterations)
    k, s = config.generation.samples_per_prompt, config.evaluation.samples_per_prompt
    by_iteration = [scorers(prepared.objective, prepared.opponent, iteration) for iteration in iterations]
    training = sum(len(each) for each in by_iteration) * (1 + k) * rows if needs_samples(prepared.objective) else 0
    # Every policy scores the experts, its greedy answer and its samples, of which the base model scores the last two
    # too; and for the game on held-out prompts it scores its opponent's, and those scorers come that have not done so
    # yet.
    policies = config.iterations + 1 + (config.warmup is not None)
    others = sum(len(set(each) - {iteration, BASE}) for iteration, each in enumerate(by_iteration))
    held_out = policies * (3 + 2 * s) + config.iterations * s + others * (1 + s)
    return training + held_out * held_out_rows


def _tokens(prepared: Prepared, processes: int) -> Tokens:
    config, train = prepared.config, prepared.train.examples
    held_out = prepared.held_out.examples if prepared.held_out is not None else []
    played = needs_samples(prepared.objective)
    k, iterations = config.generation.samples_per_prompt if played else 0, config.iterations
    # A held-out prompt gets one greedy and some sampled answers, for each policy.
    policies = iterations + 1 + (config.warmup is not None)
    answers = 1 + config.evaluation.samples_per_prompt
    rows = sum(len(item.prompt_ids) + len(item.expert_ids) for item in train)
    held_out_rows = sum(len(item.prompt_ids) + len(item.expert_ids) for item in held_out)
    trained = (1 + k) * rows * iterations
    # What is mixed at decoding: the training samples, and once more the held-out ones, for the objective on them.
    readers = 2 if prepared.opponent.spec(0).base_share else 1
    mixed = (readers - 1) * 2 * iterations * config.evaluation.samples_per_prompt if played else 0
    warmup = rows * _epochs(prepared, config.training | config.warmup.training, processes) if config.warmup else 0.0
    return Tokens(
        generate=readers * iterations * k * sum(len(item.expert_ids) for item in train)
        + (policies * answers + mixed) * sum(len(item.expert_ids) for item in held_out),
        score=_scored(prepared, rows, held_out_rows),
        train=round(trained * _epochs(prepared, config.training, processes) + warmup),
    )


def _calibrate(prepared: Prepared, policy: Policy) -> Rates:
    """Runs each kind of work on real examples for a few seconds."""
    by_length = sorted(prepared.train.examples, key=lambda item: len(item.prompt_ids) + len(item.expert_ids))
    # From the middle outwards: neither the shortest nor the longest tell the truth.
    batch = by_length[len(by_length) // 2 :][:8] or by_length
    return Rates(
        generate=_rate(lambda: _generate(prepared, policy, batch)),
        score=_rate(lambda: _score(policy, batch)),
        train=_rate(lambda: _train(policy, batch[:4])),
    )


def _rate(work: Callable[[], int]) -> float:
    """Tokens a second of a piece of work that returns its tokens; the first call only warms up, if it is short."""
    start = time.perf_counter()
    tokens = work()
    if time.perf_counter() - start < _CALIBRATE_S:
        start, tokens = time.perf_counter(), 0
        while tokens == 0 or time.perf_counter() - start < _CALIBRATE_S:
            tokens += work()
    return tokens / (time.perf_counter() - start)


def _generate(prepared: Prepared, policy: Policy, batch: Sequence[EncodedExample]) -> int:
    config = prepared.config.generation
    player = generator_for(config, policy, prepared.engine, stop_ids=prepared.train.stop_ids, max_new_tokens=16)
    repeated = [batch[n % len(batch)] for n in range(config.prompts_per_batch)]
    return sum(len(sample.response_ids) for sample in player.sample(repeated, seed=0))


def _score(policy: Policy, batch: Sequence[EncodedExample]) -> int:
    policy.log_probs([item.prompt_ids for item in batch], [[item.expert_ids] for item in batch])
    return sum(len(item.prompt_ids) + len(item.expert_ids) for item in batch)


def _train(policy: Policy, batch: Sequence[EncodedExample]) -> int:
    """A forward and a backward pass; the optimizer's step is small beside them and is left out."""
    policy.model.train()
    with policy.forward_dtype():
        values = sequence_log_probs(policy.model, [i.prompt_ids for i in batch], [[i.expert_ids] for i in batch])
    sum(value.sum() for value in values).backward()  # type: ignore[union-attr]
    policy.model.zero_grad(set_to_none=True)
    policy.model.eval()
    return sum(len(item.prompt_ids) + len(item.expert_ids) for item in batch)
