"""The conclusion of a judging model: its reply without its thoughts, and without lines repeated from the question."""

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
# Lines shorter than this may be the reply's own: a verdict, say, is given in the words in which it is asked for.
_REPEATED = 24


def final_words(reply: str, question: str) -> str:
    """The part of a reply that may hold its conclusion.

    A thought may be closed, or cut by the limit before it was closed, or opened by the chat template, so that the reply
    holds only its end. A line that the reply repeats from the question is no conclusion: instructions often show what a
    conclusion looks like.

    Args:
        reply: The model's reply.
        question: The prompt that it answers.
    """
    for opening, closing in _THOUGHTS:
        reply = _without(reply, opening, closing)
    repeated = {line for line in map(str.strip, question.splitlines()) if len(line) >= _REPEATED}
    return "\n".join(line for line in reply.splitlines() if line.strip() not in repeated)


def _without(text: str, opening: str, closing: str) -> str:
    """The text without the parts between two marks, either of which may be missing."""
    begins, ends = (re.compile(re.escape(mark), re.IGNORECASE) for mark in (opening, closing))
    kept, at = [], 0
    # Each search starts where the last one ended, so the time is linear in the length of the text.
    while (begin := begins.search(text, at)) is not None:
        kept.append(text[at : begin.start()])
        end = ends.search(text, begin.end())
        at = len(text) if end is None else end.end()
        if end is None:
            break
    else:
        kept.append(text[at:])
    rest = "\n".join(kept)
    # A closing mark such as <|end|> is common, so it counts only after an opening one.
    last = None if closing == "<|end|>" else deque(ends.finditer(rest), maxlen=1)
    return rest[last[0].end() :] if last else rest
