"""Rows of any size: what cannot fit is left out before it is tokenised, and ids are kept small."""

from __future__ import annotations

import json
import tracemalloc
from pathlib import Path
from typing import Any

import pytest

from sparring.data import DataConfig, Encoded, encode, load, sources
from sparring.errors import InputError
from sparring.examples import EncodedExample, Example
from tiny import tiny_tokenizer

HUGE = "word " * 10_000_000


class Watched:
    """A tokenizer that remembers the longest text that it was given."""

    def __init__(self) -> None:
        self._tokenizer, self.longest = tiny_tokenizer(), 0

    def __getattr__(self, name: str) -> Any:
        return getattr(self._tokenizer, name)

    def __call__(self, text: str | list[str], **settings: Any) -> Any:
        self.longest = max(self.longest, *map(len, [text] if isinstance(text, str) else text))
        return self._tokenizer(text, **settings)


def encoded(tokenizer: Watched, prompt: str, response: str, context: int = 500, **settings: Any) -> Encoded:
    rows = [Example(index=0, prompt="Why?", response="So."), Example(index=1, prompt=prompt, response=response)]
    config = DataConfig(source="x.jsonl", max_response_tokens=20, **settings)
    found = encode(rows, tokenizer, config, context_length=context)  # type: ignore[arg-type]
    assert tokenizer.longest < 10_000
    return found


def test_a_huge_prompt_is_left_out_unread() -> None:
    assert encoded(Watched(), HUGE, "So.").dropped_prompts == 1
    with pytest.raises(InputError, match="the prompt has 50,000,000 characters, which is over the limit of 480 tokens"):
        encoded(Watched(), HUGE, "So.", overlong_prompt="error")
    with pytest.raises(InputError, match="the prompt has 50,000,000 characters, more than can be tokenised at once"):
        encoded(Watched(), HUGE, "So.", context=10**12)


def test_a_huge_prompt_is_cut_from_the_left() -> None:
    found = encoded(Watched(), f"{HUGE}The end.", "So.", overlong_prompt="truncate-left", chat_template="none")
    assert found.truncated_prompts == 1
    assert tiny_tokenizer().decode(found.examples[1].prompt_ids).endswith("word The end.")
    assert len(found.examples[1].prompt_ids) == 480


def test_a_huge_response_is_cut() -> None:
    found = encoded(Watched(), "How?", HUGE)
    assert tiny_tokenizer().decode(found.examples[1].expert_ids) == "word word word word "
    assert encoded(Watched(), "How?", HUGE, overlong_response="drop").dropped_responses == 1


@pytest.mark.parametrize("ids", [[], [1, 2, 65_535], [65_536, 0], [2**31]])
def test_ids_are_lists_whoever_looks(ids: list[int]) -> None:
    example = EncodedExample(index=0, prompt_ids=ids, expert_ids=ids, prompt="p", compared_ids=[ids, [1]])
    assert (example.prompt_ids, example.expert_ids, example.compared_ids) == (ids, ids, [ids, [1]])
    assert example == EncodedExample(index=0, prompt_ids=ids, expert_ids=ids, prompt="p", compared_ids=[ids, [1]])
    assert EncodedExample(index=0, prompt_ids=ids, expert_ids=[], prompt="p").compared_ids == []


def test_rows_are_read_as_they_are_wanted(tmp_path: Path) -> None:
    path = tmp_path / "rows.jsonl"
    path.write_text("".join(f'{{"prompt": "{n}", "response": "{HUGE[:1000]}"}}\n' for n in range(6_000)))
    rows = sources.read(str(path), split="train", subset=None)
    tracemalloc.start()
    try:
        assert [sum(1 for _ in rows) for _ in range(2)] == [6_000, 6_000]
        assert tracemalloc.get_traced_memory()[1] < 1_000_000
        data = load(DataConfig(source=str(path), held_out=0), 0)
        # The words once, and what a row takes beside them.
        assert tracemalloc.get_traced_memory()[1] < 6_000 * (1000 + 700)
        config = DataConfig(source=str(path), chat_template="none", max_response_tokens=300)
        kept, examples = data.train, list(reversed(data.train))
        data.train.clear()
        del kept
        encoded = encode((examples.pop() for _ in range(6_000)), tiny_tokenizer(), config, context_length=2000)
        assert len(encoded.examples) == 6_000
        # Two bytes a token, and the words still once.
        assert tracemalloc.get_traced_memory()[0] < 6_000 * (1000 + 2 * 300 + 700)
    finally:
        tracemalloc.stop()


def test_a_huge_line_of_a_file_is_left_out_or_refused(tmp_path: Path) -> None:
    path = tmp_path / "rows.jsonl"
    lines = [{"prompt": f"{n}?", "response": "So."} for n in range(3)] + [{"prompt": HUGE, "response": "So."}]
    path.write_text("\n".join(map(json.dumps, lines)))
    config, tokenizer = DataConfig(source=str(path), max_response_tokens=20, held_out=0), Watched()
    examples = load(config, 0).train
    assert encode(examples, tokenizer, config, context_length=500).dropped_prompts == 1  # type: ignore[arg-type]
    strict = config.model_copy(update={"overlong_prompt": "error"})
    with pytest.raises(InputError, match=r"rows.jsonl, line 4 \('word word.*the prompt has 50,000,000 characters"):
        encode(examples, tokenizer, strict, context_length=500)  # type: ignore[arg-type]
    assert tokenizer.longest < 10_000
