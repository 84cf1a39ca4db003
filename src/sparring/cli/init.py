"""`init`: a commented configuration for a data file that it looks at."""

from __future__ import annotations

import itertools
from collections.abc import Iterable
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

_HEAD = """\
# Self-play on {source}: {told}.
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
_IMITATION = """\
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
        examples: The rows that are valid.
        wrong: The first problem, and how many rows have one.
    """

    examples: list[Example]
    wrong: tuple[InputError | None, int]

    @property
    def compared(self) -> bool:
        """Whether the rows hold preferences, and no expert's response."""
        return not any(each.response is not None for each in self.examples)

    def told(self) -> str:
        """Rows and what they hold, in words."""
        first, count = self.wrong
        what = "responses with preferences" if self.compared else "an expert's response"
        left = "" if first is None else f"; {count} others are wrong and left out; {first.where}: {first.problem}"
        return " ".join(f"{len(self.examples)} rows with {what}{left}".split())

    def responses(self) -> Iterable[str]:
        """Every response that the rows hold."""
        for each in self.examples:
            yield from () if each.response is None else (each.response,)
            yield from () if each.comparison is None else each.comparison.responses


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
    values = {"told": look.told(), "to": to, "name": name, "limit": limit, "lengths": lengths}
    head = _HEAD.format(source=_scalar(source), model=_scalar(model), **values)
    skip = "  skip_invalid: true\n" if look.wrong[1] else ""
    write_text(to, head + skip + (_PREFERENCE if look.compared else _IMITATION) + _TAIL)
    print_lines([f"{source}: {look.told()}", f"configuration: {to}", f"next: sparring plan {to}"])


def _look(source: str) -> _Look:
    needs = {"the model": frozenset[str]()}
    rows = parse(DataConfig(source=source), SourceConfig(source=source), needs, start=0, seen={})
    examples = [each for each in rows.valid if each.response is not None or each.comparison is not None]
    if not examples:
        if rows.problems:
            raise rows.problems[0]
        fix = "add responses; or let a judge tell better samples from worse, as `sparring recipes show consensus` does"
        raise InputError("holds prompts alone, so there is nobody to learn from", where=source, fix=fix)
    return _Look(examples=examples, wrong=(next(iter(rows.problems), None), len(rows.problems)))


def _scalar(text: str) -> str:
    """A text as YAML writes it, in quotes where it needs them."""
    written: str = yaml.safe_dump(text, width=10_000)
    return written.removesuffix("...\n").strip()
