"""The shapes that a row of data may have, and how each becomes an `Example`."""

from __future__ import annotations

import itertools
import sys
from collections.abc import Callable, Collection, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

from sparring.data.chats import Turn
from sparring.data.records import Record
from sparring.errors import InputError
from sparring.examples import PROMPT_NAMES, Comparison, Example

MESSAGE_KEYS = frozenset({"role", "content"})
"""The names of a message's keys in `data.columns`."""

GROUND_TRUTH = "ground_truth"
"""The column of the answers that responses are verified against, where these are not the experts' responses."""

PROMPT_ONLY = "prompt-only"
"""The format that every row with a prompt fits."""
_SYSTEM = {"system": ("system_prompt",)}
_BEFORE = ("system", "history")
# A whole number may be too large for a float.
_LARGEST = sys.float_info.max


@dataclass(frozen=True, kw_only=True)
class Format:
    """A shape of rows.

    Attributes:
        fields: The columns that it needs, which also distinguish it from the other formats.
        optional: Columns that it reads if they are there; all formats also read `GROUND_TRUTH`.
        usual: Other usual names of a field, for files without a column of its own name.
        answer: The column of the expert's response, for an error where one is needed.
        parse: Turns one row into an example.
    """

    fields: tuple[str, ...]
    optional: tuple[str, ...] = ()
    usual: Mapping[str, tuple[str, ...]] = field(default_factory=dict)
    answer: str = "response"
    parse: Callable[[Record], Example]

    @property
    def known(self) -> frozenset[str]:
        """All columns that it reads."""
        return frozenset({*self.fields, *self.optional, GROUND_TRUTH})

    def mapping(self, columns: Collection[str], given: Mapping[str, str]) -> dict[str, str]:
        """Our field name to the file's column name: the user's mapping, and other usual names that the file has."""
        found = dict(given)
        for name, others in self.usual.items():
            there = [other for other in others if other in columns and other not in given.values()]
            if name not in found and name not in columns and there:
                found[name] = there[0]
        return found


def _prompt_response(record: Record) -> Example:
    return _pair(record, "response")


def _prompt_completion(record: Record) -> Example:
    return _pair(record, "completion")


def _pair(record: Record, answer: str) -> Example:
    """A prompt and its answer, each either text or a list of messages."""
    prompt, expert = _prompt(record), _answer(record, answer) if record.has(answer) else None
    plain = isinstance(record.spoken("prompt"), str) and not (expert and isinstance(record.spoken(answer), list | dict))
    return _example(record, prompt, plain=plain, response=expert)


def _prompt_only(record: Record) -> Example:
    return _example(record, _prompt(record), plain=isinstance(record.spoken("prompt"), str))


def _messages(record: Record) -> Example:
    return _conversation(record, "messages", record.turns("messages"))


def _sharegpt(record: Record) -> Example:
    return _conversation(record, "conversations", record.turns("conversations"))


def _alpaca(record: Record) -> Example:
    extras = [record.text(name) for name in ("input", "context") if not record.is_nothing(name)]
    prompt = [{"role": "user", "content": "\n\n".join([record.text("instruction"), *extras])}]
    return _example(record, prompt, plain=True, response=record.text("output") if record.has("output") else None)


def _preference(record: Record) -> Example:
    """A chosen and a rejected answer, or neither; without a prompt they are conversations that begin with it."""
    if record.has("prompt"):
        prompt, plain = _prompt(record), isinstance(record.spoken("prompt"), str)
    elif isinstance(record.spoken("chosen"), list):
        prompt, plain = _asked(record, "chosen", record.turns("chosen")[:-1]), False
    else:
        raise _promptless(record)
    comparison = None
    if record.has("chosen") or record.has("rejected"):
        chosen, rejected = (_answer(record, field, prompt) for field in ("chosen", "rejected"))
        if chosen == rejected:
            raise record.error("rejected", "is the same as what was chosen", "remove the row: it prefers nothing")
        comparison = Comparison(responses=(chosen, rejected), pairwise=((0.5, 1.0), (0.0, 0.5)))
    return _compared(record, prompt, comparison, plain=plain)


def _promptless(record: Record) -> InputError:
    """The error for a row with answers but no prompt."""
    likely = next((name for name in PROMPT_NAMES[1:] if name in record.values), "question")
    fix = f"name its column with data.columns, e.g. {{prompt: {likely}}}, or begin both answers with it: as messages, "
    problem = "is null" if "prompt" in record.values else "is missing"
    return record.error("prompt", problem, fix + r"or as a text, '\n\nHuman: …\n\nAssistant: …'")


def _comparison(record: Record) -> Example:
    """K responses, each with a score, or with P(y_i ≻ y_j) for every pair; or no responses at all."""
    comparison = None
    if record.has("responses") or record.has("scores") or record.has("pairwise"):
        texts = record.items("responses")
        if len(texts) < 2:
            raise record.error("responses", "must be two or more", "remove the row: it prefers nothing")
        if record.has("scores") == record.has("pairwise"):
            raise record.error("responses", "must come with scores or with pairwise", "give one of the two")
        comparison = Comparison(
            responses=tuple(record.check_text("responses", text, inside=f"[{k}]") for k, text in enumerate(texts)),
            pairwise=_of_scores(record, len(texts)) if record.has("scores") else _pairwise(record, len(texts)),
        )
    return _compared(record, _prompt(record), comparison, plain=isinstance(record.spoken("prompt"), str))


FORMATS: dict[str, Format] = {
    "prompt-response": Format(fields=("prompt", "response"), optional=_BEFORE, usual=_SYSTEM, parse=_prompt_response),
    "prompt-completion": Format(
        fields=("prompt", "completion"), optional=_BEFORE, usual=_SYSTEM, answer="completion", parse=_prompt_completion
    ),
    "messages": Format(fields=("messages",), optional=("system",), usual=_SYSTEM, answer="messages", parse=_messages),
    "alpaca": Format(
        fields=("instruction", "output"),
        optional=("input", "context", *_BEFORE),
        usual=_SYSTEM | {"output": ("response",)},
        answer="output",
        parse=_alpaca,
    ),
    "sharegpt": Format(
        fields=("conversations",),
        optional=("system",),
        usual=_SYSTEM | {"conversations": ("conversation", "dialogue", "dialog")},
        answer="conversations",
        parse=_sharegpt,
    ),
    "preference": Format(
        fields=("chosen", "rejected"), optional=("prompt", "response", *_BEFORE), usual=_SYSTEM, parse=_preference
    ),
    "comparison": Format(
        fields=("prompt", "responses"),
        optional=("scores", "pairwise", "response", *_BEFORE),
        usual=_SYSTEM,
        parse=_comparison,
    ),
    PROMPT_ONLY: Format(fields=("prompt",), optional=_BEFORE, usual=_SYSTEM, parse=_prompt_only),
}


def _example(record: Record, prompt: Sequence[Turn], *, plain: bool, **answers: Any) -> Example:
    """The example, with the turns of other columns put before the prompt."""
    before = record.before()
    if before and prompt[0]["role"] == "system":
        if before[0]["role"] == "system" and before[0] != prompt[0]:
            fix = "leave one of the two out, or name the column in data.ignore"
            raise record.error("system", "is another system turn than that of the conversation", fix)
        before = [prompt[0], *(turn for turn in before if turn["role"] != "system")]
        prompt = prompt[1:]
    messages = None if plain and not before else (*before, *prompt)
    return Example(
        index=record.index,
        where=record.where,
        messages=messages,
        prompt=prompt[-1]["content"],
        ground_truth=record.text_or_number(GROUND_TRUTH) if record.has(GROUND_TRUTH) else None,
        **answers,
    )


def _compared(record: Record, prompt: Sequence[Turn], comparison: Comparison | None, *, plain: bool) -> Example:
    """The example with compared responses, and with the expert's response if the row has one."""
    expert = _answer(record, "response", prompt) if record.has("response") else None
    return _example(record, prompt, plain=plain, response=expert, comparison=comparison)


def _prompt(record: Record) -> list[Turn]:
    """The prompt as turns; a text becomes a single user turn."""
    if isinstance(record.spoken("prompt"), list | dict):
        return _asked(record, "prompt", record.turns("prompt"))
    return [{"role": "user", "content": record.text("prompt")}]


def _asked(record: Record, field: str, turns: list[Turn]) -> list[Turn]:
    """The turns of a prompt, which must end with the user's."""
    if not turns or turns[-1]["role"] != "user":
        before = f"role '{turns[-1]['role']}'" if turns else "nothing"
        fix = "put the user's turn that the response answers before it"
        raise record.error(field, f"must have a user turn before the last assistant turn, has {before} there", fix)
    return turns


def _answer(record: Record, field: str, prompt: Sequence[Turn] = ()) -> str:
    """A response: a text, or one assistant message, before which the prompt may be repeated."""
    if not isinstance(record.spoken(field), list | dict):
        return record.text(field)
    turns = record.turns(field)
    if prompt and turns[: len(prompt)] == list(prompt):
        turns = turns[len(prompt) :]
    if prompt and len(turns) == len(prompt) + 1:
        fix = "remove the row: only answers to the same prompt can be compared"
        if record.has("prompt"):
            fix = "write the same turns there as in the prompt, white space included, or none of them"
            raise record.error(field, "begins with other turns than the prompt", fix)
        raise record.error(field, "begins with another prompt than the other answer", fix)
    if len(turns) != 1:
        problem = f"must be one assistant message, got {len(turns)} messages"
        raise record.error(field, problem, "move the earlier turns to the prompt")
    if turns[0]["role"] != "assistant":
        fix = "end the conversation with the expert's turn, or remove what follows it"
        raise record.error(field, f"must end with an assistant turn, ends with a {turns[0]['role']} turn", fix)
    return turns[0]["content"]


def _conversation(record: Record, field: str, turns: list[Turn]) -> Example:
    """The last assistant turn is the response, all before it the prompt; a prompt alone ends with the user's turn."""
    if turns[-1]["role"] == "user":
        return _example(record, turns, plain=False)
    if turns[-1]["role"] != "assistant":
        fix = "end the conversation with the expert's turn, or remove what follows it"
        raise record.error(field, f"must end with an assistant turn, ends with a {turns[-1]['role']} turn", fix)
    return _example(record, _asked(record, field, turns[:-1]), plain=False, response=turns[-1]["content"])


def _of_scores(record: Record, count: int) -> tuple[tuple[float, ...], ...]:
    """P_ij = 1 where y_i has the higher score, and ½ where both have the same."""
    scores = _numbers(record, "scores", record.items("scores"), count)
    return tuple(tuple(0.5 * (1.0 + (i > j) - (i < j)) for j in scores) for i in scores)


def _pairwise(record: Record, count: int) -> tuple[tuple[float, ...], ...]:
    rows = record.items("pairwise")
    if len(rows) != count:
        raise record.error("pairwise", f"has {len(rows)} rows for {count} responses", "give a row for each response")
    table = tuple(_numbers(record, "pairwise", row, count, inside=f"[{i}]") for i, row in enumerate(rows))
    for i, j in itertools.combinations_with_replacement(range(count), 2):
        if not (0.0 <= table[i][j] <= 1.0 and abs(table[i][j] + table[j][i] - 1.0) < 1e-6):
            problem = f"holds {table[i][j]} and {table[j][i]} for responses {i} and {j}"
            fix = "give probabilities: P_ij + P_ji = 1, so ½ on the diagonal"
            raise record.error("pairwise", problem, fix)
    return table


def _numbers(record: Record, field: str, values: Any, count: int, inside: str = "") -> tuple[float, ...]:
    if not isinstance(values, list) or len(values) != count:
        given = len(values) if isinstance(values, list) else type(values).__name__
        fix = "give one number for each response"
        raise record.error(field, f"must hold {count} numbers, got {given}", fix, inside=inside)
    for position, value in enumerate(values):
        if isinstance(value, bool) or not isinstance(value, int | float) or not abs(value) <= _LARGEST:
            problem, place = f"must be a number, got {repr(value)[:40]}", f"{inside}[{position}]"
            raise record.error(field, problem, "write a finite number, without quotes", inside=place)
    return tuple(map(float, values))
