"""What the names of columns say of what they hold, where no format knows them by their own."""

from __future__ import annotations

from collections.abc import Collection, Mapping

from sparring.data.formats import GROUND_TRUTH

_PROMPTS = ("prompt", "question", "instruction", "query", "problem", "input", "task", "request")
_RESPONSES = ("response", "answer", "solution", "output", "completion", "demonstration")
# They say so, but a response to imitate may be called `answer` too.
_GROUND_TRUTHS = (
    *("answer", "final_answer", "correct_answer", "right_answer", "gold_answer", "expected_answer", "gold", "target"),
    *("expected", "final", "result", "correct", "label", "truth", "solution"),
)
# Whoever has one of these has the prompt, or the response, by its own name; a conversation has both.
_HAVE_PROMPT = frozenset({"prompt", "messages", "conversations"})
_HAVE_RESPONSE = frozenset({"response", "completion", "messages", "conversations", "chosen", "rejected", "responses"})
_BESIDE_INSTRUCTION = frozenset({"input", "context"})


def likely_ground_truths(columns: Collection[str]) -> list[str]:
    """Those of the columns whose names say that they hold the right answer, the likeliest first."""
    return _named(columns, _GROUND_TRUTHS)


def likely_columns(columns: Collection[str], given: Mapping[str, str]) -> dict[str, list[str]]:
    """By field, those of prompt and response, the columns whose names say that they hold it, the likeliest first.

    A field that is there by its own name, or that is given, is not among them, nor is one that no name tells. Beside
    what an instruction is completed by, the response is the field `output`, and the prompt is there.

    Args:
        columns: The file's column names.
        given: Our field name to the file's column name, as the user gave it.
    """
    ours, free = {*columns, *given}, {*columns} - {*given.values()}
    responses = [] if ours & _HAVE_RESPONSE or GROUND_TRUTH in given else _named(free, _RESPONSES)
    if ours >= {"instruction"} and ours & _BESIDE_INSTRUCTION and responses:
        likely = {"output": [] if "output" in ours else responses}
    else:
        likely = {"prompt": [] if ours & _HAVE_PROMPT else _named(free, _PROMPTS), "response": responses}
    return {field: names for field, names in likely.items() if names}


def _named(columns: Collection[str], names: tuple[str, ...]) -> list[str]:
    found = [each for each in columns if each.lower() in names]
    return sorted(found, key=lambda each: (names.index(each.lower()), each))
