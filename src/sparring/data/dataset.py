"""Loads, checks and splits the data, before any model is loaded."""

from __future__ import annotations

import hashlib
import json
from collections.abc import Sequence
from dataclasses import asdict, dataclass, replace
from typing import Any

from sparring.data import rows
from sparring.data.config import DataConfig
from sparring.data.rows import Needs, Rows
from sparring.data.sources import is_data
from sparring.data.split import skippable, split, split_from
from sparring.data.tasks import TASKS
from sparring.data.text_files import unpacked
from sparring.errors import InputError
from sparring.examples import Example
from sparring.inputs import kind, place

_IMITATION: Needs = {"imitation": frozenset({"response"})}
_ANYBODY: Needs = {"anybody": frozenset()}
_HELD_OUT_OF_A_TASK = 32
# So many bytes are read and checked in half a second, or in six where a row has no more than a word; more is read once.
_SMALL = 4 * 2**20


@dataclass(frozen=True, kw_only=True)
class DataReport:
    """What became of the rows; `read == kept + len(skipped)`.

    Attributes:
        read: Rows read, those of a separate held-out source included.
        kept: Valid rows, of which the training and held-out examples are drawn.
        skipped: Where and why, of each row left out.
        unread: Columns, and keys of messages, that hold something and that nothing reads, sorted.
        spare: Rows of a separate held-out source that are not held out, since no number is set and it has more.
        fingerprint: SHA-256 over the text of the training and held-out examples, in order; it depends neither on
            the file type nor on where the rows stood.
    """

    read: int
    kept: int
    skipped: list[tuple[str, str]]
    unread: tuple[str, ...] = ()
    spare: int = 0
    fingerprint: str


@dataclass(frozen=True, kw_only=True)
class Dataset:
    """Examples to train on, and others to evaluate on whose prompts are not among them.

    An example's `index` is unique within each of the two lists.
    """

    train: list[Example]
    held_out: list[Example]
    report: DataReport


def load(config: DataConfig, seed: int, needs: Needs = _IMITATION) -> Dataset:
    """Loads the data and checks every row.

    Training examples are the first `config.limit` of a seeded shuffle, or of several mixed by weight. Held-out examples
    come from its other end, so they don't depend on the limit, and have distinct prompts; every other row with such a
    prompt, or one that differs in white space, case or Unicode form alone, is left out. Where some rows have an expert
    response, all that are held out have one, unless a verifier can measure the others: see `split`.

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
        needs = {who: parts - {"response", "reference_answer"} for who, parts in needs.items()}
    parts: list[Rows] = []
    seen: dict[bytes, str] = {}
    for source in config.parts:
        start = sum(part.read for part in parts)
        parts.append(rows.parse(config, source, needs, start=start, seen=seen))
    separate = _separate(config, needs)
    everything = parts if separate is None else [*parts, separate]
    _stop_at_problems(config, everything)
    train, held_out = split(config, parts, seed) if separate is None else split_from(config, parts, separate, seed)
    train = rows.demonstrated(config, train)
    skipped = [(problem.where or "", problem.problem) for part in everything for problem in part.problems]
    unread = sorted({name for part in everything for name in part.unread})
    found = _dataset(train, held_out, sum(part.read for part in everything), skipped, unread)
    spare = len(separate.valid) - len(held_out) if separate is not None and config.held_out is None else 0
    return replace(found, report=replace(found.report, spare=spare))


def check_rows(config: DataConfig) -> None:
    """Checks rows for what is wrong with them whoever plays on them, which takes no knowledge of the game.

    Only where all sources are small files, or files that are not there: reading a large one twice would cost more than
    to be told early brings.

    Raises:
        InputError: As `load`.
    """
    if config.source in TASKS or not all(_is_soon_read(part.source) for part in config.parts):
        return
    seen: dict[bytes, str] = {}
    _stop_at_problems(config, [rows.parse(config, part, _ANYBODY, start=0, seen=seen) for part in config.parts])


def _is_soon_read(source: str) -> bool:
    path = place(source)
    found = kind(path)
    if found == "file":
        # Nobody knows how much a packed file holds.
        return path.stat().st_size <= _SMALL and unpacked(path) == path
    return found == "nothing" and is_data(path)


def _separate(config: DataConfig, needs: Needs) -> Rows | None:
    """The rows of the held-out examples, where they have their own source."""
    if config.held_out_source is None and config.held_out_split is None:
        return None
    # Whichever of the sources it is like, its columns are the training rows' own.
    like = config.parts[0]
    changes: dict[str, Any] = {"split": config.held_out_split or config.split}
    if config.held_out_source is not None:
        changes |= {"source": config.held_out_source, "subset": None}
    return rows.parse(config, like.model_copy(update=changes), needs, start=0, seen={}, may_lack=True)


def _generate(config: DataConfig, seed: int) -> Dataset:
    assert config.limit is not None and config.source is not None  # noqa: S101, PT018 (the configuration requires it)
    held_out = _HELD_OUT_OF_A_TASK if config.held_out is None else config.held_out
    total = held_out + config.limit
    examples = TASKS[config.source].generate(total, config.difficulty, seed)
    examples = [rows.unwritten(config, example) for example in examples]
    return _dataset(rows.demonstrated(config, examples[held_out:]), examples[:held_out], total, [], [])


def _dataset(
    train: list[Example], held_out: list[Example], read: int, skipped: list[tuple[str, str]], unread: Sequence[str]
) -> Dataset:
    digest = hashlib.sha256()
    for part, examples in (("train", train), ("held_out", held_out)):
        for example in examples:
            content: list[Any] = [part, example.messages, example.prompt, example.response, example.ground_truth]
            if example.comparison is not None:
                content.append(asdict(example.comparison))
            digest.update(json.dumps(content, sort_keys=True).encode() + b"\n")
    report = DataReport(
        read=read, kept=read - len(skipped), skipped=skipped, unread=tuple(unread), fingerprint=digest.hexdigest()
    )
    return Dataset(train=train, held_out=held_out, report=report)


def _stop_at_problems(config: DataConfig, parts: list[Rows]) -> None:
    problems = [problem for part in parts for problem in part.problems]
    if problems and not config.skip_invalid:
        raise skippable(problems)
    for part in parts:
        if not part.valid:
            first = part.problems[0]
            problem = f"all {part.read} rows are invalid; the first, {first.where}: {first.problem}"
            raise InputError(problem, where=part.source, fix=first.fix)
