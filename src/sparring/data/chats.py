"""The forms of conversations in data files: names of roles, and keys of a message besides its text."""

from __future__ import annotations

import json
import re
from collections.abc import Collection, Mapping
from typing import Any

from sparring.errors import InputError
from sparring.examples import CALL_KEYS, THOUGHT_KEYS
from sparring.inputs import is_nan

Turn = dict[str, str]

ROLES: Mapping[str, str] = {
    "system": "system",
    "developer": "system",
    "user": "user",
    "human": "user",
    "prompter": "user",
    "assistant": "assistant",
    "gpt": "assistant",
    "chatgpt": "assistant",
    "bing": "assistant",
    "bard": "assistant",
    "model": "assistant",
    "ai": "assistant",
    "bot": "assistant",
}
"""The usual names of the roles, in lower case."""

TOOL_ROLES = frozenset(
    {"tool", "tools", "function", "function_call", "function_response", "tool_call", "tool_response", "observation"}
    | {"ipython", "environment"}
)
"""The usual names of the roles of tools and of calls of one, whose turns are not trained on."""

PART_KEYS = frozenset({"type", "text"})
"""The keys of a message's part that is text."""

WEIGHTS = ("weight", "train", "training", "trainable", "loss", "loss_mask", "train_detail")
"""Keys that say whether a turn is trained on."""

_SPEAKER = re.compile(r"(?:\A|\n\n)(Human|Assistant):")
_LIST = re.compile(r"""\s*\[\s*\{\s*["'](role|from|content|value)["']\s*:""")
_PRINTED = re.compile(
    r"\s*\{\s*(?:'role': '(?:system|user|assistant)', 'content':"
    r"|'content': .*, 'role': '(?:system|user|assistant)'\}\s*\Z)",
    re.DOTALL,
)

_IGNORE = "or name it in data.ignore where the answer does not need it"
_THOUGHT = f"write the thought into the response, as the model is to write it, {_IGNORE}"
_CALL = f"write the call as text in the response, as the model is to write it, {_IGNORE}"
_TEXT_ONLY = f"remove the row, {_IGNORE}"
_PROMPT = f"write it into the prompt, {_IGNORE}"

_CALLS = dict.fromkeys(CALL_KEYS, ("a call of a tool is not shown to the model", _CALL))
_THOUGHTS = dict.fromkeys(
    THOUGHT_KEYS,
    ("a thought beside the response is not shown to the model", _THOUGHT),
)
_MEDIA = dict.fromkeys(
    ("image", "images", "video", "videos", "audio", "audios", "files"), ("sparring trains on text alone", _TEXT_ONLY)
)
_TOOLS = dict.fromkeys(
    ("tools", "functions"), ("tools are not shown to the model", f"write them into a system turn, {_IGNORE}")
)
_CONTEXT = dict.fromkeys(
    ("context", "history", "documents", "system", "system_prompt"),
    ("what comes before the prompt is not shown to the model here", _PROMPT),
)
_SWITCHES = {
    "chat_template_kwargs": (
        "what a row tells the chat template is not given to it",
        f"set data.template_options, the same for all rows, {_IGNORE}",
    )
}
_IN_MESSAGES = _CALLS | _THOUGHTS | _MEDIA | _TOOLS
_IN_ROWS = _IN_MESSAGES | _CONTEXT | _SWITCHES
_LABELS = frozenset({"label", "kto_tag", "is_good", "desirable"})
_WHOLE = ("1", "1.0", "true")


def refusal(name: str, value: Any, *, in_message: bool) -> InputError | None:
    """Why an unread column, or key of a message, must not be left out silently; None if it may."""
    # A number in a column of that name may say of which kind the row is.
    bad = ("false",) if name == "label" else ("false", "0", "0.0")
    if not in_message and name in _LABELS and str(value).lower() in bad:
        fix = "remove the row, or name the column in data.ignore where it says something else"
        return InputError("the answer is marked as one that is not to be given", fix=fix)
    known = (_IN_MESSAGES if in_message else _IN_ROWS).get(name)
    return None if known is None else InputError(known[0], fix=known[1])


def transcript(text: str) -> list[Turn] | None:
    r"""The turns of a transcript, a text that names the speaker of each turn: `\n\nHuman: …\n\nAssistant: …` (HH-RLHF).

    White space around a turn's words belongs to the layout, and is removed.

    Returns:
        The turns; None if the text is no transcript: it does not begin with the human, or the assistant never speaks.
    """
    before, *parts = _SPEAKER.split("\n\n" + text.lstrip())
    if before or parts[:1] != ["Human"] or "Assistant" not in parts[::2]:
        return None
    return [{"role": who.lower(), "content": said.strip()} for who, said in zip(parts[::2], parts[1::2], strict=True)]


def writes_messages(text: str) -> bool:
    """Whether a text is messages, one or a list, as JSON or as Python prints them, and nothing that is said."""
    if _LIST.match(text) or _PRINTED.match(text):
        return True
    if not text.lstrip().startswith(("[", "{")):
        return False
    try:
        value = json.loads(text)
    except (ValueError, RecursionError):
        return False
    messages = value if isinstance(value, list) else [value]
    return bool(messages) and all(isinstance(each, dict) and _is_message(each) for each in messages)


def _is_message(value: Mapping[str, Any]) -> bool:
    """Whether an object is a message: others may have keys of these names, but no usual speaker."""
    speaker = str(value.get("role", value.get("from"))).lower()
    return speaker in {*ROLES, *TOOL_ROLES} and bool({"content", "value"} & value.keys())


def by_message(value: dict[str, Any]) -> dict[str, Any] | list[dict[str, Any]]:
    """One message as it is; several, of which each key holds a list, one by one.

    So `datasets` keeps a sequence of objects.
    """
    columns = {key: each for key, each in value.items() if each is not None}
    lengths = {len(each) if isinstance(each, list) else -1 for each in columns.values()}
    if len(columns) < 2 or len(lengths) > 1 or -1 in lengths:
        return value
    return [dict(zip(columns, each, strict=True)) for each in zip(*columns.values(), strict=True)]


def weight_problem(message: Mapping[str, Any], ignored: Collection[str]) -> str | None:
    """The entry of a message that forbids training on all of it, such as `weight: 0`; None if there is none."""
    for key in WEIGHTS:
        value = message.get(key)
        if value is None or is_nan(value) or key in ignored or str(value).lower() in _WHOLE:
            continue
        if not isinstance(value, list):
            return f"{key}: {str(value).lower()}"
        if not all(isinstance(part, dict) and str(part.get("train", True)).lower() in _WHOLE for part in value):
            return f"{key}: not all of it"
    return None
