"""How long the texts may be that a model reads."""

from __future__ import annotations

import sys
from typing import Any

import pytest
import torch
from transformers import Gemma3TextConfig, LlamaConfig, MambaConfig, MptConfig, Phi3Config, Phi3ForCausalLM

from families import SHAPE
from sparring.logprobs import sequence_log_probs
from sparring.models import context_length, reading_changes_at

LONG_FACTOR = [1.0, 2.0, 4.0, 8.0]
LONGROPE = {"rope_type": "longrope", "rope_theta": 10000.0, "short_factor": [1.0] * 4, "long_factor": LONG_FACTOR}
KNOWN = 24


def phi(**rope: Any) -> Phi3Config:
    settings = SHAPE | {"max_position_embeddings": 512, "original_max_position_embeddings": KNOWN}
    return Phi3Config(**settings, rope_parameters=LONGROPE | rope)


def test_the_limit_is_that_of_the_config() -> None:
    assert context_length(LlamaConfig(max_position_embeddings=77)) == 77
    assert context_length(Gemma3TextConfig(max_position_embeddings=78)) == 78
    assert context_length(MptConfig(max_seq_len=79)) == 79


def test_there_may_be_none() -> None:
    assert context_length(MambaConfig()) == sys.maxsize


def test_texts_are_kept_within_what_longrope_reads_in_one_way() -> None:
    assert (context_length(phi()), reading_changes_at(phi())) == (KNOWN, KNOWN)
    assert (context_length(phi(short_factor=LONG_FACTOR)), reading_changes_at(LlamaConfig())) == (512, None)
    scaled = {"short_factor": LONG_FACTOR, "short_mscale": 1.2, "long_mscale": 1.3}
    assert reading_changes_at(phi(**scaled)) == KNOWN


@pytest.mark.parametrize(("length", "same"), [(KNOWN, True), (KNOWN + 2, False)])
def test_beyond_it_a_text_changes_those_beside_it(length: int, same: bool) -> None:
    with torch.random.fork_rng():
        torch.manual_seed(0)
        model = Phi3ForCausalLM(phi()).eval()
    short, long = [5, 6, 7, 8], [3 + place % 90 for place in range(length - 2)]
    with torch.no_grad():
        own = model(input_ids=torch.tensor([[*short, 9, 10]])).logits[0].log_softmax(-1)
        beside, _ = sequence_log_probs(model, [short, long], [[[9, 10]], [[11, 12]]])
    expected = float(own[3, 9] + own[4, 10])
    assert (abs(float(beside) - expected) < 1e-4) is same
