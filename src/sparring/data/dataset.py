"""Loads, checks and splits the data, before any model is loaded."""

from __future__ import annotations

import hashlib
import json
import random
from collections.abc import Iterable, Mapping
from dataclasses import asdict, dataclass, field, replace
from typing import Any

from sparring.data import formats, sources
from sparring.data.config import DataConfig
from sparring.data.formats import FORMATS, Format
from sparring.data.records import Record
from sparring.data.tasks import TASKS
from sparring.data.verifiers import VERIFIERS
from sparring.errors import InputError, did_you_mean
from sparring.types import Comparison, Example

Turns = tuple[tuple[str, str], ...]
Needs = Mapping[str, frozenset[str]]
"""Who plays on the rows, by what an error calls it, and which fields of an `Example` it needs besides the prompt."""

_IMITATION: Needs = {"imitation": frozenset({"response"})}
CALLED = {"response": "an expert response", "comparison": "responses with preferences"}
"""What messages call those fields."""


@dataclass(frozen=True, kw_only=True)
class DataReport:
    """What became of the rows; `read == kept + len(skipped)`.

    Attributes:
        read: Rows read, those of a separate held-out source included.
        kept: Valid rows, of which the training and held-out examples are drawn.
        skipped: Where and why, of each row left out.
        fingerprint: SHA-256 over the text of the training and held-out examples, in order; it depends neither on
            the file type nor on where the rows stood.
    """

    read: int
    kept: int
    skipped: list[tuple[str, str]]
    fingerprint: str


@dataclass(frozen=True, kw_only=True)
class Dataset:
    """Examples to train on, and others to evaluate on whose prompts are not among them.

    An example's `index` is unique within each of the two lists.
    """

    train: list[Example]
    held_out: list[Example]
    report: DataReport


@dataclass(kw_only=True)
class _Rows:
    """The rows of one source: the valid ones with their places, and what is wrong with the others."""

    source: str
    read: int
    valid: list[tuple[str, Example]] = field(default_factory=list)
    problems: list[InputError] = field(default_factory=list)


def load(config: DataConfig, seed: int, needs: Needs = _IMITATION) -> Dataset:
    """Loads the data and checks every row.

    Training examples are the first `config.limit` of a seeded shuffle. Held-out examples come from its other end,
    so they don't depend on the limit, and have distinct prompts; every other row with such a prompt is left out. Where
    some rows have an expert response, all that are held out have one.

    Args:
        config: Where the data are and what they look like.
        seed: Of the shuffle, or of a generated task.
        needs: A row that is of use to none of them is wrong.

    Raises:
        InputError: The source, its columns or a row is wrong, or there are too few rows; it names the place and
            the fix. With `config.skip_invalid` wrong rows are left out and reported instead.
    """
    if config.source in TASKS:
        return _generate(config, seed)
    if config.teacher is not None:
        needs = {who: parts - {"response"} for who, parts in needs.items()}
    training = _parse(config, config.source, needs, split=config.split, subset=config.subset)
    separate = None
    if config.held_out_source is not None or config.held_out_split is not None:
        source, subset = config.held_out_source or config.source, None if config.held_out_source else config.subset
        separate = _parse(config, source, needs, split=config.held_out_split or config.split, subset=subset)
    parts = [training] if separate is None else [training, separate]
    _stop_at_problems(config, parts)
    if separate is None:
        train, held_out = _split(config, training, seed)
    else:
        held_out = _measurable(_shuffled(separate.valid, seed))[: config.held_out]
        _require(config.held_out, len(held_out), separate.source, "data.held_out")
        train = _without_held_out(config, training, held_out, seed)
    skipped = [(problem.where or "", problem.problem) for part in parts for problem in part.problems]
    read = sum(part.read for part in parts)
    return _dataset([example for _, example in train], [example for _, example in held_out], read, skipped)


def _generate(config: DataConfig, seed: int) -> Dataset:
    assert config.limit is not None  # noqa: S101 (the configuration requires it of a task)
    total = config.held_out + config.limit
    examples = TASKS[config.source].generate(total, config.difficulty, seed)
    examples = [_unwritten(config, example) for example in examples]
    return _dataset(examples[config.held_out :], examples[: config.held_out], total, [])


def _dataset(train: list[Example], held_out: list[Example], read: int, skipped: list[tuple[str, str]]) -> Dataset:
    digest = hashlib.sha256()
    for part, examples in (("train", train), ("held_out", held_out)):
        for example in examples:
            content: list[Any] = [part, example.messages, example.prompt, example.response]
            if example.comparison is not None:
                content.append(asdict(example.comparison))
            digest.update(json.dumps(content, sort_keys=True).encode() + b"\n")
    report = DataReport(read=read, kept=read - len(skipped), skipped=skipped, fingerprint=digest.hexdigest())
    return Dataset(train=train, held_out=held_out, report=report)


def _parse(config: DataConfig, source: str, needs: Needs, *, split: str, subset: str | None) -> _Rows:
    """Reads a source and turns its rows into examples; wrong and repeated rows become problems."""
    rows = sources.read(source, split=split, subset=subset)
    result = _Rows(source=source, read=len(rows))
    unreadable = [row for row in rows if isinstance(row, InputError)]
    if len(unreadable) == len(rows):
        result.problems = unreadable
        return result
    columns = {name for row in rows if isinstance(row, sources.Row) for name in row.values}
    form = FORMATS[_format(config, columns, source, needs)]
    verifier = None if config.verifier is None else VERIFIERS[config.verifier]()
    seen: dict[tuple[Turns, str | None, Comparison | None], str] = {}
    for index, row in enumerate(rows):
        try:
            if isinstance(row, InputError):
                raise row
            record = Record(index=index, where=row.where, values=row.values, columns=config.columns)
            example = _unwritten(config, form.parse(record))
            _check_use(record, example, form, needs)
            first = seen.setdefault((_turns(example), example.response, example.comparison), row.where)
            if first != row.where:
                problem = f"repeats {first} (same prompt and response)"
                raise InputError(problem, where=row.where, fix="remove one of the two")
            expert = example.response
            if verifier is not None and expert is not None and not verifier(expert, expert):
                problem = f"verifier '{config.verifier}' finds no answer in the expert response"
                raise InputError(problem, where=row.where, fix="end the response with '#### ' and the number")
            result.valid.append((row.where, example))
        except InputError as error:
            result.problems.append(error)
    return result


def _unwritten(config: DataConfig, example: Example) -> Example:
    """With a teacher the response is there, but empty until the teacher writes it."""
    return example if config.teacher is None else replace(example, response="")


def _check_use(record: Record, example: Example, form: Format, needs: Needs) -> None:
    """Raises InputError where nobody can play on a row for want of a response or of preferences."""
    missing = {who: [part for part in parts if getattr(example, part) is None] for who, parts in needs.items()}
    if not all(missing.values()):
        return
    wishes = ", ".join(f"{who} needs {CALLED[parts[0]]}" for who, parts in missing.items())
    fix = "give every row one, or take an objective and a judge that need none"
    column = form.answer if ["response"] in missing.values() else form.fields[-1]
    raise record.error(column, f"{wishes}, and there is none", fix)


def _format(config: DataConfig, columns: set[str], where: str, needs: Needs) -> str:
    for name, column in config.columns.items():
        if column not in columns:
            problem = f"data.columns maps '{name}' to the column '{column}', which is not there"
            raise InputError(problem, where=where, fix=did_you_mean(column, columns))
    if config.format == "auto":
        needed_by = next(iter(needs)) if all(needs.values()) else None
        return formats.detect(columns, config.columns, where=where, needed_by=needed_by)
    missing = [name for name in FORMATS[config.format].fields if config.columns.get(name, name) not in columns]
    if missing:
        problem = f"format '{config.format}' needs the column '{missing[0]}'; found: {', '.join(sorted(columns))}"
        fix = f"map it with data.columns, e.g. {{{missing[0]}: {min(columns)}}}, or set data.format to auto"
        raise InputError(problem, where=where, fix=fix)
    return config.format


def _stop_at_problems(config: DataConfig, parts: list[_Rows]) -> None:
    problems = [problem for part in parts for problem in part.problems]
    if problems and not config.skip_invalid:
        raise _skippable(problems)
    for part in parts:
        if not part.valid:
            first = part.problems[0]
            problem = f"all {part.read} rows are invalid; the first, {first.where}: {first.problem}"
            raise InputError(problem, where=part.source, fix=first.fix)


def _skippable(problems: list[InputError]) -> InputError:
    """The first problem, with how many there are and the way around them all."""
    first = problems[0]
    many = "that row" if len(problems) == 1 else f"all {len(problems)} invalid rows"
    fix = f"{first.fix}; or leave out {many} with data.skip_invalid: true"
    return InputError(first.problem, where=first.where, fix=fix)


def _split(config: DataConfig, rows: _Rows, seed: int) -> tuple[list[tuple[str, Example]], list[tuple[str, Example]]]:
    """Draws training and held-out examples from one source."""
    shuffled = _shuffled(rows.valid, seed)
    held_out: dict[Turns, tuple[str, Example]] = {}
    for item in reversed(_measurable(shuffled)):
        if len(held_out) == config.held_out:
            break
        held_out.setdefault(_turns(item[1]), item)
    train = []
    for item in shuffled:
        holder = held_out.get(_turns(item[1]))
        if holder is None:
            train.append(item)
        elif holder is not item:
            rows.problems.append(InputError(f"has the prompt of the held-out {holder[0]}", where=item[0]))
    needed = (config.limit or 1) + config.held_out
    what = f"data.limit {config.limit} + data.held_out" if config.limit else "1 for training + data.held_out"
    _require(needed, len(train) + len(held_out), rows.source, f"{what} {config.held_out}")
    _require(config.held_out, len(held_out), rows.source, "data.held_out, with distinct prompts and an expert response")
    return train[: config.limit], list(held_out.values())


def _without_held_out(
    config: DataConfig, training: _Rows, held_out: list[tuple[str, Example]], seed: int
) -> list[tuple[str, Example]]:
    """Draws the training examples where the held-out ones have their own source."""
    holders = {_turns(example): where for where, example in held_out}
    train, leaks = [], []
    for where, example in _shuffled(training.valid, seed):
        holder = holders.get(_turns(example))
        if holder is None:
            train.append((where, example))
        else:
            fix = "remove it from one of the two"
            leaks.append(InputError(f"has the prompt of the held-out {holder}", where=where, fix=fix))
    if leaks and not config.skip_invalid:
        raise _skippable(leaks)
    training.problems.extend(leaks)
    _require(config.limit or 1, len(train), training.source, "data.limit" if config.limit else "training")
    return train[: config.limit]


def _require(needed: int, found: int, source: str, what: str) -> None:
    if found < needed:
        problem = f"{needed} usable rows are needed ({what}), {found} are there"
        raise InputError(problem, where=source, fix="add rows, or lower data.limit or data.held_out")


def _measurable(rows: list[tuple[str, Example]]) -> list[tuple[str, Example]]:
    """Those with an expert response, which most metrics compare with; all where none has one."""
    return [row for row in rows if row[1].response is not None] or rows


def _turns(example: Example) -> Turns:
    """The prompt as comparable turns: a plain prompt equals a lone user turn."""
    if example.messages is None:
        return (("user", example.prompt),)
    return tuple((turn["role"], turn["content"]) for turn in example.messages)


def _shuffled(rows: Iterable[tuple[str, Example]], seed: int) -> list[tuple[str, Example]]:
    # Sorting by `random()` rather than `shuffle`: Python promises only the former's sequence across versions.
    numbers = random.Random(f"data/{seed}")  # noqa: S311 (no secret depends on it)
    return [row for _, row in sorted(((numbers.random(), row) for row in rows), key=lambda pair: pair[0])]
