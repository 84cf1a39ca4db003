from __future__ import annotations

import dataclasses
import sys

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from tokenizers import Tokenizer, models, pre_tokenizers
from transformers import PreTrainedTokenizerFast
from transformers.utils import logging

from bad_data import SKIP
from sparring.data import DataConfig, encode
from sparring.errors import InputError
from sparring.examples import Example
from tiny import CHATML, tiny_tokenizer

START, END = 1, 2
SYSTEM = {"role": "system", "content": "Be brief."}
USER = {"role": "user", "content": "Why?"}


@pytest.fixture(scope="module")
def tokenizer():
    return tiny_tokenizer()


@pytest.fixture(scope="module")
def plain():
    return tiny_tokenizer(chat_template=None)


def config(**settings):
    return DataConfig(source="x.jsonl", **{"max_response_tokens": 20, **settings})


def example(prompt="Why?", response="So.", messages=None, index=0):
    return Example(index=index, messages=messages, prompt=prompt, response=response)


def text_ids(tokenizer, text):
    return tokenizer(text, add_special_tokens=False)["input_ids"]


def failure(*args, **kwargs):
    with pytest.raises(InputError) as caught:
        encode(*args, **kwargs)
    return str(caught.value)


def test_the_chat_template_is_applied_once(tokenizer):
    encoded = encode([example()], tokenizer, config(), context_length=100)
    (row,) = encoded.examples
    expected = tokenizer.apply_chat_template([USER], add_generation_prompt=True, return_dict=False)
    assert row.prompt_ids == expected
    assert row.expert_ids == [*text_ids(tokenizer, "So."), END]
    assert (row.index, row.prompt, row.response) == (0, "Why?", "So.")
    assert encoded.stop_ids == (END,)
    assert encoded.template_mismatch == 0
    whole = tokenizer.apply_chat_template([USER, {"role": "assistant", "content": "So."}], return_dict=False)
    assert whole[: len(expected) + 4] == row.prompt_ids + row.expert_ids


def test_chats_keep_their_turns(tokenizer):
    turns = (SYSTEM, USER, {"role": "assistant", "content": "No."}, USER)
    encoded = encode([example(messages=turns)], tokenizer, config(), context_length=200)
    assert encoded.examples[0].prompt_ids == tokenizer.apply_chat_template(
        list(turns), add_generation_prompt=True, return_dict=False
    )


@pytest.mark.parametrize("setting", ["auto", "none"])
def test_plain_text(plain, tokenizer, setting):
    encoded = encode(
        [example(messages=(USER,))],
        plain if setting == "auto" else tokenizer,
        config(chat_template=setting),
        context_length=100,
    )
    assert encoded.examples[0].prompt_ids == text_ids(plain, "Why?")
    assert encoded.examples[0].expert_ids == [*text_ids(plain, "So."), END]


def test_plain_text_gets_the_tokenizers_bos_but_not_its_eos():
    from tokenizers.processors import TemplateProcessing

    tokenizer = tiny_tokenizer(chat_template=None)
    tokenizer.backend_tokenizer.post_processor = TemplateProcessing(
        single="<|im_start|> $A <|im_end|>", special_tokens=[("<|im_start|>", START), ("<|im_end|>", END)]
    )
    (row,) = encode([example()], tokenizer, config(), context_length=100).examples
    assert row.prompt_ids == [START, *text_ids(tokenizer, "Why?")]
    assert row.expert_ids == [*text_ids(tokenizer, "So."), END]


def test_the_end_token_is_the_templates_and_eos_stops_too():
    tokenizer = tiny_tokenizer()
    tokenizer.eos_token = "<|pad|>"
    encoded = encode([example()], tokenizer, config(), context_length=100)
    assert encoded.examples[0].expert_ids[-1] == END
    assert encoded.stop_ids == (0, END)


def test_pad_may_equal_eos():
    tokenizer = tiny_tokenizer()
    tokenizer.pad_token = "<|im_end|>"
    encoded = encode([example()], tokenizer, config(), context_length=100)
    assert encoded.stop_ids == (END,)
    assert encoded.examples[0].expert_ids.count(END) == 1


def test_a_template_that_ends_turns_with_nothing_leaves_eos():
    tokenizer = tiny_tokenizer(chat_template="{% for m in messages %}{{ m['content'] }}\n{% endfor %}")
    assert encode([example()], tokenizer, config(), context_length=100).examples[0].expert_ids[-1] == END


def test_no_end_token_at_all(plain):
    tokenizer = tiny_tokenizer(chat_template=None)
    tokenizer.eos_token = None
    assert failure([example()], tokenizer, config(), context_length=100) == (
        "model: the tokenizer has no token that ends a response\n"
        "  fix: give the tokenizer an eos_token, or a chat template that ends turns with a special token"
    )


def test_a_template_from_a_file(tmp_path, plain):
    path = tmp_path / "chat.jinja"
    path.write_text(CHATML + "\n")
    encoded = encode([example(messages=(SYSTEM, USER))], plain, config(chat_template=str(path)), context_length=200)
    assert encoded.examples[0].prompt_ids == tiny_tokenizer().apply_chat_template(
        [SYSTEM, USER], add_generation_prompt=True, return_dict=False
    )


def test_template_errors(tmp_path, plain):
    path = tmp_path / "chat.jinja"
    settings = config(chat_template=str(path))
    assert failure([example()], plain, settings, context_length=100).startswith(
        f"data.chat_template: the chat template '{path}' cannot be read: "
    )
    path.write_text("{% for %}")
    message = failure([example()], plain, settings, context_length=100)
    assert message.startswith("data.chat_template: the chat template fails on a conversation of two turns: Template")
    path.write_text(CHATML + "{% if messages[0]['role'] == 'system' %}{{ raise_exception('no system') }}{% endif %}")
    row = example(messages=(SYSTEM, USER), index=4)
    assert failure([row], plain, settings, context_length=100) == (
        "data row 5: the chat template fails at turn 1 of 2, the system's: TemplateError: no system\n"
        "  fix: remove the turns that it does not take, or mend the template (data.chat_template)" + SKIP
    )
    path.write_text("nothing")
    assert failure([example()], plain, settings, context_length=100) == (
        "data.chat_template: the chat template does not write what the assistant says\n"
        "  fix: have it render the content of every message"
    )


@pytest.mark.parametrize(
    ("turns", "shape"),
    [((SYSTEM, USER), "a system turn"), ((USER, {"role": "assistant", "content": "a"}, USER), "several turns")],
)
def test_a_chat_needs_a_template(plain, turns, shape):
    assert failure([example(messages=turns, index=2)], plain, config(), context_length=100) == (
        f"data row 3: the prompt has {shape}, but there is no chat template to write it with\n"
        "  fix: set data.chat_template to a Jinja file, or to auto with a tokenizer that has one, or use plain prompts"
        + SKIP
    )


@pytest.mark.parametrize(
    "template",
    [
        CHATML.replace("message['content']", "message['content'] | trim"),
        CHATML.replace("assistant\n", "assistant\n<think>"),
    ],
)
def test_templates_that_strip_or_insert_are_counted(template):
    tokenizer = tiny_tokenizer(chat_template=template)
    rows = [example(response=" So."), example(response=" No.", index=1)]
    assert encode(rows, tokenizer, config(), context_length=100).template_mismatch == 2


def test_what_is_too_long_is_said_by_us_alone(caplog):
    short = tiny_tokenizer(chat_template=None)
    short.model_max_length = 6
    logging.enable_propagation()
    try:
        encode(
            [example(prompt="0123456789", response="0123456789"), example(index=1)], short, config(), context_length=25
        )
    finally:
        logging.disable_propagation()
    assert not caplog.records


def test_overlong_prompts(plain):
    rows = [example(prompt="0123456789"), example(prompt="0123", index=1)]
    dropped = encode(rows, plain, config(max_prompt_tokens=4), context_length=100)
    assert [row.index for row in dropped.examples] == [1]
    assert (dropped.dropped_prompts, dropped.truncated_prompts) == (1, 0)
    (said,) = dropped.findings
    assert str(said).startswith("1 of 2 prompts are left out as too long; data.overlong_prompt: error stops there")
    assert said.example == "data row 1 ('0123456789'): the prompt has 10 tokens, over the limit of 4"
    by_context = encode(rows, plain, config(), context_length=25)
    assert by_context.dropped_prompts == 1
    cut = encode(rows, plain, config(max_prompt_tokens=4, overlong_prompt="truncate-left"), context_length=100)
    assert cut.examples[0].prompt_ids == text_ids(plain, "6789")
    assert (cut.dropped_prompts, cut.truncated_prompts) == (0, 1)
    settings = config(max_prompt_tokens=4, overlong_prompt="error")
    assert failure(rows, plain, settings, context_length=100) == (
        "data row 1 ('0123456789'): the prompt has 10 tokens, over the limit of 4\n"
        "  fix: shorten it, raise data.max_prompt_tokens or lower data.max_response_tokens, or set "
        "data.overlong_prompt to drop or truncate-left"
    )


@pytest.mark.parametrize("limit", [1, 2, 5])
def test_cutting_from_the_left_keeps_the_bos(tokenizer, limit):
    settings = config(max_prompt_tokens=limit, overlong_prompt="truncate-left")
    (row,) = encode([example()], tokenizer, settings, context_length=100).examples
    whole = tokenizer.apply_chat_template([USER], add_generation_prompt=True, return_dict=False)
    assert row.prompt_ids == [START, *whole[len(whole) - limit + 1 :]]


def test_overlong_responses(plain):
    rows = [example(response="0123"), example(response="012", index=1)]
    cut = encode(rows, plain, config(max_response_tokens=4), context_length=100)
    assert [row.expert_ids for row in cut.examples] == [text_ids(plain, "0123"), [*text_ids(plain, "012"), END]]
    assert (cut.truncated_responses, cut.dropped_responses) == (1, 0)
    dropped = encode(rows, plain, config(max_response_tokens=4, overlong_response="drop"), context_length=100)
    assert [row.index for row in dropped.examples] == [1]
    assert (dropped.truncated_responses, dropped.dropped_responses) == (0, 1)
    settings = config(max_response_tokens=4, overlong_response="error")
    assert failure(rows, plain, settings, context_length=100) == (
        "data row 1 ('Why?'): the response has 5 tokens with its end token, over the limit of 4\n"
        "  fix: shorten it, raise data.max_response_tokens, or set data.overlong_response to truncate or drop"
    )


def test_none_left(plain):
    assert failure([example()], plain, config(max_prompt_tokens=3), context_length=100) == (
        "data: no example is left: 1 prompts are over the limit of 3 tokens (the longest has 4), 0 responses are over "
        "the limit of 20\n"
        "  fix: raise data.max_prompt_tokens or data.max_response_tokens, or use a model with a longer context"
    )


def test_no_room_for_a_prompt(plain):
    assert failure([example()], plain, config(), context_length=20) == (
        "data.max_response_tokens: the model's context of 20 tokens leaves no room for a prompt\n"
        "  fix: set it below 20, now 20"
    )


def test_an_end_token_inside_a_response(plain):
    rows = [example(response="So.<|im_end|>"), example(index=1)]
    assert failure(rows, plain, config(), context_length=100) == (
        "data row 1 ('Why?'): the response holds the end token '<|im_end|>'\n"
        "  fix: remove it from the text: the end token is appended for you" + SKIP
    )
    encoded = encode(rows, plain, config(skip_invalid=True), context_length=100)
    assert ([row.index for row in encoded.examples], encoded.dropped_responses) == ([1], 0)
    assert encoded.skipped == [("data row 1 ('Why?')", "the response holds the end token '<|im_end|>'")]


def test_no_examples_still_give_the_stop_tokens(tokenizer):
    encoded = encode([], tokenizer, config(), context_length=100)
    assert (encoded.examples, encoded.stop_ids) == ([], (END,))


@settings(max_examples=40, deadline=None)
@given(st.text(min_size=1, max_size=30), st.text(min_size=1, max_size=30))
def test_any_text_survives(tokenizer, prompt, response):
    encoded = encode([example(prompt, response)], tokenizer, config(max_response_tokens=200), context_length=1000)
    (row,) = encoded.examples
    assert tokenizer.decode(row.expert_ids[:-1]) == response
    assert row.expert_ids[-1] == END
    assert prompt in tokenizer.decode(row.prompt_ids)
    assert encoded.template_mismatch == 0


@pytest.mark.parametrize("text", ["", "plain", "naïve", "π ≈ 3", "🙂", "half \ud800 of one"])
def test_texts_come_back_as_they_were_from_a_byte_a_letter(text: str) -> None:
    turns = ({"role": "user", "content": text}, {"role": "assistant", "content": "é"})
    example = Example(index=0, prompt=text, response=text, messages=turns)
    assert (example.prompt, example.response, example.messages) == (text, text, turns)
    assert dataclasses.replace(example, response=None) == Example(index=0, prompt=text, messages=turns)
    kept = sum(sys.getsizeof(value) for value in vars(Example(index=0, prompt="π" + 10_000 * "a")).values())
    assert kept < 10_500


def test_characters_that_the_tokenizer_has_no_token_for_are_told():
    backend = Tokenizer(models.WordLevel({"<unk>": 0, "</s>": 1, "Why?": 2, "So.": 3}, unk_token="<unk>"))
    backend.pre_tokenizer = pre_tokenizers.WhitespaceSplit()
    tokenizer = PreTrainedTokenizerFast(tokenizer_object=backend, unk_token="<unk>", eos_token="</s>")
    rows = [example(), example("Why? Why?", "So. ☃", index=1)]
    (finding,) = encode(rows, tokenizer, config(), context_length=100).findings
    assert (finding.name, finding.count, finding.of) == ("unknown characters", 1, 2)
    assert finding.example == "data row 2: 'So. <unk> </s>'"
    tokenizer.eos_token = "<unk>"
    assert encode(rows[:1], tokenizer, config(), context_length=100).findings == ()
