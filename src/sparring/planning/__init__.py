"""Estimates of what a run would take: time, memory, disk and arithmetic, before anything is trained.

The model of costs:

    time     sum over generating, scoring and training: their tokens / (measured tokens a second × processes)
    memory   of each process, the larger of training (weights, gradients, optimizer states, activations, logits) and of
             playing, which is generating and scoring (weights, cache of keys and values)
    disk     saved models, checkpoints, samples and log-probs of the training prompts, held-out responses

    tokens.py       counts the tokens of each part of a run, from the lengths of the data alone
    read_share.py   the share of them that training reads where a judge's verdicts leave some responses out
    rates.py        measures this machine's tokens a second on real examples
    cost.py         memory and arithmetic, from the shapes of the model
    disk.py         disk use, from the same shapes and lengths
    phases.py       what a phase plays, its stability number, its comparisons by a judge
    plan.py         all of these in one `Plan`
    levers.py       which settings make a part of a run smaller
    within.py       shrinks a run by them until it fits into a time

It lies above `sparring.selfplay`, so no check before a run can use it.
"""
