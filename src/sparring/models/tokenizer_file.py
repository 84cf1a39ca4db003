"""Replaces a tokenizer that transformers reads differently than its own file, tokenizer.json, describes it."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from functools import cache
from typing import Any

from tokenizers import Tokenizer
from transformers import PreTrainedTokenizerFast
from transformers.utils import cached_file

from sparring.progress import console

# A class may put a space before the first word.
_HEAD = "Hello,"
# Texts that classes split, change or leave out in ways of their own: breaks, numbers and signs; capitals, in a
# contraction too; a letter and its accent apart; other forms of a letter; other scripts; a picture; rare white space.
_PROBES = (
    *(" it is 12345 ok?\n\n  def é\n\tx != 67.89, isn't it", " ISN'T it HelloWorld", " cafe\u0301", " ﬁt Ａ ™"),
    *(" 日本語テスト", " שלום हिन्दी", " 🙂", "\r\na\u00a0b"),
)
# The modules of classes that split texts in a way of their own.
_FAMILIES = "transformers.models."


def as_its_file(tokenizer: Any, path: str, origin: Mapping[str, Any]) -> Any:
    """The tokenizer, or the one that its file describes if the two split texts differently.

    A model was trained with the tokenizer of tokenizer.json. transformers 5 takes only the vocabulary from this file,
    and the way of changing and splitting a text from the class that tokenizer_config.json names. By a
    wrong class, as in copies of DeepSeek's distilled Llamas (`LlamaTokenizerFast`), spaces and line breaks were lost.

    Args:
        tokenizer: The tokenizer from `AutoTokenizer`.
        path: The model's folder or Hugging Face id.
        origin: Further arguments of `from_pretrained`.
    """
    own = isinstance(tokenizer, PreTrainedTokenizerFast) and type(tokenizer).__module__.startswith(_FAMILIES)
    missing = dict.fromkeys(("_raise_exceptions_for_missing_entries", "_raise_exceptions_for_connection_errors"), False)
    written = cached_file(path, "tokenizer.json", revision=origin.get("revision"), **missing) if own else None
    if written is None:
        return tokenizer
    described = Tokenizer.from_file(written)
    added = described.get_added_tokens_decoder().values()
    # transformers itself changes some of the tokens that swallow the white space beside them.
    probes = [*_PROBES, *(f" a{token.content} b" for token in added if not (token.lstrip or token.rstrip))]
    if [*_written(tokenizer.backend_tokenizer, probes)] == [*_written(described, probes)]:
        return tokenizer
    _tell(path, type(tokenizer).__name__)
    return PreTrainedTokenizerFast.from_pretrained(path, **origin)


def _written(tokenizer: Tokenizer, probes: list[str]) -> Iterator[list[int] | None]:
    """The tokens of each probe after a first word; None if it cannot be tokenized."""
    # A file may fix the length to pad or cut texts to, which transformers decides anew for each text.
    tokenizer.no_padding()
    tokenizer.no_truncation()
    for probe in probes:
        try:
            head, whole = (tokenizer.encode(text, add_special_tokens=False).ids for text in (_HEAD, _HEAD + probe))
        except Exception:  # noqa: BLE001 - a class that asks for a token which the vocabulary lacks writes nothing
            yield None
        else:
            yield list(whole[len(head) :])


@cache
def _tell(path: str, name: str) -> None:
    console.print(
        f"{path}: the tokenizer is taken as tokenizer.json has it; as {name}, which tokenizer_config.json or the "
        "model's family names, it would write other tokens than the model has seen"
    )
