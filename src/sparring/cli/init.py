"""`init`: a commented configuration for a data file that it looks at."""

from __future__ import annotations

import itertools
import shlex
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from pathlib import Path

import yaml

from sparring.cli.output import print_lines
from sparring.data import DataConfig, SourceConfig
from sparring.data.rows import parse
from sparring.errors import InputError
from sparring.examples import Example
from sparring.files import write_text
from sparring.models import ModelConfig, load_tokenizer

# What is measured in tokens; a longer file is like its beginning.
_MEASURED = 2000
_STEP, _LONGEST = 64, 1024
# So many lines are named one by one.
_FEW = 5

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
  # held_out: 32  # examples set apart to measure every policy on; by default a fifth, at most 32
"""
_SKIP = """\
  # Leaves out the rows that are said above to be left out; without this setting they stop the run.
  skip_invalid: true
"""
_IMITATION = """\
# Where every prompt has an expert's response and nothing judges, more supervised fine-tuning is the better buy: no
# self-play that was measured beat it (README, docs/auto.md). The recipe `auto` looks at the data and chooses so:
#   sparring train auto data.source={source}
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
        experts: The rows with an expert's response.
        compared: The rows with preferences, and no expert's response.
        alone: Where the rows are that hold a prompt alone.
        problems: What is wrong with each of the others.
    """

    read: int
    experts: list[Example]
    compared: list[Example]
    alone: list[str]
    problems: list[InputError]

    @property
    def leaves_out(self) -> bool:
        """Whether some rows are of no use to the game."""
        return len(self.experts or self.compared) < self.read

    def told(self) -> list[str]:
        """How many rows there are, then what they hold, a line for each kind; together they are all rows."""
        left = ", left out: those with an expert's response are imitated" if self.experts else ""
        kinds = [
            (len(self.experts), "with an expert's response"),
            (len(self.compared), f"with preferences{left}"),
            (len(self.alone), f"with a prompt alone, left out{_few(self.alone)}"),
        ]
        lines = [f"{_rows(count)} {what}" for count, what in kinds if count]
        if self.problems:
            first, count = self.problems[0], len(self.problems)
            head = f"{_rows(count)} {'is' if count == 1 else 'are'} wrong, left out"
            lines.append(f"{head}: {'' if count == 1 else 'the first is '}{first.where}: {first.problem}")
        return [_rows(self.read), *(" ".join(line.split()) for line in lines)]

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


def init_command(source: str, to: Path, model: str) -> None:
    """Looks at a data file and writes a configuration for it.

    Raises:
        InputError: There is a file already; the data cannot be read, or hold nothing to learn from.
    """
    if to.exists():
        raise InputError("is there already", where=str(to), fix="give another name with --to, or remove it")
    look = _look(source)
    tokenizer = load_tokenizer(ModelConfig(name=model))
    # With the end token.
    longest = max(len(tokenizer(text).input_ids) + 1 for text in itertools.islice(look.responses(), _MEASURED))
    limit = min(-(-longest // _STEP) * _STEP, _LONGEST)
    lengths = f"the longest response has {longest}" + ("; longer ones are cut" if longest > limit else "")
    name = Path(source).stem or "selfplay"
    first, *kinds = look.told()
    values = {"told": f"{first}:", "to": to, "name": name, "limit": limit, "lengths": lengths}
    head, rest = _HEAD.format(source=_scalar(source), model=_scalar(model), **values).split("\n", 1)
    lines = [head, *(f"#   {kind}" for kind in kinds), rest]
    play = _IMITATION.format(source=shlex.quote(source)) if look.experts else _PREFERENCE
    write_text(to, "\n".join(lines) + (_SKIP if look.leaves_out else "") + play + _TAIL)
    print_lines([f"{source}: {first}", *(f"  {kind}" for kind in kinds), f"configuration: {to}"])
    print_lines([f"next: sparring plan {to}"])


def _look(source: str) -> _Look:
    needs, seen = {"the model": frozenset[str]()}, dict[bytes, str]()
    rows = parse(DataConfig(source=source), SourceConfig(source=source), needs, start=0, seen=seen)
    # Without a verifier every row that was seen is valid, so these are their places.
    valid = list(zip(rows.valid, seen.values(), strict=True))
    experts = [each for each, _ in valid if each.response is not None]
    compared = [each for each, _ in valid if each.response is None and each.comparison is not None]
    if not experts and not compared:
        if rows.problems:
            raise rows.problems[0]
        fix = "add responses; or let a judge tell better samples from worse, as `sparring recipes show consensus` does"
        raise InputError("holds prompts alone, so there is nobody to learn from", where=source, fix=fix)
    alone = [where for each, where in valid if each.response is None and each.comparison is None]
    return _Look(read=rows.read, experts=experts, compared=compared, alone=alone, problems=rows.problems)


def _scalar(text: str) -> str:
    """A text as YAML writes it, in quotes where it needs them."""
    written: str = yaml.safe_dump(text, width=10_000)
    return written.removesuffix("...\n").strip()
