"""Prompts without expert responses, for generation and evaluation from the command line."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

from sparring.data import sources
from sparring.data.config import DataConfig, SourceConfig
from sparring.data.formats import FORMATS, MESSAGE_KEYS
from sparring.data.rows import Needs, parse
from sparring.data.tasks import TASKS
from sparring.data.template import PromptTemplate, place
from sparring.errors import InputError, did_you_mean
from sparring.examples import EncodedExample, Example

_NEEDS_PROMPT: Needs = {"the model": frozenset()}

Conversation = Sequence[dict[str, str]]
"""The turns of a chat, `{"role": …, "content": …}` each, of which the last is the user's."""


def load_prompts(path: Path, column: str = "prompt") -> list[str]:
    """The prompts in a column of a data file.

    Raises:
        InputError: The file cannot be read, or a row has no text in that column.
    """
    prompts = []
    for row in sources.read(str(path), split="train", subset=None):
        if isinstance(row, InputError):
            raise row
        where, values = row.where, row.values
        if column not in values:
            raise InputError(f"there is no field '{column}'", where=where, fix=did_you_mean(column, values))
        if not isinstance(values[column], str) or not values[column].strip():
            raise InputError("is not text, or is empty", where=f"{where}, field '{column}'", fix="write a prompt")
        prompts.append(values[column])
    return prompts


def read_prompts(path: Path, config: DataConfig | None = None) -> list[str | Conversation]:
    """The prompts of a data file of any format, whatever else its rows hold.

    Args:
        path: The file, or a folder of files.
        config: The section `data` of a run, whose format, columns and roles are used if the file has those columns.
            None finds the format by the columns.

    Raises:
        InputError: The file cannot be read, or a row is wrong.
    """
    source, reading = SourceConfig(source=str(path)), DataConfig(source=str(path))
    if config is not None and config.source not in TASKS:
        rows = sources.read(str(path), split="train", subset=None)
        columns = {name for row in rows if not isinstance(row, InputError) for name in row.values}
        own = next((part for part in config.parts if _fits(part, columns)), source)
        source = SourceConfig(source=str(path), format=own.format, columns=own.columns)
        reading = DataConfig(source=str(path), roles=config.roles, ignore=config.ignore)
    found = parse(reading, source, _NEEDS_PROMPT, start=0, seen=None)
    if found.problems:
        raise found.problems[0]
    return [each.prompt if each.messages is None else each.messages for each in found.valid]


def _fits(part: SourceConfig, columns: set[str]) -> bool:
    """Whether a file has the columns that a source's format and mapping name."""
    mapped = {column for name, column in part.columns.items() if name not in MESSAGE_KEYS}
    fields = () if part.format == "auto" else FORMATS[part.format].fields
    return mapped <= columns and {*columns, *part.columns}.issuperset(fields)


def encode_prompts(
    prompts: Sequence[str | Conversation], template: PromptTemplate, *, limit: int
) -> tuple[list[EncodedExample], tuple[int, ...]]:
    """Prompts as token ids, templated as in training, and the tokens that end a response.

    Args:
        prompts: Each a text (a plain prompt, or the single user turn of a chat) or the turns of a chat.
        template: The model's template, as in training.
        limit: The most tokens of a prompt.

    Raises:
        InputError: A prompt is over the limit, or the template fails or cannot hold several turns.
    """
    examples = [_example(number, prompt) for number, prompt in enumerate(prompts)]
    encoded = []
    for example, ids in zip(examples, template.safe_prompts(examples), strict=True):
        if len(ids) > limit:
            raise InputError(
                f"the prompt has {len(ids)} tokens, over the limit of {limit}",
                where=place(example),
                fix="shorten it, or allow fewer new tokens",
            )
        encoded.append(
            EncodedExample(
                index=example.index,
                prompt_ids=ids,
                expert_ids=[],
                prompt=example.prompt,
                messages=example.messages,
            )
        )
    return encoded, template.stop_ids()


def _example(index: int, prompt: str | Conversation) -> Example:
    if isinstance(prompt, str):
        return Example(index=index, where=f"prompt {index + 1}", prompt=prompt)
    last = prompt[-1]["content"]
    return Example(index=index, where=f"prompt {index + 1}", messages=tuple(prompt), prompt=last)
