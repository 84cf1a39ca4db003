"""Play beside more supervised fine-tuning for as much computation, in runs of the recipe `auto` with a control.

    python studies/beside_sft.py FOLDER [--plays raft sppo …] [--model FOLDER] [--task words] [--seeds 0 1 2] [--table]

Few problems with an expert's response, many with the right answer alone, and a verifier. A run warms up on the former,
then plays on all; the control of the first play goes on with supervised fine-tuning from the same warm-up. With another
model or task the results are under its name. Started again, the command goes on where it was stopped; `--table` plays
nothing.
"""

from __future__ import annotations

import argparse
from pathlib import Path
from typing import Any

from outcomes import RESULTS, add, problems_of
from playing import Play, play_all
from sparring.reports.cost import seconds_by_stage
from sparring.run_directory import RunDirectory
from untuned import TASKS

RUN = (
    "quickstart",
    "model.dtype=bfloat16",
    "data.limit=256",
    "data.experts=32",
    "data.prompts_per_iteration=null",
    "iterations=2",
    "stop.enabled=false",
)
# Of a recipe that is told its objective everything is told: the steps that `auto` takes, one epoch where the loss is an
# expectation over the policy's own draws.
_STEPS = (
    "generation.samples_per_prompt=4",
    "training={learning_rate: 2e-4, lr_scheduler_type: linear, num_train_epochs: 1, per_device_train_batch_size: 2}",
    "control=false",
)
# Half of the experts are set apart from the warm-up, so that it does not know them by heart when play begins. Play has
# them, and so has the control.
_APART = (
    "data.experts=64",
    "warmup={until: plateau, validation: 32, patience: 8, training: {num_train_epochs: 8, lr_scheduler_type: linear}}",
)
# What is changed in the recipe's choice. The warm-up of the first six is the same, and so is the control: one will do.
PLAYS: dict[str, tuple[str, ...]] = {
    "raft": (),
    "sppo": ("objective={name: sppo, eta: 10}", "judge={name: verifier, rule: final-number}", *_STEPS),
    "spif": ("objective={name: spif, beta: 1, reward_bound: 2}", *_STEPS, "training.num_train_epochs=4"),
    "consensus": ("objective={name: sppo, eta: 10}", "judge={name: consensus, rule: final-number}", *_STEPS),
    "discriminator": ("objective={name: sppo, eta: 4}", "judge={name: discriminator}", *_STEPS),
    "implicit": ("objective={name: sppo, eta: 10}", "judge={name: implicit}", *_STEPS),
    "spif-apart": (
        "objective={name: spif, beta: 1, reward_bound: 2}",
        *_STEPS[:2],
        "training.num_train_epochs=4",
        *_APART,
    ),
    "discriminator-apart": (
        "objective={name: sppo, eta: 4}",
        "judge={name: discriminator}",
        *_STEPS,
        *_APART,
    ),
    # Supervised fine-tuning on solutions to all problems, as if somebody had written them.
    "all-solutions": ("data.experts=null", "warmup.until=end", "iterations=0", "control=false"),
    # From a start that is half done, at a rate that is too high, with a warm-up and a control of its own.
    "hasty": (
        "model.dtype=float32",
        "warmup={until: plateau, patience: 4, training: {num_train_epochs: 4}}",
        "objective={name: sppo, eta: 10}",
        "judge={name: verifier, rule: final-number}",
        "training.learning_rate=5e-4",
        "iterations=3",
        "data.prompts_per_iteration=64",
        "data.max_response_tokens=40",
    ),
}


def main() -> None:
    """Plays what is missing, then adds it to the results."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("folder", type=Path)
    parser.add_argument("--plays", nargs="+", choices=PLAYS, default=["raft", "sppo"])
    parser.add_argument("--model", type=Path, help="a folder; SmolLM2 by default")
    parser.add_argument(
        "--task", choices=TASKS, help="one that `auto` was not tuned on; problems of one step by default"
    )
    parser.add_argument("--seeds", type=int, nargs="+", default=[0, 1, 2])
    parser.add_argument("--at-once", type=int, default=1)
    parser.add_argument("--table", action="store_true", help="play nothing")
    options = parser.parse_args()
    folder = options.folder.absolute() / "beside-sft"
    model = () if options.model is None else (f"model.name={options.model}",)
    where = "".join(f"-{name}" for name in (options.model and options.model.name, options.task) if name)
    runs = {(play, seed): folder / f"{play}{where}-{seed}" for seed in options.seeds for play in options.plays}

    def take_in() -> None:
        ended = {key: run for key, run in runs.items() if RunDirectory(run).result.exists()}
        for section, of_run in {"plays": measured, "costs": costs}.items():
            found: dict[str, dict[str, Any]] = {}
            for (play, seed), run in ended.items():
                found.setdefault(play + where, {})[str(seed)] = of_run(run)
            add(RESULTS / "beside_sft.json", section, found)

    if not options.table:
        task = TASKS.get(options.task, lambda _folder, _seed: ())
        plays = [
            Play(run=run, arguments=(*RUN, *model, *task(folder, seed), *PLAYS[play], f"seed={seed}"))
            for (play, seed), run in runs.items()
        ]
        play_all(plays, at_once=options.at_once, after_each=take_in)
    take_in()


def measured(run: Path) -> dict[str, dict[str, list[float]]]:
    """What each policy of a run was measured at, by held-out problem: the warm-up, play and its control."""
    directory = RunDirectory(run)
    stages = [directory.warmup, *directory.played(), *directory.controlled()]
    return {directory.name_of(stage): problems_of(stage) for stage in stages if stage.evaluation.exists()}


def costs(run: Path) -> dict[str, dict[str, float]]:
    """What each policy of a run took: seconds by stage, and of an iteration the tokens that it sampled and trained on.

    A prompt counts once, whatever the number of its responses; `trained` counts a token once an epoch.
    """
    events = RunDirectory(run).events()
    found = {owner: dict(stages) for owner, stages in seconds_by_stage(events).items()}
    epochs = {
        event["iteration"]: event["epoch"] for event in events if event.get("stage") == "train" and "epoch" in event
    }
    for event in events:
        if event.get("stage") == "tokens":
            counted = found[f"iteration {event['iteration']}"]
            counted["tokens/read"] = event["tokens/read"]
            counted["tokens/trained"] = event["tokens/epoch"] * epochs[event["iteration"]]
    return found


if __name__ == "__main__":
    main()
