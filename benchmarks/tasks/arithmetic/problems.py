"""The built-in word problems as documents of lm-evaluation-harness, made from a seed."""

from __future__ import annotations

from typing import Any

from datasets import Dataset, DatasetDict

from sparring.data.arithmetic import generate

SHOWN, ASKED = 16, 64
# What is added to the right number to get the four choices; the right one comes first, and is then moved.
_OFFSETS = (0, 1, 2, 10)


def splits(*, difficulty: int, seed: int, **_: Any) -> DatasetDict:
    """`train`, of which examples are shown, and `test`.

    The harness calls this with a task's `dataset_kwargs` and its metadata, which do not matter here.
    """
    documents = [
        _document(number, problem.prompt, problem.response or "")
        for number, problem in enumerate(generate(SHOWN + ASKED, difficulty, seed))
    ]
    return DatasetDict(
        {
            "train": Dataset.from_list(documents[:SHOWN]),
            "test": Dataset.from_list(documents[SHOWN:]),
        }
    )


def _document(number: int, question: str, answer: str) -> dict[str, Any]:
    result = int(answer.rpartition("#### ")[2])
    right = number % len(_OFFSETS)
    choices = [str(result + offset) for offset in _OFFSETS]
    choices[0], choices[right] = choices[right], choices[0]
    return {"question": question, "answer": answer, "choices": choices, "right": right}
