"""What chat templates write around a response: the white space before it, and what ends it."""

from __future__ import annotations

from pathlib import Path

import pytest
from tokenizers import AddedToken

from sparring import SelfPlayTrainer
from sparring.data import DataConfig, encode
from sparring.examples import Example
from tiny import CHATML, quiet_arguments, tiny_model, tiny_tokenizer

PAD, START, END = 0, 1, 2
# As GLM-4 has it: nothing ends a turn, and the model was taught to stop before the user's next one.
BEGINS = (
    "{% for m in messages %}{{ '<|im_start|>' if m.role == 'user' else '<|pad|>' }}{{ '\n' + m.content }}{% endfor %}"
    "{% if add_generation_prompt %}<|pad|>{% endif %}"
)
# As early ChatML templates have it: a turn is ended where another one or a prompt follows.
ENDS_BETWEEN = CHATML.replace(
    "<|im_end|>\n{% endfor %}",
    "{% if not loop.last or add_generation_prompt %}<|im_end|>\n{% endif %}{% endfor %}",
)
SPACED = CHATML.replace(
    "{{ message['content'] }}", "{{ ' ' if message['role'] == 'assistant' else '' }}{{ message['content'] }}"
)
NOTHING = "{% for m in messages %}{{ m.role + ': ' + m.content + '\n' }}{% endfor %}"


def text_ids(text: str) -> list[int]:
    ids: list[int] = tiny_tokenizer()(text, add_special_tokens=False)["input_ids"]
    return ids


@pytest.mark.parametrize(
    ("template", "eos", "ends", "expected"),
    [
        (BEGINS, END, {START, END}, [*text_ids("\nSo."), START]),
        (BEGINS, END, {END}, [*text_ids("\nSo."), END]),
        (ENDS_BETWEEN, PAD, {PAD, END}, [*text_ids("So."), END]),
        (ENDS_BETWEEN, PAD, {PAD}, [*text_ids("So."), PAD]),
        (SPACED, END, {END}, [*text_ids(" So."), END]),
        (NOTHING, END, {START, END}, [*text_ids("So."), END]),
        (NOTHING + "{% if messages | length == 3 %}{{ raise_exception('three') }}{% endif %}", END, {END}, None),
    ],
)
def test_a_response_begins_and_ends_as_the_template_has_it(
    template: str, eos: int, ends: set[int], expected: list[int] | None
) -> None:
    tokenizer = tiny_tokenizer(chat_template=template)
    tokenizer.eos_token = tokenizer.convert_ids_to_tokens(eos)
    config = DataConfig(source="x.jsonl", max_response_tokens=20)
    rows = [Example(index=0, prompt="Why?", response="So.")]
    encoded = encode(rows, tokenizer, config, context_length=200, end_ids=frozenset(ends))
    assert encoded.examples[0].expert_ids == (expected or [*text_ids("So."), END])
    assert {*encoded.stop_ids} == ends | {eos}


def test_white_space_that_the_prompts_last_token_swallows_is_none_of_the_response() -> None:
    tokenizer = tiny_tokenizer(chat_template=BEGINS)
    tokenizer.add_tokens([AddedToken("<|bot|>", special=True, rstrip=True)], special_tokens=True)
    tokenizer.chat_template = BEGINS.replace("<|pad|>", "<|bot|>")
    config = DataConfig(source="x.jsonl", max_response_tokens=20)
    encoded = encode([Example(index=0, prompt="Why?", response="So.")], tokenizer, config, context_length=200)
    (row,) = encoded.examples
    turns = [{"role": "user", "content": "Why?"}, {"role": "assistant", "content": "So."}]
    whole = tokenizer.apply_chat_template(turns, return_dict=False)
    assert [*row.prompt_ids, *row.expert_ids] == [*whole, END]


@pytest.mark.parametrize(
    ("template", "expected"), [(BEGINS, [*text_ids("\nSo."), START]), (SPACED, [*text_ids(" So."), END])]
)
def test_the_trainer_takes_conversations_so(tmp_path: Path, template: str, expected: list[int]) -> None:
    model = tiny_model()
    model.generation_config.eos_token_id = [START, END]
    asked = [{"role": "user", "content": "Why?"}]
    chosen, rejected = ([{"role": "assistant", "content": text}] for text in ("So.", "No."))
    trainer = SelfPlayTrainer(
        model,
        objective="spin",
        args=quiet_arguments(tmp_path, max_steps=1),
        train_dataset=[{"prompt": asked, "chosen": chosen, "rejected": rejected}],
        processing_class=tiny_tokenizer(chat_template=template),
    )
    assert trainer.train_dataset.items[0].expert_ids == expected
