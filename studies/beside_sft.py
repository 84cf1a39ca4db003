"""Play beside more supervised fine-tuning for as much computation, in runs of the recipe `auto` with a control.

    python studies/beside_sft.py FOLDER [--seeds 0 1 2] [--table]

Few problems with an expert's response, many with the right answer alone, and a verifier. A run warms up on the former,
then plays on all; its control goes on with supervised fine-tuning from the same warm-up. Started again, the command
goes on where it was stopped; `--table` plays nothing.
"""

from __future__ import annotations

import argparse
from pathlib import Path
from typing import Any

from outcomes import problems_of, read, write
from playing import Play, play_all
from sparring.run_directory import RunDirectory

RUN = (
    "quickstart",
    "data.limit=256",
    "data.experts=32",
    "data.max_response_tokens=40",
    "iterations=3",
    "data.prompts_per_iteration=64",
    "training.num_train_epochs=1",
)
RESULTS = Path(__file__).resolve().parent / "results" / "beside_sft.json"


def main() -> None:
    """Plays what is missing, then adds it to the results."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("folder", type=Path)
    parser.add_argument("--seeds", type=int, nargs="+", default=[0, 1, 2])
    parser.add_argument("--table", action="store_true", help="play nothing")
    options = parser.parse_args()
    runs = {seed: options.folder.absolute() / f"beside-sft-{seed}" for seed in options.seeds}
    if not options.table:
        play_all([Play(run=run, arguments=(*RUN, f"seed={seed}")) for seed, run in runs.items()], at_once=1)
    known: dict[str, Any] = read(RESULTS)["runs"] if RESULTS.exists() else {}
    found = {str(seed): measured(run) for seed, run in runs.items() if run.exists()}
    write(RESULTS, {"runs": known | found})


def measured(run: Path) -> dict[str, dict[str, list[float]]]:
    """What each policy of a run was measured at, by held-out problem: the warm-up, play and its control."""
    directory = RunDirectory(run)
    stages = [directory.warmup, *directory.played(), *directory.controlled()]
    return {str(stage.path.relative_to(run)): problems_of(stage) for stage in stages if stage.evaluation.exists()}


if __name__ == "__main__":
    main()
