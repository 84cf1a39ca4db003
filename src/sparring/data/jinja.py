"""A chat template as a program: the variables that it reads, its use of the clock, and defaults written into it."""

from __future__ import annotations

import json
import re
from collections.abc import Collection, Iterator, Mapping
from typing import TYPE_CHECKING

from sparring.data.clock import Clock

if TYPE_CHECKING:
    from jinja2 import nodes

CLOCK = "strftime_now"
"""The function that gives a template the time."""

_GIVEN = frozenset({"messages", "tools", "documents", "add_generation_prompt"})
_GREATEST = 10**6
_CLOCK_CALL = re.compile(CLOCK + r"""\(\s*(?:format\s*=\s*)?(["'])(?P<format>[^"'\\]*)\1\s*\)""")


def unset_variables(text: str, given: Collection[str] = ()) -> list[str]:
    """The variables that a chat template reads and that nobody sets, sorted.

    A variable that it only tests by `is defined` counts, since most switches such as `enable_thinking` are read so. One
    that it sets before it reads it, even in a single branch, is its own and does not count.

    Args:
        text: The template.
        given: Variables that are set, besides those that every template gets.

    Raises:
        jinja2.TemplateSyntaxError: The text is no template.
    """
    from jinja2 import meta

    tree = _parsed(text)
    first: dict[str, str] = {}
    for name, use in _uses(tree):
        first.setdefault(name, use)
    own = {name for name, use in first.items() if use == "store"}
    return sorted(meta.find_undeclared_variables(tree) - own - _GIVEN - {*given})


def reads_clock(text: str) -> bool:
    """Whether a chat template may write the time.

    Raises:
        jinja2.TemplateSyntaxError: The text is no template.
    """
    from jinja2 import nodes

    return any(name.name == CLOCK for name in _parsed(text).find_all(nodes.Name))


def check_program(text: str) -> None:
    """Refuses a chat template that may take for ever in a single step, which no time limit can end, or that is random.

    Args:
        text: The template.

    Raises:
        ValueError: It raises to a power, or holds a huge number, by which it may repeat something; or it draws at
            random, so that no prompt would be the same text twice.
        jinja2.TemplateSyntaxError: The text is no template.
    """
    from jinja2 import nodes

    tree = _parsed(text)
    if next(iter(tree.find_all(nodes.Pow)), None) is not None:
        raise ValueError("it raises a number to a power, which no conversation needs")
    drawn = {each.name for each in tree.find_all(nodes.Filter)} & {"random"}
    if drawn | ({each.name for each in tree.find_all(nodes.Name)} & {"lipsum"}):
        raise ValueError("it draws at random, so that a prompt would be another text each time it is written")
    for constant in tree.find_all(nodes.Const):
        if isinstance(constant.value, int) and abs(constant.value) > _GREATEST:
            raise ValueError(f"it holds a number above {_GREATEST:,}, which no conversation needs")


def with_defaults(text: str, options: Mapping[str, object], clock: Clock | None) -> str:
    """A chat template with the values of its variables, and the time, written into it as defaults.

    They can still be set to other values when it is rendered. A time whose format is not a literal of the template
    stays the time of rendering.

    Args:
        text: The template.
        options: Values of its variables.
        clock: The time that it is to write; None for the time of rendering.
    """
    if clock is not None:
        text = _CLOCK_CALL.sub(lambda call: json.dumps(clock.strftime(call["format"]), ensure_ascii=False), text)
    defaults = "".join(
        f"{{%- if {name} is not defined %}}{{%- set {name} = {_literal(value)} %}}{{%- endif %}}"
        for name, value in sorted(options.items())
    )
    # The empty expression keeps a line break at the template's beginning, which a block before it would swallow.
    return f"{defaults}{{{{- '' }}}}{text}" if defaults else text


def _uses(node: nodes.Node) -> Iterator[tuple[str, str]]:
    """The names that a template uses, each with "load", "store" or "param", in the order of their evaluation."""
    from jinja2 import nodes

    if isinstance(node, nodes.Name):
        yield node.name, node.ctx
    # The value of an assignment, and the iterable of a loop, are evaluated before the name is set.
    for child in sorted(node.iter_child_nodes(), key=lambda child: child is getattr(node, "target", None)):
        yield from _uses(child)


def _literal(value: object) -> str:
    """A value of JSON as a literal of Jinja."""
    if isinstance(value, bool) or value is None:
        return str(value).lower()
    if isinstance(value, dict):
        return "{" + ", ".join(f"{json.dumps(key)}: {_literal(item)}" for key, item in value.items()) + "}"
    if isinstance(value, list):
        return "[" + ", ".join(map(_literal, value)) + "]"
    return json.dumps(value, ensure_ascii=False)


def _parsed(text: str) -> nodes.Template:
    from jinja2 import parser
    from jinja2.ext import Extension, loopcontrols
    from jinja2.sandbox import ImmutableSandboxedEnvironment

    class Generation(Extension):
        """The block `generation` of transformers, which marks what the assistant said."""

        tags = {"generation"}  # noqa: RUF012 (jinja2's own way to declare it)

        def parse(self, parser: parser.Parser) -> list[nodes.Node]:
            next(parser.stream)
            return parser.parse_statements(("name:endgeneration",), drop_needle=True)

    environment = ImmutableSandboxedEnvironment(
        trim_blocks=True, lstrip_blocks=True, extensions=[Generation, loopcontrols]
    )
    environment.globals |= {CLOCK: None, "raise_exception": None}
    return environment.parse(text)
