"""Compare: a judge compares a policy's held-out responses with the base model's and the previous policy's."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence

from sparring.judges import Question, Verdict
from sparring.metrics import Duel
from sparring.policies import BASE, before
from sparring.selfplay.run import Run
from sparring.selfplay.stages.judge import logged_totals
from sparring.selfplay.stages.verdicts import judge_file
from sparring.shards import SampleRow, held_out_verdicts_path
from sparring.work import processes

Samples = Mapping[int, Sequence[SampleRow]]
"""Rows by prompt index, each prompt's in order of sample."""

Compared = dict[str, list[list[Duel]]]
"""The comparisons by rival, "base" and "previous", then by held-out prompt and sample."""


def compare(run: Run, policy: int, samples: Callable[[int], Samples]) -> Compared:
    """Compares a policy's sampled responses with each rival's: sample k of the one with sample k of the other.

    Args:
        run: The run.
        policy: The policy's number.
        samples: Returns the held-out samples of a policy, by its number.

    Returns:
        The comparisons; empty without a judge, or for the base model itself.
    """
    if run.prepared.held_out_judge is None or run.directory.weights(policy) is None:
        return {}
    previous = BASE if run.directory.weights(before(policy)) is None else before(policy)
    by_policy = {number: samples(number) for number in dict.fromkeys((policy, BASE, previous))}

    def judged() -> Compared:
        verdicts = {
            rival: _verdicts(run, policy, rival, [by_policy[policy], by_policy[rival]])
            for rival in dict.fromkeys((BASE, previous))
        }
        every = [verdict for of_rival in verdicts.values() for asked in of_rival for verdict in asked.values()]
        iteration = {"iteration": policy - 1} if policy > 0 else {}
        run.log({"stage": "judge held-out", **iteration, **logged_totals(every)})
        return {
            name: _duels(run, verdicts[rival], [by_policy[policy], by_policy[rival]])
            for name, rival in (("base", BASE), ("previous", previous))
        }

    return processes.on_main(judged)


def _verdicts(run: Run, policy: int, rival: int, sides: Sequence[Samples]) -> list[dict[int, Verdict]]:
    """The verdicts by sample number, each of which has a shard of its own, and then by prompt index."""
    judge, stage = run.judges.of_held_out, run.directory.stage(policy)
    assert judge is not None  # noqa: S101 - the main process has started what the run was prepared with
    return [
        judge_file(
            judge,
            {
                each.index: Question.about(each, [side[each.index][k]["text"] for side in sides])
                for each in run.held_out
            },
            held_out_verdicts_path(stage, rival, k),
        )
        for k in range(run.config.evaluation.samples_per_prompt)
    ]


def _duels(run: Run, verdicts: Sequence[Mapping[int, Verdict]], sides: Sequence[Samples]) -> list[list[Duel]]:
    return [
        [
            Duel(
                preference=of_sample[each.index].pairwise[0][1],
                length=len(sides[0][each.index][k]["text"]),
                rival_length=len(sides[1][each.index][k]["text"]),
            )
            for k, of_sample in enumerate(verdicts)
        ]
        for each in run.held_out
    ]
