"""The prompt by which a model compares two responses, and how its verdict is read."""

from __future__ import annotations

import re
from collections.abc import Mapping
from itertools import groupby

from sparring.errors import InputError
from sparring.inputs import place, read_text
from sparring.judges.final import final_words
from sparring.judges.protocol import Question
from sparring.judges.replies import Reply

DEFAULT = """\
Below are a request and two responses to it, A and B. Decide which response is better: correct first of all, then
helpful, clear, and no longer than it needs to be. The order in which they are shown means nothing.

[Request]
{prompt}

[Response A]
{first}

[Response B]
{second}

End with one line that is exactly one of these:
Verdict: A
Verdict: B
Verdict: tie
"""

_FIELDS = ("{prompt}", "{first}", "{second}")
_NAMED = r"\W*(?:(?:so|my|the|final|overall)\W+)*verdict"
_VERDICT = re.compile(_NAMED + r"\W+(?:is\W+)?(?:(?:response|answer|option)\W+)?(A|B|tie)\W*", re.IGNORECASE)
# A claim of a verdict in any words: a verdict before it is not the conclusion.
_CLAIM = re.compile(_NAMED + r"(?:\W*[:=]|\W+is\b).*", re.IGNORECASE)
# Small models leave out the word "verdict".
_NOTHING_ELSE = re.compile(r"\A\W*(A|B|tie)\W*\Z", re.IGNORECASE)
_PREFERS_FIRST = {"a": 1.0, "b": 0.0, "tie": 0.5}


def read_template(path: str | None) -> str:
    """The template in a file, or the built-in one.

    Raises:
        InputError: The file cannot be read, or lacks one of `{prompt}`, `{first}` and `{second}`.
    """
    if path is None:
        return DEFAULT
    text = read_text(place(path), fix="give the judge's template as a text file, or leave it out")
    missing = [field for field in _FIELDS if field not in text]
    if missing:
        fix = "write {prompt}, {first} and {second} where the request and the two responses go"
        raise InputError(f"the judge's template lacks {', '.join(missing)}", where=path, fix=fix)
    return text


def ask(template: str, question: Question, first: str, second: str) -> str:
    """The template filled in."""
    return fill(template, {"prompt": conversation(question), "first": first, "second": second})


def fill(template: str, values: Mapping[str, str]) -> str:
    """The template with every `{name}` replaced in one pass, so that braces in a value stay what they are."""
    fields = "|".join(re.escape(f"{{{name}}}") for name in values)
    return re.sub(fields, lambda match: values[match.group()[1:-1]], template)


def read_verdict(reply: Reply, question: str) -> float | None:
    """P(first ≻ second) from a reply's last line `Verdict: A|B|tie`, or from a reply of that one word; else None.

    A verdict does not count if an unreadable one follows it (it was taken back), if it stands within a thought, or if
    it is a line of the question, which lists the possible ones. A reply that was cut at its limit counts only if it
    began with its verdict, since else it may have been thinking.

    Args:
        reply: The model's reply.
        question: The prompt that it answers.
    """
    words = final_words(reply.text, question).strip()
    if reply.cut:
        words = words.partition("\n")[0]
    claims = [line for line in words.splitlines() if _CLAIM.fullmatch(line)]
    if claims and not _VERDICT.fullmatch(claims[-1]):
        return None
    lists = set(_runs(question))
    found = [run[-1] for run in _runs(words) if len(run) < 2 or run not in lists] or _NOTHING_ELSE.findall(words)
    return _PREFERS_FIRST[found[-1].lower()] if found else None


def _runs(text: str) -> list[tuple[str, ...]]:
    """The verdicts in each run of consecutive lines that hold nothing but a verdict."""
    lines = [_VERDICT.fullmatch(line) for line in text.splitlines()]
    runs = [list(run) for there, run in groupby(lines, key=bool) if there]
    return [tuple(match[1].lower() for match in run if match is not None) for run in runs]


def conversation(question: Question) -> str:
    """The text before the responses: the prompt, or all turns of the chat, each after its role."""
    if question.messages is None or len(question.messages) == 1:
        return question.prompt
    return "\n\n".join(f"{turn['role']}: {turn['content']}" for turn in question.messages)
