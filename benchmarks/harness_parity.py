"""`sparring evaluate harness` beside the harness's own command line, on every policy of a run.

    python benchmarks/harness_parity.py RUN [--limit N] [--batch-size N] [--chat-template] [--json FILE]

Both run the tasks in benchmarks/tasks: one is given the run, the other each policy's folder by
`lm_eval --model hf --model_args pretrained=…[,peft=…]`. Figures, standard errors and the harness's hashes of the
prompts must be equal, not close; the script fails where they are not.
"""

from __future__ import annotations

import argparse
import json
import subprocess
import sys
import tempfile
from pathlib import Path
from typing import Any

from measuring import hardware, versions
from sparring.files import write_json
from sparring.models import resolve
from sparring.models.loading import torch_device
from sparring.run_directory import RunDirectory
from sparring.selfplay.config.schema import SelfPlayConfig
from sparring.stage_directory import StageDirectory

TASKS = Path(__file__).parent / "tasks" / "arithmetic"
NAMES = ("arithmetic_solve", "arithmetic_choose")


def ours(options: argparse.Namespace) -> dict[str, dict[str, Any]]:
    """Policy, then task, to figures and hash."""
    command = [sys.executable, "-m", "sparring", "evaluate", "harness", str(options.run), "--json"]
    command += ["--tasks", ",".join(NAMES), "--include", str(TASKS), *_common(options, "--batch-size")]
    command += ["--apply-chat-template"] if options.chat_template else []
    rows = json.loads(subprocess.run(command, check=True, stdout=subprocess.PIPE, text=True).stdout)
    found: dict[str, dict[str, Any]] = {}
    for row in rows:
        found.setdefault(row["policy"], {}).update(_figures(row))
    return found


def theirs(model_args: str, options: argparse.Namespace) -> dict[str, Any]:
    """Task to figures and hash, by the harness's own command line."""
    with tempfile.TemporaryDirectory() as folder:
        command = [sys.executable, "-m", "lm_eval", "run", "--model", "hf", "--model_args", model_args]
        command += ["--tasks", *NAMES, "--include_path", str(TASKS), "--device", torch_device("auto").type]
        command += [*_common(options, "--batch_size"), "--output_path", folder, "--log_samples"]
        command += ["--apply_chat_template"] if options.chat_template else []
        subprocess.run(command, check=True, stdout=subprocess.DEVNULL)
        (path,) = Path(folder).rglob("results_*.json")
        return _figures(json.loads(path.read_text(encoding="utf-8")))


def _common(options: argparse.Namespace, batch_size: str) -> list[str]:
    limit = [] if options.limit is None else ["--limit", str(options.limit)]
    return [batch_size, str(options.batch_size), *limit]


def _figures(result: dict[str, Any]) -> dict[str, Any]:
    return {
        task: {key: value for key, value in result["results"][task].items() if "," in key}
        | {"hash": result["task_hashes"][task]}
        for task in NAMES
        if task in result["results"]
    }


def model_args(config: SelfPlayConfig, directory: RunDirectory, stage: StageDirectory) -> str:
    """What the harness is told to load."""
    base = resolve(config.model.name)
    if stage.path == directory.base.path:
        return f"pretrained={base},dtype={config.model.dtype}"
    if config.lora is not None:
        return f"pretrained={base},peft={stage.model},dtype={config.model.dtype}"
    return f"pretrained={stage.model},dtype={config.model.dtype}"


def compare(options: argparse.Namespace) -> dict[str, Any]:
    """Both on every policy."""
    directory = RunDirectory(options.run)
    config = SelfPlayConfig.from_yaml(directory.config)
    found = ours(options)
    policies = {}
    for stage in directory.stages():
        name = directory.name_of(stage)
        other = theirs(model_args(config, directory, stage), options)
        policies[name] = {"equal": found[name] == other, "sparring": found[name], "lm_eval": other}
    return {"equal": all(policy["equal"] for policy in policies.values()), "policies": policies}


def main() -> None:
    """Prints the comparison."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("run", type=Path)
    parser.add_argument("--limit", type=int)
    parser.add_argument("--batch-size", type=int, default=8)
    parser.add_argument("--chat-template", action="store_true")
    parser.add_argument("--json", type=Path)
    options = parser.parse_args()
    result = {
        "hardware": hardware(),
        "versions": versions("lm-eval", "peft"),
        "limit": options.limit,
        "batch_size": options.batch_size,
        "chat_template": options.chat_template,
        **compare(options),
    }
    print(json.dumps(result, indent=2))
    if options.json is not None:
        write_json(options.json, result)
    if not result["equal"]:
        sys.exit("the figures differ")


if __name__ == "__main__":
    main()
