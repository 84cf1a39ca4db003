"""What a chat template makes of the rows: its variables, its date, and the turns that it drops, changes or refuses."""

from __future__ import annotations

import json
from datetime import datetime
from pathlib import Path
from typing import Any

import pytest
from pydantic import ValidationError
from tokenizers import AddedToken
from tokenizers.processors import TemplateProcessing

from sparring.data import Clock, DataConfig, Encoded, PromptTemplate, encode, load
from sparring.data.jinja import reads_clock, unset_variables, with_defaults
from sparring.errors import InputError
from sparring.examples import Comparison, Example
from tiny import CHATML, tiny_tokenizer

CLOCK = Clock(datetime(2031, 2, 3, 4, 5, 6))
SYSTEM = {"role": "system", "content": "Speak <softly> & slowly."}
FIRST = {"role": "user", "content": "  What of\nthe sea?  "}
SAID = {"role": "assistant", "content": "It is wide."}
LAST = {"role": "user", "content": "And the sky?"}
TURNS = (SYSTEM, FIRST, SAID, LAST)
SWITCH = CHATML + "{% if add_generation_prompt and mood is defined and mood == 'gay' %}Ha! {% endif %}"
DATED = "{{ strftime_now('%d.%m.%Y %H:%M:%S') }}\n" + CHATML


def written(template: str, *examples: Example, clock: Clock | None = None, **settings: Any) -> Encoded:
    config = DataConfig(source="x.jsonl", max_response_tokens=40, **settings)
    rows = examples or (Example(index=0, prompt="Why?", response="So.", where="talk.csv, row 4"),)
    return encode(rows, tiny_tokenizer(chat_template=template), config, context_length=600, clock=clock)


def prompt(encoded: Encoded) -> str:
    text: str = tiny_tokenizer().decode(encoded.examples[0].prompt_ids)
    return text


def chat(*turns: dict[str, str], response: str | None = "Blue.", index: int = 0) -> Example:
    where = f"talk.csv, row {index + 1}"
    return Example(index=index, messages=turns, prompt=turns[-1]["content"], response=response, where=where)


def test_options_reach_the_template() -> None:
    assert prompt(written(SWITCH)).endswith("assistant\n")
    assert prompt(written(SWITCH, template_options={"mood": "gay"})).endswith("assistant\nHa! ")


def test_of_several_templates_the_default_is_meant(tmp_path: Path) -> None:
    tokenizer = tiny_tokenizer()
    tokenizer.chat_template = {"default": CHATML, "tools": SWITCH}
    assert PromptTemplate.choose(tokenizer, "auto").text == CHATML
    tokenizer.chat_template = {"tools": SWITCH, "search": CHATML}
    with pytest.raises(InputError, match="chat templates named search, tools, and none named default") as caught:
        PromptTemplate.choose(tokenizer, "auto")
    assert "Jinja file" in str(caught.value)
    (tmp_path / "x.jinja").write_text(CHATML)
    for setting, text in ((str(tmp_path / "x.jinja"), CHATML), ("none", None)):
        assert PromptTemplate.choose(tokenizer, setting).text == text


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"messages": []}, "'messages' is given to the template by whoever renders it"),
        ({"bos_token": "x"}, "'bos_token' is given to the template"),
        ({"enable-thinking": False}, "'enable-thinking' is not the name of a variable"),
    ],
)
def test_options_that_are_none(options: dict[str, Any], message: str) -> None:
    with pytest.raises(ValidationError) as caught:
        DataConfig(source="x.jsonl", template_options=options)
    assert message in str(caught.value)


@pytest.mark.parametrize(
    ("template", "names"),
    [
        (CHATML, []),
        (SWITCH, ["mood"]),
        # A name that is set before it is read is the template's own, be it in one branch; a switch's default is not.
        ("{% set w = messages[0].content %}{% if '.' in w %}{% set w = w[1:] %}{% endif %}{{ w }}", []),
        ("{% for m in messages %}{% set w = 1 %}{% if m %}{% set w = w + 1 %}{% endif %}{{ w }}{% endfor %}", []),
        ("{% if messages[0].role == 'system' %}{% set s = 1 %}{% endif %}{% if s is defined %}{{ s }}{% endif %}", []),
        ("{% for m in messages %}{% set w %}{{ mood }}{% endset %}{{ w }}{% endfor %}", ["mood"]),
        ("{% if not mood is defined %}{% set mood = 'gay' %}{% endif %}{{ mood }}", ["mood"]),
        ("{% if messages %}{% set mood = mood or 'gay' %}{% endif %}{{ mood }}", ["mood"]),
        ("{{ bos_token }}{% for m in messages %}{{ m.content }}{% if tools %}x{% endif %}{% endfor %}", []),
        ("{% set a = b | default(1) %}{{ a }}{% for c in messages %}{{ loop.index }}{% endfor %}", ["b"]),
        ("{% generation %}{{ d }}{% endgeneration %}{{ strftime_now('%Y') }}{{ raise_exception('x') }}", ["d"]),
        ("{% macro f(x) %}{{ x }}{{ e }}{% endmacro %}{{ f(1) }}{{ namespace(g=1) }}", ["e"]),
    ],
)
def test_variables_that_nobody_sets(template: str, names: list[str]) -> None:
    tokenizer = tiny_tokenizer(chat_template=template)
    assert PromptTemplate.choose(tokenizer, "auto").unset_variables() == names
    options = dict.fromkeys(names, 1)
    assert PromptTemplate.choose(tokenizer, "auto", options=options).unset_variables() == []
    assert PromptTemplate.choose(tokenizer, "none").unset_variables() == []


def test_the_clock_stands_still() -> None:
    assert reads_clock(DATED)
    assert not reads_clock(SWITCH)
    assert prompt(written(DATED, clock=CLOCK)).startswith("03.02.2031 04:05:06\n")
    assert not prompt(written(DATED)).startswith("03.02.2031")
    assert Clock.read(str(CLOCK)) == CLOCK
    with pytest.raises(InputError, match="'noon' is no time"):
        Clock.read("noon")
    assert Clock.now().time.microsecond == 0


def test_a_time_that_a_format_in_a_variable_asks_for_stands_still_too() -> None:
    assert prompt(written("{% set f = '%Y' %}{{ strftime_now(f) }}" + CHATML, clock=CLOCK)).startswith(
        "2031<|im_start|>"
    )


@pytest.mark.parametrize(
    "options",
    [{}, {"mood": "gay"}, {"mood": None, "list": [1, "a'b\"\n{{ c }}"], "table": {"ü": True}}, {"number": 0.5}],
)
def test_a_template_with_defaults_writes_the_same_by_itself(options: dict[str, Any]) -> None:
    template = "\n" + DATED + "{{ mood }}{{ list }}{{ table }}{{ number }}" + SWITCH
    alone = with_defaults(template, options, CLOCK)
    tokenizer = tiny_tokenizer()
    for turns in ([LAST], list(TURNS)):
        expected = PromptTemplate.choose(tiny_tokenizer(chat_template=template), "auto", options=options, clock=CLOCK)
        found = tokenizer.apply_chat_template(
            turns, chat_template=alone, tokenize=False, add_generation_prompt=True, return_dict=False
        )
        assert found == expected.render(turns)
    other = {"mood": "gay", "number": 2}
    assert tokenizer.apply_chat_template(
        [LAST], chat_template=alone, tokenize=False, return_dict=False, **other
    ) == PromptTemplate.choose(
        tiny_tokenizer(chat_template=template), "auto", options=options | other, clock=CLOCK
    )._render([LAST], generation_prompt=False)


def test_a_date_behind_a_switch_is_kept() -> None:
    llama = '{% if not day is defined %}{% set day = strftime_now("%d %b %Y") %}{% endif %}{{ day }}'
    assert unset_variables(llama) == ["day"]
    assert '{% set day = "03 Feb 2031" %}' in with_defaults(llama, {}, CLOCK)


KEPT = {
    "as it is": CHATML,
    "trimmed": CHATML.replace("['content']", "['content'] | trim"),
    "escaped": CHATML.replace("['content']", "['content'] | e"),
    "as JSON": CHATML.replace("['content']", "['content'] | tojson"),
    "in capitals": CHATML.replace("['content'] ", "['content'] | replace('ea', 'EA') "),
    "on one line": CHATML.replace("['content']", "['content'] | replace('\n', ' ')"),
}
LOST = {
    "system turns": (CHATML.replace("in messages", "in messages if message['role'] != 'system'"), 1),
    "all but the last": (CHATML.replace("in messages", "in messages[-1:]"), 3),
    "what is long": (CHATML.replace("['content']", "['content'][:20]"), 1),
    "what the assistant said before": (
        CHATML.replace("in messages", "in messages if message['role'] != 'assistant' or message == messages[-1]"),
        1,
    ),
}


def finding(encoded: Encoded, name: str) -> Any:
    return next((each for each in encoded.findings if each.name == name), None)


@pytest.mark.parametrize("name", KEPT)
def test_turns_that_are_written_otherwise_are_not_dropped(name: str) -> None:
    assert finding(written(KEPT[name], chat(*TURNS, response=None)), "dropped turns") is None


@pytest.mark.parametrize("name", LOST)
def test_turns_that_are_dropped_are_counted(name: str) -> None:
    template, count = LOST[name]
    found = finding(written(template, chat(*TURNS, response=None), chat(LAST, response=None, index=1)), "dropped turns")
    assert (found.count >= count, found.of, found.warning) == (True, 5, True)
    assert found.sentence.startswith(f"{found.count} of 5 turns are not written by the chat template")
    assert found.example.startswith("talk.csv, row 1: the ")


def test_a_dropped_turn_is_seen_even_where_its_words_stand_elsewhere() -> None:
    template = LOST["all but the last"][0]
    found = finding(
        written(template, chat({"role": "user", "content": "sky"}, SAID, LAST, response=None)), "dropped turns"
    )
    assert (found.count, found.of) == (2, 3)
    assert found.example == "talk.csv, row 1: the user's 'sky'"


def test_a_thought_that_is_cut_out_of_an_earlier_turn_is_seen() -> None:
    template = CHATML.replace("message['content']", "message['content'].split('</think>')[-1]")
    thinking = SAID | {"content": "<think>Hm, the sea.</think>It is wide."}
    found = finding(written(template, chat(FIRST, thinking, LAST, response=None)), "dropped turns")
    assert (found.count, found.of) == (1, 3)


STRICT = (
    "{% for m in messages %}{% if (m['role'] == 'user') != (loop.index0 % 2 == 0) %}"
    "{{ raise_exception('roles must take turns') }}{% endif %}{% endfor %}" + CHATML
)


@pytest.mark.parametrize(
    ("turns", "where"),
    [((SYSTEM, LAST), "turn 1 of 2, the system's"), ((FIRST, SAID, LAST, LAST), "turn 4 of 4, the user's")],
)
def test_a_row_that_the_template_refuses(turns: tuple[dict[str, str], ...], where: str) -> None:
    rows = [chat(LAST), chat(*turns, index=1)]
    problem = f"the chat template fails at {where}: TemplateError: roles must take turns"
    with pytest.raises(InputError) as caught:
        written(STRICT, *rows)
    assert (caught.value.where, caught.value.problem) == ("talk.csv, row 2", problem)
    assert "or leave out that row with data.skip_invalid: true" in str(caught.value.fix)
    encoded = written(STRICT, *rows, skip_invalid=True)
    assert ([each.index for each in encoded.examples], encoded.skipped) == ([0], [("talk.csv, row 2", problem)])


def test_all_rows_refused() -> None:
    with pytest.raises(InputError, match=r"no example is left: 1 rows are invalid; the first, talk.csv, row 1: the"):
        written(STRICT, chat(SYSTEM, LAST), skip_invalid=True)


def test_an_end_token_in_a_response_is_listed_by_file_and_line(tmp_path: Path) -> None:
    path = tmp_path / "rows.jsonl"
    rows = [{"prompt": f"q{n}", "response": "a<|im_end|>b" if n == 1 else "a"} for n in range(3)]
    path.write_text("\n".join(map(json.dumps, rows)))
    config = DataConfig(source=str(path), held_out=0, skip_invalid=True)
    encoded = encode(load(config, 0).train, tiny_tokenizer(), config, context_length=600)
    assert encoded.skipped == [(f"{path}, line 2 ('q1')", "the response holds the end token '<|im_end|>'")]
    assert len(encoded.examples) == 2


@pytest.mark.parametrize(
    ("template", "marked"),
    [
        (
            CHATML.replace("assistant\n{% endif", "assistant\n<think>{% endif"),
            ("⟦<think>⟧ Blue.…", "⟦⟧ Blue.<|im_end|>"),
        ),
        (
            CHATML.replace("['content']", "['content'] | trim"),
            ("assistant\\n⟦ ⟧Blue.…", "assistant\\n⟦⟧Blue.<|im_end|>"),
        ),
        (
            CHATML.replace("{% if add_generation_prompt %}<|im_start|>assistant\n{% endif %}", ""),
            ("⟦", "<|im_start|>assi"),
        ),
    ],
)
def test_a_mismatch_says_where(template: str, marked: tuple[str, str]) -> None:
    rows = [chat(LAST, response=" Blue."), chat(FIRST, response=None, index=1), chat(FIRST, response=" Wide.", index=2)]
    encoded = written(template, *rows)
    found = finding(encoded, "template mismatch")
    assert (encoded.template_mismatch, found.count, found.of) == (2, 2, 2)
    assert found.sentence.startswith(
        "2 of 2 rows differ where the chat template writes the whole conversation at once."
    )
    ours, theirs = found.example.split("; as one conversation: ")
    assert ours.startswith("talk.csv, row 1: prompt and response: …")
    assert marked[0] in ours
    assert marked[1] in theirs
    assert str(found) == f"{found.sentence}\n  e.g. {found.example}"


def test_a_mismatch_names_the_switches_of_the_template() -> None:
    found = finding(written(SWITCH.replace("mood == 'gay'", "mood") + "{% if not mood %}{{ '' }}{% endif %}?"), "x")
    assert found is None
    opens = CHATML.replace("assistant\n{% endif", "assistant\n{% if not quiet %}<think>{% endif %}{% endif")
    found = finding(written(opens), "template mismatch")
    assert found.sentence.endswith("The template reads quiet, which data.template_options may set")
    assert finding(written(opens, template_options={"quiet": True}), "template mismatch") is None


def test_a_mismatch_tells_what_stands_before_every_response() -> None:
    head = "{{ '<final>' if message['role'] == 'assistant' else '' }}"
    headed = CHATML.replace("{{ message['content'] }}", head + "{{ message['content'] }}")
    rows = [chat(LAST, response="So."), chat(FIRST, response="No.", index=1)]
    sentence = finding(written(headed, *rows), "template mismatch").sentence
    assert "It writes '<final>' before every response: a template of your own whose prompts end in it" in sentence
    trimmed = CHATML.replace("['content']", "['content'] | trim")
    assert "before every" not in finding(written(trimmed, chat(LAST, response=" So.")), "template mismatch").sentence


def test_a_mark_that_prompt_and_response_both_open_with() -> None:
    opens = CHATML.replace("assistant\n{% endif", "assistant\n<think>\n{% endif")
    rows = [chat(LAST, response="<think>\nHm.\n</think>So."), chat(FIRST, response="Hm.\n</think>No.", index=1)]
    found = finding(written(opens, *rows), "opened twice")
    assert (found.count, found.of, found.warning) == (1, 2, True)
    assert found.example.startswith("talk.csv, row 1: '<think>")
    assert finding(written(CHATML, *rows), "opened twice") is None


@pytest.mark.parametrize(("long", "warning"), [(1, False), (2, True)])
def test_cut_responses_are_told_as_so_many_of_so_many(long: int, warning: bool) -> None:
    rows = [chat(LAST, response="x" * (99 if n < long else 9), index=n) for n in range(10)]
    found = finding(written(CHATML, *rows), "cut responses")
    assert (found.count, found.of, found.warning) == (long, 10, warning)
    assert found.sentence.startswith(f"{long} of 10 responses are cut at data.max_response_tokens (40)")
    assert found.example == "talk.csv, row 1"


def test_a_turn_may_end_with_an_added_token_that_is_not_special() -> None:
    tokenizer = tiny_tokenizer(chat_template=CHATML.replace("<|im_end|>", "<turn/>"))
    tokenizer.add_tokens([AddedToken("<turn/>", special=False, normalized=False), AddedToken("\n", special=False)])
    end = tokenizer.convert_tokens_to_ids("<turn/>")
    config = DataConfig(source="x.jsonl", max_response_tokens=20)
    found = encode([Example(index=0, prompt="Why?", response="So.")], tokenizer, config, context_length=100)
    assert found.examples[0].expert_ids[-1] == end
    assert found.stop_ids == (tokenizer.eos_token_id, end)


def test_a_template_of_ones_own_that_leaves_out_the_first_token_is_told(tmp_path: Path) -> None:
    tokenizer = tiny_tokenizer(chat_template="{% for m in messages %}{{ m['content'] }}<|im_end|>{% endfor %}")
    example = Example(index=0, prompt="Why?", response="So.")

    def names(**settings: Any) -> list[str]:
        config = DataConfig(source="x.jsonl", max_response_tokens=20, **settings)
        return [each.name for each in encode([example], tokenizer, config, context_length=100).findings]

    file = tmp_path / "own.jinja"
    file.write_text(tokenizer.chat_template)
    assert names(chat_template=str(file)) == []
    tokenizer.backend_tokenizer.post_processor = TemplateProcessing(
        single="<|im_start|> $A", special_tokens=[("<|im_start|>", 1)]
    )
    # The model's own template is what it was tuned with.
    assert names() == []
    assert names(chat_template=str(file)) == ["bare prompts"]
    file.write_text("{{ bos_token }}" + tokenizer.chat_template)
    assert names(chat_template=str(file)) == []


def test_responses_that_say_their_prompt_again_are_told() -> None:
    rows = [chat(LAST, response="And the sky? Blue."), chat(FIRST, response="What of the sea", index=1)]
    found = finding(written(CHATML, *rows), "repeated prompts")
    assert (found.count, found.of, found.example) == (1, 2, "talk.csv, row 1: 'And the sky?'")
    whole = Comparison(responses=("Why? So.", " Why? No."), pairwise=((0.5, 1.0), (0.0, 0.5)))
    half = Comparison(responses=("Why? So.", "No."), pairwise=((0.5, 1.0), (0.0, 0.5)))
    kinds = enumerate((whole, half))
    compared = [Example(index=n, prompt="Why?", where=f"row {n}", comparison=each) for n, each in kinds]
    assert finding(written(CHATML, *compared), "repeated prompts").example == "row 0: 'Why?'"


@pytest.mark.parametrize("asks", ["\n\nHuman: Why?\n\nAssistant:", "### Instruction:\nSay it.\n\n### Response:\n"])
def test_prompts_that_write_out_who_speaks_are_told_where_a_template_does_so_too(asks: str) -> None:
    rows = [chat(LAST), chat({"role": "user", "content": asks}, index=1)]
    found = finding(written(CHATML, *rows), "written-out prompts")
    assert (found.count, found.of) == (1, 2)
    assert "data.chat_template: none" in found.sentence
    plain = Example(index=0, prompt=asks, response="So.", where="row 1")
    assert finding(written(CHATML, plain, chat_template="none"), "written-out prompts") is None


def test_of_a_template_that_is_none_the_line_is_told() -> None:
    template = tiny_tokenizer(chat_template="{% for message in messages %}\n{{ message.content }}\n{% endfor }")
    with pytest.raises(InputError) as caught:
        PromptTemplate.choose(template, "auto").unset_variables()
    assert (caught.value.where, caught.value.fix) == ("data.chat_template, line 3", "mend the template")
