"""`init`: a commented configuration for a data file that it looks at."""

from __future__ import annotations

import itertools
import shlex
from collections.abc import Collection, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import yaml

from sparring import models
from sparring.cli.columns import read_by_names, teaches
from sparring.cli.output import print_lines
from sparring.data import DataConfig
from sparring.data.formats import GROUND_TRUTH
from sparring.data.guesses import columns_setting, example_mapping
from sparring.data.text_files import unpacked
from sparring.data.verifiers import fitting_rule
from sparring.errors import InputError
from sparring.examples import Example
from sparring.files import write_text
from sparring.selfplay.config.schema import SelfPlayConfig
from sparring.selfplay.config.yaml import apply_overrides

# What is measured in tokens; a longer file is like its beginning.
_MEASURED = 2000
_STEP, _LONGEST = 64, 1024
_SHORT_STEP = 16  # up to the first step
# So many lines are named one by one.
_FEW = 5
# So many times as many rows with a response make a prompt alone look like a slip.
_MANY = 20
_CALLED = {"prompt": "prompt", "response": "response", "output": "response", GROUND_TRUTH: "right answer"}

_HEAD = """\
# Self-play on {source}, {told}
# Every value works as it stands. `sparring plan {to}` says what it takes, `sparring train {to}` plays it.
output: runs/{name}
seed: 0
model:
  name: {model}  # a Hugging Face id or a folder
data:
  source: {source}
  max_response_tokens: {limit}  # {lengths}
  # held_out: 32  # examples set apart to measure every policy on; by default a fifth{whose}, at most 32
"""
_SKIP = """\
  # Leaves out the rows that the head of this file counts as left out; without this setting they stop the run.
  skip_invalid: true
"""
_COLUMNS = """\
  # Chosen by their names. A response is imitated; a `ground_truth` is the right answer, which a verifier compares with.
"""
# The settings that say how the rows are read.
_READING = ("columns", "format", "ignore", "roles", "split", "subset")
_VERIFIER = """\
  # What makes a response right, given the right answer. exact: it is that answer and no more; final-number: it ends in
  # the same number; math: in the same formula (pip install 'sparring[math]').
  verifier: {verifier}
"""
_AUTO = """\
# `auto` looks at the data and chooses what is not set here; `sparring plan` shows what it chose, and why.
recipe: auto
"""
_IMITATION = """\
# Where every prompt has an expert's response and nothing judges, more supervised fine-tuning is the better buy: no
# self-play that was measured beat it (README, docs/auto.md). The recipe `auto` looks at the data and chooses so:
#   sparring train auto {settings}
# Here `iterations: 0` ends the run after its supervised fine-tuning.
# Supervised fine-tuning first, until prompts set apart for it say that it no longer helps.
warmup:
  until: plateau
iterations: 2  # each: the policy answers the prompts, then learns to tell the experts' responses from its own
objective:
  name: spif  # others: spin, space, t-spin, …; see `sparring recipes`
  beta: 1.0
  reward_bound: 2.0
"""
_PREFERENCE = """\
iterations: 1
responses: data  # learns from the responses and preferences of the rows; nothing is generated
objective:
  name: dpo  # or ipo, inpo
  beta: 0.1
"""
_TAIL = """\
training:  # fields of transformers' TrainingArguments
  learning_rate: 2.0e-5
  num_train_epochs: 1
  per_device_train_batch_size: 4
# A larger model fits where only adapters are trained; then take a learning rate of about 1.0e-4.
# lora:
#   r: 16
"""


@dataclass(frozen=True, kw_only=True)
class _Look:
    """What was found in a data file.

    Attributes:
        read: How many rows it has.
        examples: What the valid ones hold.
        problems: What is wrong with each of the others.
        mapped: The columns that were taken for a field by their names, by field.
        unread: The columns that hold something and are not read.
        experts: The rows with an expert's response.
        compared: The rows with preferences, and no expert's response.
        known: The rows with the right answer alone.
        alone: The rows with a prompt alone.
    """

    read: int
    examples: list[Example]
    problems: list[InputError]
    mapped: Mapping[str, str]
    unread: Collection[str]
    experts: list[Example] = field(init=False, default_factory=list)
    compared: list[Example] = field(init=False, default_factory=list)
    known: list[Example] = field(init=False, default_factory=list)
    alone: list[Example] = field(init=False, default_factory=list)

    def __post_init__(self) -> None:
        for each in self.examples:
            if each.response is not None:
                kind = self.experts
            elif each.comparison is not None:
                kind = self.compared
            else:
                kind = self.alone if each.ground_truth is None else self.known
            kind.append(each)

    @property
    def verifier(self) -> str | None:
        """The rule that fits the right answers; None where no row tells one apart from its response."""
        return fitting_rule(self.examples)

    @property
    def whose(self) -> str:
        """Of which rows a share is held out, where that is not of all."""
        if self.verifier is not None:
            return " of the rows with an answer" if self.alone else ""
        return " of the rows with an expert's response" if self.experts and (self.known or self.alone) else ""

    @property
    def alike(self) -> bool:
        """Whether all rows hold an expert's response, or all hold preferences, and none holds more."""
        kinds = {(each.response is None, each.comparison is None) for each in self.examples}
        return self.verifier is None and kinds in ({(False, True)}, {(True, False)})

    def told(self) -> list[str]:
        """How many rows there are, then what they hold, a line for each kind; together they are all rows."""
        kinds = [
            (len(self.experts), "with an expert's response"),
            (len(self.compared), "with preferences"),
            (len(self.known), "with the right answer alone"),
            (
                len(self.alone),
                f"with a prompt alone{_few([str(each.where) for each in self.alone])}{self._perhaps_cut}",
            ),
        ]
        lines = [f"{_rows(count)} {what}" for count, what in kinds if count]
        if self.problems:
            count = len(self.problems)
            wrong = "; ".join(f"{each.where}: {each.problem}" for each in self.problems[:_FEW])
            more = f"; and {count - _FEW} more" if count > _FEW else ""
            lines.append(f"{_rows(count)} {'is' if count == 1 else 'are'} wrong, left out: {wrong}{more}")
        for name, column in self.mapped.items():
            lines.append(f"the column '{column}' is taken for the {_CALLED[name]}, by its name")
        if self.unread:
            lines.append(f"columns that hold something and are not read: {', '.join(sorted(self.unread))}")
        lines += self._perhaps_imitated()
        return [_rows(self.read), *(" ".join(line.split()) for line in lines)]

    @property
    def _perhaps_cut(self) -> str:
        """What a few prompts alone among many responses may be: a slip, on which the game to be played would hang."""
        few = self.verifier is None and 0 < _MANY * len(self.alone) < len(self.experts)
        return "; if a response is missing there, add it: what is played hangs on such rows" if few else ""

    def _perhaps_imitated(self) -> Iterator[str]:
        """The one column that no name tells, where nothing is there to imitate: it may hold the responses."""
        if self.experts or self.compared or not self.mapped:
            return
        mapping = example_mapping({*self.mapped.values(), *self.unread}, self.mapped)
        if (column := mapping.get("response")) is not None:
            yield f"where '{column}' holds responses to imitate, add {columns_setting(mapping)} to the command"

    def responses(self) -> Iterable[str]:
        """Every response that the game may train on."""
        yield from (each.response for each in self.experts if each.response is not None)
        for each in self.experts + self.compared:
            yield from () if each.comparison is None else each.comparison.responses


def _rows(count: int) -> str:
    return "1 row" if count == 1 else f"{count} rows"


def _few(places: Sequence[str]) -> str:
    """The places, where they are few."""
    return f": {'; '.join(places)}" if len(places) <= _FEW else ""


def init_command(source: str, overrides: Sequence[str], to: Path, model: str) -> None:
    """Looks at a data file and writes a configuration for it.

    Raises:
        InputError: There is a file already; a setting does not say how rows are read; the data cannot be read, or hold
            nothing to learn from.
    """
    if to.exists():
        raise InputError("is there already", where=str(to), fix="give another name with --to, or remove it")
    given = _given(overrides, to)
    look = _look(source, given)
    reading = given | ({"columns": {**given.get("columns", {}), **look.mapped}} if look.mapped else {})
    limit, lengths = _limit(look, model)
    played, left = (None, 0) if look.alike else _played(look, source, reading)
    first, *kinds = [*look.told(), *([] if played is None else [played])]
    if left:
        kinds.append(f"{_rows(left)} of no use to that, left out: those with neither preferences nor a response")
    name = unpacked(Path(source)).stem or "selfplay"
    values = {"told": f"{first}:", "to": to, "name": name, "limit": limit, "lengths": lengths, "whose": look.whose}
    head, rest = _HEAD.format(source=_flow(source), model=_flow(model), **values).split("\n", 1)
    lines = [head, *(f"#   {kind}" for kind in kinds), rest]
    data = _COLUMNS if look.mapped else ""
    data += "".join(f"  {key}: {_flow(value)}\n" for key, value in reading.items())
    data += "" if look.verifier is None else _VERIFIER.format(verifier=look.verifier)
    data += _SKIP if look.problems or left else ""
    skipping = {"skip_invalid": True} if look.problems else {}
    settings = " ".join(shlex.quote(f"data.{key}={_flow(value)}") for key, value in {**reading, **skipping}.items())
    settings = f"data.source={shlex.quote(source)} {settings}".strip()
    play = _IMITATION.format(settings=settings) if look.experts else _PREFERENCE
    write_text(to, "\n".join(lines) + data + (_AUTO if played is not None else play + _TAIL))
    print_lines([f"{source}: {first}", *(f"  {kind}" for kind in kinds), f"configuration: {to}"])
    print_lines([f"next: sparring plan {to}"])


def _given(overrides: Sequence[str], to: Path) -> dict[str, Any]:
    """The settings of `data` that say how its rows are read."""
    values = apply_overrides({}, overrides)
    data = values.pop("data", {})
    other = [*values, *(f"data.{key}" for key in data if key not in _READING)]
    if other:
        known = ", ".join(f"data.{key}" for key in _READING)
        fix = f"leave it out, and write it into {to} afterwards"
        raise InputError(f"does not say how the rows are read; these do: {known}", where=other[0], fix=fix)
    return dict(data)


def _limit(look: _Look, model: str) -> tuple[int, str]:
    """A limit that the responses keep within, in tokens, and what it is from."""
    tokenizer = models.load_tokenizer(models.ModelConfig(name=model))
    # With the end token.
    counts = [len(tokenizer(text).input_ids) + 1 for text in itertools.islice(look.responses(), _MEASURED)]
    if not counts:
        return DataConfig.model_fields["max_response_tokens"].default, "no row has a response that tells how long"
    longest = max(counts)
    step = _SHORT_STEP if longest <= _STEP else _STEP
    limit = min(-(-longest // step) * step, _LONGEST)
    return limit, f"the longest response has {longest}" + ("; longer ones are cut" if longest > limit else "")


def _played(look: _Look, source: str, reading: Mapping[str, Any]) -> tuple[str, int]:
    """What `auto` plays on the rows and why, and of how many it has no use."""
    from sparring.selfplay.auto import resolve

    data = {"source": source, **reading, "verifier": look.verifier, "skip_invalid": True}
    chosen, reasons = resolve(SelfPlayConfig.from_mapping({"recipe": "auto", "data": data}))
    left = len(look.known) + len(look.alone) if chosen.responses == "data" else 0
    return next(reason for reason in reasons if reason.startswith("auto plays")), left


def _look(source: str, given: Mapping[str, Any]) -> _Look:
    rows, mapped = read_by_names(SelfPlayConfig.from_mapping({"data": {"source": source, **given}}).data)
    if not rows.valid:
        raise rows.problems[0]
    if not teaches(rows):
        fix = "add responses, or right answers as `ground_truth`; or let a judge tell better samples from worse, as "
        fix += "`sparring recipes show consensus` does"
        raise InputError("holds prompts alone, so there is nobody to learn from", where=source, fix=fix)
    return _Look(read=rows.read, examples=rows.valid, problems=rows.problems, mapped=mapped, unread=rows.unread)


def _flow(value: Any) -> str:
    """A value as YAML writes it in a line, a text in quotes where it needs them."""
    written: str = yaml.safe_dump(value, default_flow_style=True, sort_keys=False, allow_unicode=True, width=10_000)
    return written.removesuffix("...\n").strip()
