"""A judge's verdicts on two models' answers, as annotations in the format of `alpaca_eval`."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from sparring.evaluation.outputs import Outputs
from sparring.judges import Question, Verdict
from sparring.judges.protocol import Judge, totals
from sparring.progress import progress

# Questions at once: enough to keep an endpoint busy, few enough to show progress.
_BATCH = 32


def annotate(
    judge: Judge,
    instructions: Sequence[str],
    *,
    model: Outputs,
    baseline: Outputs,
    references: Sequence[str | None],
    annotator: str,
) -> tuple[list[dict[str, Any]], dict[str, float]]:
    """Asks a judge which of two answers is better.

    Args:
        judge: The judge.
        instructions: N instructions.
        model: N answers of the model whose win rate is measured.
        baseline: N answers to compare them with.
        references: N right answers, for judges that need them; None for none.
        annotator: The judge's name in the annotations.

    Returns:
        The annotations, with `preference` 1 + P(the model's answer is the better one) and null where there is no
        verdict; and their `totals`.
    """
    questions = [
        Question(prompt=instruction, responses=(other, own), reference_answer=reference)
        for instruction, other, own, reference in zip(
            instructions, baseline.texts, model.texts, references, strict=True
        )
    ]
    verdicts: list[Verdict] = []
    with progress("judge", total=len(questions), unit="") as meter:
        for start in range(0, len(questions), _BATCH):
            verdicts += judge(questions[start : start + _BATCH])
            meter.advance(len(verdicts) - start)
    rows = [
        {
            "instruction": question.prompt,
            "output_1": question.responses[0],
            "generator_1": baseline.generator,
            "output_2": question.responses[1],
            "generator_2": model.generator,
            "annotator": annotator,
            "preference": None if (p := verdict.pairwise[1][0]) is None else 1.0 + p,
        }
        for question, verdict in zip(questions, verdicts, strict=True)
    ]
    return rows, totals(verdicts)
