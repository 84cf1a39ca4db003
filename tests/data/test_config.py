from __future__ import annotations

import pytest
from pydantic import ValidationError

from sparring.data import FORMATS, DataConfig

BAD = [
    ({"source": " "}, "must name a file, a folder, a dataset or a task (arithmetic), got nothing"),
    ({"source": "arithmetic"}, "'arithmetic' is generated, so it needs limit"),
    ({"source": "arithmetic", "limit": 5, "columns": {"prompt": "q"}}, "columns has no use for 'arithmetic'"),
    ({"source": "arithmetic", "limit": 5, "held_out_source": "x.jsonl"}, "held_out_source has no use for 'arithmetic'"),
    ({"source": "arithmetic", "limit": 5, "difficulty": 6}, "less than or equal to 5"),
    ({"source": "x.jsonl", "difficulty": 2}, "difficulty is for built-in tasks (arithmetic); remove it"),
    ({"source": "x.jsonl", "columns": {"promt": "q"}}, "no format has a field 'promt'; did you mean 'prompt'?"),
    (
        {"source": "x.jsonl", "format": "alpaca", "columns": {"prompt": "q"}},
        "format 'alpaca' does not have a field 'prompt'; known: con",
    ),
    (
        {"source": "x.jsonl", "verifier": "final-numbr"},
        "verifier 'final-numbr' is unknown; did you mean 'final-number'?",
    ),
    ({"source": "x.jsonl", "held_out": 0, "held_out_split": "test"}, "held_out is 0, so held_out_source and"),
    ({"source": "x.jsonl", "held_out_source": "arithmetic"}, "held_out_source cannot be the built-in task"),
    ({"source": "x", "held_out_split": "train"}, "held_out_split is the training split 'train'"),
    ({"source": "x.jsonl", "limit": 0}, "greater than or equal to 1"),
    ({"source": "x.jsonl", "shuffle": True}, "Extra inputs are not permitted"),
]


@pytest.mark.parametrize(("values", "message"), BAD)
def test_nonsense_is_rejected_with_the_reason(values, message):
    with pytest.raises(ValidationError) as caught:
        DataConfig(**values)
    assert message in str(caught.value)


def test_the_verifier_of_a_task_is_its_own_unless_set():
    assert DataConfig(source="arithmetic", limit=1).verifier == "final-number"
    assert DataConfig(source="arithmetic", limit=1, verifier="exact").verifier == "exact"
    assert DataConfig(source="x.jsonl").verifier is None


def test_a_dumped_configuration_loads_again():
    for config in (DataConfig(source="arithmetic", limit=3, difficulty=2), DataConfig(source="x.jsonl")):
        assert DataConfig(**config.model_dump()) == config


def test_every_format_can_be_chosen():
    for name in FORMATS:
        assert DataConfig(source="x.jsonl", format=name).format == name
