"""The rows of one source: reads and checks them one by one, and turns them into examples."""

from __future__ import annotations

import hashlib
import json
from collections.abc import Collection, Mapping
from dataclasses import asdict, dataclass, field, replace

from sparring.data import sources
from sparring.data.config import DataConfig, SourceConfig
from sparring.data.detection import detect
from sparring.data.formats import FORMATS, GROUND_TRUTH, MESSAGE_KEYS, Format
from sparring.data.records import Record, RowReading
from sparring.data.text_files import Row
from sparring.data.verifiers import VERIFIERS, Verifier
from sparring.errors import InputError, did_you_mean
from sparring.examples import Example

Needs = Mapping[str, frozenset[str]]
"""The users of the rows (objectives, judges, the warm-up), by their names in errors, with the fields of an `Example`
that each needs besides the prompt."""

CALLED = {
    "response": "an expert response",
    "reference_answer": "a ground truth or an expert response",
    "comparison": "responses with preferences",
}
"""The names of these fields in messages."""

_GIVEN = {
    "response": "give every row one, or take an objective and a judge that need none",
    "reference_answer": "give every row a 'ground_truth', with which the judge compares; a judge that needs none is a "
    "class of yours with needs_reference_answer = False (docs/how-to/judge.md)",
    "comparison": "give every row 'chosen' and 'rejected', or leave out responses: data, so that the policy's own "
    "responses are played",
}
"""The fix for a row that lacks such a field."""

_NEVER_LACKED = MESSAGE_KEYS | {"prompt", "instruction", "messages", "conversations"}


@dataclass(kw_only=True)
class Rows:
    """The rows of one source: the valid ones, and what is wrong with the others.

    Attributes:
        source: The name of the source.
        weight: Its share of the examples, relative to other sources.
        read: The number of its rows.
        valid: The examples of valid rows, in their order.
        problems: What is wrong with each of the other rows.
        unread: Columns and keys of messages that hold content and are not read.
    """

    source: str
    weight: float
    read: int = 0
    valid: list[Example] = field(default_factory=list)
    problems: list[InputError] = field(default_factory=list)
    unread: set[str] = field(default_factory=set)


def parse(
    config: DataConfig,
    source: SourceConfig,
    needs: Needs,
    *,
    start: int,
    seen: dict[bytes, str] | None,
    may_lack: bool = False,
) -> Rows:
    """Reads a source and turns its rows into examples; wrong and repeated rows become problems.

    Args:
        config: The section `data`.
        source: The place and the form of the rows.
        needs: The users of the rows; a row that none of them can use is wrong.
        start: The index of the first row.
        seen: Digests of the rows so far, with their places, to which this source's are added. None lets rows repeat.
        may_lack: Whether the mapping of columns was given for another source, so that this one may lack all of its
            columns but the prompt's.

    Raises:
        InputError: The source cannot be read, or its columns fit no format.
    """
    rows = sources.read(source.source, split=source.split, subset=source.subset)
    result = Rows(source=source.source, weight=source.weight)
    # Read twice, since the format depends on the columns of all rows, and keeping the rows would take more memory than
    # the examples.
    columns = {name for row in rows if isinstance(row, Row) for name in row.values}
    if not columns and all(isinstance(row, InputError) for row in rows):
        result.problems = [row for row in rows if isinstance(row, InputError)]
        result.read = len(result.problems)
        return result
    if may_lack:
        there = {ours: name for ours, name in source.columns.items() if ours in _NEVER_LACKED or name in columns}
        source = source.model_copy(update={"columns": there})
    form = FORMATS[_format(source, columns, needs, may_lack=may_lack)]
    reading = RowReading(
        columns=form.mapping(columns, source.columns),
        roles=config.roles,
        ignored=frozenset(config.ignore),
        unread=result.unread,
    )
    check = _Check(config=config, form=form, needs=needs, reading=reading, seen=seen)
    for index, row in enumerate(rows, start=start):
        result.read += 1
        try:
            result.valid.append(check(index, row))
        except InputError as error:
            result.problems.append(error)
    return result


@dataclass(kw_only=True)
class _Check:
    """Turns one row into an example."""

    config: DataConfig
    form: Format
    needs: Needs
    reading: RowReading
    seen: dict[bytes, str] | None
    verifier: Verifier | None = None

    def __post_init__(self) -> None:
        if self.config.verifier is not None:
            self.verifier = VERIFIERS[self.config.verifier]()

    def __call__(self, index: int, row: Row | InputError) -> Example:
        if isinstance(row, InputError):
            raise row
        record = Record(index=index, where=row.where, values=row.values, reading=self.reading)
        example = unwritten(self.config, self.form.parse(record))
        record.check_unread(self.form.known)
        _check_use(record, example, self.form, self.needs)
        first = record.where if self.seen is None else self.seen.setdefault(_digest(example), record.where)
        if first != record.where:
            problem = f"repeats {first} (same {_same(example)})"
            raise InputError(problem, where=record.where, fix="remove one of the two")
        answer = example.reference_answer
        if self.verifier is not None and answer is not None and not self.verifier(answer, answer):
            what, fix = "expert response", "end the response with '#### ' and the number"
            if example.ground_truth is not None:
                what, fix = "ground truth", "give the right answer itself, such as a number, or leave the field out"
            problem = f"verifier '{self.config.verifier}' finds no answer in the {what}"
            raise InputError(problem, where=record.where, fix=fix)
        return example


def unwritten(config: DataConfig, example: Example) -> Example:
    """The example with an empty response if a teacher will write it, else the example itself."""
    return example if config.teacher is None else replace(example, response="")


def demonstrated(config: DataConfig, examples: list[Example]) -> list[Example]:
    """The examples, of which only the first `config.experts` with an expert's response keep it.

    In the others the response becomes the ground truth, unless they have one of their own.

    Raises:
        InputError: Fewer examples than that have an expert's response.
    """
    if config.experts is None:
        return examples
    kept, left = list[Example](), config.experts
    for example in examples:
        if example.response is None or left:
            left -= example.response is not None
            kept.append(example)
        else:
            kept.append(replace(example, response=None, ground_truth=example.reference_answer))
    if left:
        there = config.experts - left
        problem = f"{config.experts} expert responses are wanted (data.experts), {there} training rows have one"
        raise InputError(problem, where=config.title, fix="lower data.experts, or give more rows a response")
    return kept


def turns(example: Example) -> tuple[tuple[str, str], ...]:
    """The prompt as turns that can be compared: a plain prompt equals a chat of one user turn."""
    if example.messages is None:
        return (("user", example.prompt),)
    return tuple((turn["role"], turn["content"]) for turn in example.messages)


def _digest(example: Example) -> bytes:
    compared = None if example.comparison is None else asdict(example.comparison)
    content = json.dumps([turns(example), example.response, example.ground_truth, compared])
    return hashlib.blake2b(content.encode(), digest_size=16).digest()


def _same(example: Example) -> str:
    """The fields that a repeated row has in common with the first."""
    more = {
        "response": example.response,
        "ground truth": example.ground_truth,
        "responses and preferences": example.comparison,
    }
    return " and ".join(["prompt", *(name for name, value in more.items() if value is not None)])


def _check_use(record: Record, example: Example, form: Format, needs: Needs) -> None:
    """Raises InputError for a row that no user of the rows can use, since it lacks a response or preferences."""
    missing = {who: [part for part in parts if getattr(example, part) is None] for who, parts in needs.items()}
    if not all(missing.values()):
        return
    lacking = _lacking(missing)
    fix = lacking.fix
    if form.answer == form.fields[0] and example.messages:
        fix = f"end the conversation with the expert's turn, or remove what follows it; or {fix}"
    if example.comparison is not None:
        fix = "the rows hold preferences: learn from those with objective: {name: dpo} and responses: data"
        fix += ", or imitate what was chosen, with data.columns: {response: chosen}" if "chosen" in form.fields else ""
        if any("reference_answer" in parts for parts in missing.values()):
            fix += ", or judge the policy's own samples with a class of yours that has needs_reference_answer = False"
    column = form.answer if any("comparison" not in parts for parts in missing.values()) else form.fields[-1]
    raise record.error(column, f"{lacking.problem}, and there is none", str(fix))


def _lacking(missing: Mapping[str, Collection[str]]) -> InputError:
    """The fields that each user of the rows needs and a row lacks, and the fix."""
    wanted = {who: min(parts) for who, parts in missing.items()}
    wishes = ", ".join(f"{who} needs {CALLED[part]}" for who, part in wanted.items())
    return InputError(wishes, fix="; or ".join(dict.fromkeys(_GIVEN[part] for part in wanted.values())))


def _format(source: SourceConfig, columns: set[str], needs: Needs, *, may_lack: bool) -> str:
    where = source.source
    for name, column in source.columns.items():
        if column not in columns and name not in MESSAGE_KEYS:
            problem = f"data.columns maps '{name}' to the column '{column}', which is not there"
            # A column that is mapped already holds something else.
            free = columns - {*source.columns.values()}
            fix = did_you_mean(column, free) if free else "leave it out of data.columns, or add the column"
            raise InputError(problem, where=where, fix=fix)
    if source.format == "auto":
        offered = {"reference_answer"} if GROUND_TRUTH in {*columns, *source.columns} else set()
        lacked = {who: parts - offered for who, parts in needs.items()}
        lacking = _lacking(lacked) if all(lacked.values()) else None
        return detect(columns, source.columns, where=where, lacking=lacking)
    form = FORMATS[source.format]
    mapping = form.mapping(columns, source.columns)
    needed = [name for name in form.fields if not may_lack or name != form.answer or name == form.fields[0]]
    missing = [name for name in needed if mapping.get(name, name) not in columns]
    if missing:
        problem = f"format '{source.format}' needs the column '{missing[0]}'; found: {', '.join(sorted(columns))}"
        fix = (
            f"map it with data.columns, e.g. {{{missing[0]}: {min(columns, default='…')}}}, or set data.format to auto"
        )
        raise InputError(problem, where=where, fix=fix)
    return source.format
