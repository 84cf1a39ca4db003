"""Formulas, written as LaTeX between dollars, become MathML in the site: a browser needs no script for them."""

from __future__ import annotations

import re
from html import unescape
from typing import Any

from math_core import LatexToMathML

# What pymdownx.arithmatex leaves of a formula: in a line of text, or as a block of its own.
FORMULA = re.compile(r'<(span|div) class="arithmatex">\\[(\[](.*?)\\[)\]]</\1>', flags=re.DOTALL)
CONVERTER = LatexToMathML()


def on_page_content(html: str, **_: Any) -> str:
    """Return the page's HTML with every formula in MathML; one that is no LaTeX raises, and so fails the build."""
    return FORMULA.sub(_mathml, html)


def _mathml(formula: re.Match[str]) -> str:
    tag, latex = formula.groups()
    block = tag == "div"
    mathml = CONVERTER.convert_with_local_state(unescape(latex.strip()), displaystyle=block)
    return f'<div class="formula">{mathml}</div>' if block else mathml
