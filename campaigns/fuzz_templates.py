"""Chat templates for the campaign `fuzz`."""

# fmt: off

from __future__ import annotations

import re
from pathlib import Path
from typing import Any

from hypothesis import strategies as st

from fuzz_files import tokenizer
from fuzz_pieces import ANY_TEXT, damaged, encoded, mostly
from tiny import CHATML

JINJA = [
    *(
        "{{ message['content'] }}", "{{ message.role }}", "{{ x }}", "{{ '\\ud800' }}", "{{ '\\x00' }}",
        "{% endfor %}", "{% if a %}",
    ),
    *(
        "{% for message in messages %}", "{% for i in range(99999) %}", "{% for i in range(10**9) %}",
        "{{ 'a' * 100000000 }}",
    ),
    *(
        "{{ raise_exception('no') }}", "{{ ''.__class__.__mro__ }}", "{{ messages[0]['content'] / 0 }}",
        "{{ 10**5000 }}",
    ),
    *(
        "{% generation %}", "{% endgeneration %}", "{{ strftime_now('%s' * 999) }}", "{% include 'x' %}",
        "{% set a = a ~ a %}",
    ),
    *(
        "{% macro m() %}{{ m() }}{% endmacro %}{{ m() }}", "{{ messages | tojson }}", "{# ", "{{", "{% raw %}",
        "{{ self }}", "{{ loop }}",
    ),
    *(
        "{% break %}", "{{ messages.append(1) }}", "{{ '%s' | format(1, 2) }}", "{{ undefined.a }}", "<|im_end|>",
        "<|im_start|>",
    ),
    *(
        "{{ messages | map('upper') | list }}", "{{ ('a,' * 999999).split(',') | length }}", "\ud800", "\0",
        "{{ [[1] * 99] * 999 }}",
    ),
]
TEMPLATES = [
    CHATML,
    "{{ bos_token }}{% for message in messages %}{% if (message['role'] == 'user') != (loop.index0 % 2 == 0) %}"
    "{{ raise_exception('Roles must alternate') }}{% endif %}"
    "{% if message['role'] == 'user' %}[INST] {{ message['content'] }} [/INST]{% else %}"
    "{{ message['content'] | trim }}{{ eos_token }}{% endif %}{% endfor %}",
    "{%- set ns = namespace(system='') -%}{%- for message in messages -%}{%- if message.role == 'system' -%}"
    "{%- set ns.system = message.content -%}{%- else -%}<|im_start|>{{ message.role }}\n"
    "{{ ns.system }}{{ message.content }}<|im_end|>\n"
    "{%- endif -%}{%- endfor -%}{%- if add_generation_prompt -%}<|im_start|>assistant\n{%- endif -%}",
    "{% macro turn(who, said) %}<|im_start|>{{ who ~ ': ' ~ said.strip() }}{% endmacro %}"
    "{% if enable_thinking is defined and enable_thinking %}think{% endif %}{{ strftime_now('%Y-%m-%d') }}"
    "{% for message in messages %}{% if message.role == 'assistant' %}"
    "{% generation %}{{ message.content }}{{ eos_token }}{% endgeneration %}"
    "{% else %}{{ turn(message.role, message.content) }}{% endif %}{% endfor %}",
]


@st.composite
def templates(draw: Any) -> bytes:
    """A chat template with something else before a tag or in place of one."""
    parts = re.split(r"(?=\{[{%])", draw(st.sampled_from(TEMPLATES)))
    for _ in range(draw(st.sampled_from([1, 0, 2]))):
        at = draw(st.integers(0, len(parts) - 1))
        parts[at : at + draw(mostly(st.just(0), st.just(1)))] = [draw(mostly(st.sampled_from(JINJA), ANY_TEXT))]
    content: bytes = draw(damaged(encoded("".join(parts))))
    return content


def read_template(value: bytes, folder: Path) -> None:
    """As a run does with a chat template."""
    from sparring.data import DataConfig, template
    from sparring.data.encoding import encode
    from sparring.examples import Example

    template._SECONDS = 0.5  # noqa: SLF001 - a campaign has not the time of a person
    path = folder / "template.jinja"
    path.write_bytes(value)
    config = DataConfig(source="x.jsonl", chat_template=str(path), max_response_tokens=8)
    chosen = config.template(tokenizer())
    example = Example(index=0, prompt="q", response="a", messages=({"role": "user", "content": "q"},), where="row 1")
    chosen.standalone()
    chosen.unset_variables()
    encode([example], tokenizer(), config, context_length=512)
