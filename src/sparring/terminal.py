"""Output to a terminal: text of others is shown, but control characters in it have no effect."""

from __future__ import annotations

import re
from collections.abc import Iterable
from typing import Any

from rich.console import Console, ConsoleOptions, RenderableType
from rich.segment import Segment
from rich.text import Text

# Control characters but tab and line end, what turns the direction of writing, other line ends, halves of characters.
_OBEYED = re.compile(
    "[\x00-\x08\x0b\x0c\x0e-\x1f\x7f-\x9f\u061c\u200e\u200f\u2028-\u202e\u2066-\u2069\ufff9-\ufffb\ud800-\udfff]"
    "|\r(?!\n)"
)


def visible(text: str) -> str:
    r"""The text with every character that a terminal would obey rather than show as `\u` and four digits.

    It is what JSON writes for such a character too, so a JSON document stays the same document.
    """
    return _OBEYED.sub(lambda found: f"\\u{ord(found[0]):04x}", text)


class Terminal(Console):
    """A console that interprets neither markup nor emoji codes, and makes control characters visible.

    Output to a file is not wrapped, since its readers have windows of their own widths.

    Args:
        settings: The settings of rich's `Console`.
    """

    def __init__(self, **settings: Any) -> None:
        super().__init__(markup=False, emoji=False, highlight=False, **settings)
        self.soft_wrap |= not self.is_terminal

    def render_str(self, text: str, **settings: Any) -> Text:
        """Makes text visible before its width is measured, so that columns stay straight."""
        return super().render_str(visible(text), **settings)

    def render(self, renderable: RenderableType, options: ConsoleOptions | None = None) -> Iterable[Segment]:
        """Makes the text visible of whatever was not plain text."""
        for segment in super().render(renderable, options):
            yield segment if segment.control else segment._replace(text=visible(segment.text))
