"""What a model that judges concludes: its reply without its thoughts, and without what it repeats of the question."""

from __future__ import annotations

import re
from collections import deque

# How models mark a thought, as their chat templates write it.
_THOUGHTS = (
    ("<think>", "</think>"),
    ("<thinking>", "</thinking>"),
    ("<thought>", "</thought>"),
    ("<reasoning>", "</reasoning>"),
    ("<seed:think>", "</seed:think>"),
    ("[THINK]", "[/THINK]"),
    ("◁think▷", "◁/think▷"),
    ("<|START_THINKING|>", "<|END_THINKING|>"),
    ("<|begin_of_thought|>", "<|end_of_thought|>"),
    ("<|channel|>analysis<|message|>", "<|end|>"),
)
# Shorter lines may be the reply's own: a verdict, say, is asked for in the very words in which it is given.
_REPEATED = 24


def final_words(reply: str, question: str) -> str:
    """The part of a reply that may hold its conclusion.

    A thought may be closed, or cut by the limit before it was closed, or opened by the chat template, so that the reply
    holds its end alone. A line of the question that the reply repeats concludes nothing: instructions often show what a
    conclusion looks like.

    Args:
        reply: What the model wrote.
        question: What it was asked.
    """
    for opening, closing in _THOUGHTS:
        reply = _without(reply, opening, closing)
    repeated = {line for line in map(str.strip, question.splitlines()) if len(line) >= _REPEATED}
    return "\n".join(line for line in reply.splitlines() if line.strip() not in repeated)


def _without(text: str, opening: str, closing: str) -> str:
    """The text without what stands between two marks, either of which may be missing."""
    begins, ends = (re.compile(re.escape(mark), re.IGNORECASE) for mark in (opening, closing))
    kept, at = [], 0
    # One search after the other, so that it takes no longer than the text is long.
    while (begin := begins.search(text, at)) is not None:
        kept.append(text[at : begin.start()])
        end = ends.search(text, begin.end())
        at = len(text) if end is None else end.end()
        if end is None:
            break
    else:
        kept.append(text[at:])
    rest = "\n".join(kept)
    # A common word such as <|end|> closes nothing that this reply has not opened.
    last = None if closing == "<|end|>" else deque(ends.finditer(rest), maxlen=1)
    return rest[last[0].end() :] if last else rest
