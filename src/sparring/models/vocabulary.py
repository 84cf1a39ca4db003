"""Checks that the tokens of the data fit the model."""

from __future__ import annotations

from collections.abc import Iterable
from typing import Any

from sparring.errors import InputError


def check_tokens(model_config: Any, tokenizer: Any, used: Iterable[int], *, where: str = "model.name") -> None:
    """Refuses token ids for which the model's embedding has no row; no weights are needed to see it.

    A tokenizer may know more tokens than the model has rows, as long as nothing uses them.

    Args:
        model_config: The model's own configuration.
        tokenizer: The tokenizer that made the ids.
        used: The ids of prompts, responses and end tokens.
        where: The setting that names the model.

    Raises:
        InputError: There are such ids; the message has both sizes and the fix.
    """
    rows: int = model_config.get_text_config().vocab_size
    beyond = sorted({token for token in used if token >= rows})
    if not beyond:
        return
    names = ", ".join(f"{tokenizer.convert_ids_to_tokens(token)!r} ({token})" for token in beyond[:3])
    more = f" and {len(beyond) - 3} more" if len(beyond) > 3 else ""
    raise InputError(
        f"the tokenizer knows {len(tokenizer)} tokens and the model's embedding has {rows} rows, and the data or the "
        f"chat template use tokens beyond it: {names}{more}",
        where=where,
        fix=f"resize the embedding in transformers (`model.resize_token_embeddings({len(tokenizer)})`, then "
        "`save_pretrained`), and train with all weights or lora.modules_to_save: [embed_tokens, lm_head], for the new "
        "rows know nothing yet; or take a template and data without these tokens",
    )
