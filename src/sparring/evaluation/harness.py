"""Benchmarks by lm-evaluation-harness, on a model that is loaded already.

Tasks, prompts, filters, metrics and standard errors are the harness's own. This module chooses the tasks, their folders
and their numbers of shots, and gives every result an identity.

Source: https://github.com/EleutherAI/lm-evaluation-harness
"""

from __future__ import annotations

import hashlib
import importlib.util
import inspect
import json
import logging
import random
import sys
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from contextlib import contextmanager, redirect_stdout
from dataclasses import asdict, dataclass, replace
from pathlib import Path
from typing import Any

from sparring.errors import InputError, did_you_mean
from sparring.evaluation.answering import LoadedModel
from sparring.files import read_json, write_json
from sparring.json_text import numbers
from sparring.progress import console

# The Open LLM Leaderboard as SPIN reports it (arXiv 2401.01335, table 1), with its numbers of shots.
OPEN_LLM_LEADERBOARD: dict[str, int] = {
    "arc_challenge": 25,
    "truthfulqa_mc2": 0,
    "winogrande": 5,
    "gsm8k": 5,
    "hellaswag": 10,
    "mmlu": 5,
}
SUITES: dict[str, dict[str, int]] = {"open-llm-leaderboard": OPEN_LLM_LEADERBOARD}

# The seeds of Python, NumPy, torch and the choice of shots that the harness's own command line takes.
_SEEDS = (0, 1234, 1234, 1234)

Record = dict[str, Any]
"""The result of one task on one model, as JSON."""


@dataclass(frozen=True, kw_only=True)
class HarnessSettings:
    """The settings of a benchmark; every default is that of the harness's own command line.

    Attributes:
        shots: The number of worked examples before every question; None takes that of the suite or the task.
        limit: The number of documents of every task, from the first; for tests. None takes all.
        batch_size: The number of sequences that are computed at once.
        chat_template: Whether prompts are written by the tokenizer's chat template, shots as turns.
        seed: One seed for Python, NumPy, torch and the choice of shots; None takes the harness's four.
    """

    shots: int | None = None
    limit: int | None = None
    batch_size: int = 1
    chat_template: bool = False
    seed: int | None = None

    @property
    def seeds(self) -> tuple[int, int, int, int]:
        """The seeds of Python, NumPy, torch and the choice of shots."""
        return _SEEDS if self.seed is None else (self.seed, self.seed, self.seed, self.seed)


@dataclass(frozen=True, kw_only=True)
class Benchmark:
    """A task, or a group of tasks, of the harness, with its documents.

    Attributes:
        name: Its name in the harness.
        settings: The settings that it is run with.
        loaded: The task as the harness's task manager loads it.
        identity: Everything except the model that decides its result: settings, versions, documents.
    """

    name: str
    settings: HarnessSettings
    loaded: Mapping[str, Any]
    identity: Record

    def measure(self, load: Callable[[], LoadedModel], folder: Path | None) -> Record:
        """The result on one model: read from the folder where it is kept, or measured and kept there.

        Args:
            load: Loads the model, if it is needed.
            folder: The folder of this model's results; None keeps none. A file is named by the task and a digest of the
                identity, so other settings give another file.

        Returns:
            The `identity` with what `run` returns.
        """
        digest = hashlib.sha256(_canonical(self.identity)).hexdigest()
        path = None if folder is None else folder / f"{self.name.replace('/', '_')}-{digest[:8]}.json"
        if path is not None and path.exists():
            kept: Record = numbers(read_json(path))
            return kept
        record = {"identity": self.identity} | self.run(load())
        if path is not None:
            write_json(path, record)
        return record

    def run(self, loaded: LoadedModel) -> Record:
        """The harness's metrics and standard errors on a model that is loaded already.

        Returns:
            `results`, `n-shot`, `n-samples` and `versions` as the harness has them, and its `task_hashes`: of the
            documents, prompts and targets as the model saw them.
        """
        import lm_eval
        from lm_eval.models.huggingface import HFLM

        if loaded.template.chat and not self.settings.chat_template:
            console.print(
                "warning: the model has a chat template and is measured without it, on prompts such as it was not "
                "trained on; --apply-chat-template measures it with"
            )
        with _quiet():
            model = HFLM(pretrained=loaded.model, tokenizer=loaded.tokenizer, batch_size=self.settings.batch_size)
            self._prepare()
            found: Any = lm_eval.evaluate(
                lm=model,
                task_dict=self.loaded,
                limit=self.settings.limit,
                apply_chat_template=self.settings.chat_template,
                fewshot_as_multiturn=self.settings.chat_template,
            )
        kept = {name: found[name] for name in ("results", "n-shot", "n-samples", "versions")}
        kept["task_hashes"] = {name: _task_hash(samples) for name, samples in sorted(found["samples"].items())}
        # Turns NumPy's numbers into Python's.
        plain: Record = json.loads(json.dumps(kept, default=float))
        return plain

    def _prepare(self) -> None:
        """Sets seeds and shots as the harness's `simple_evaluate` does."""
        import numpy as np
        import torch

        python, numpy, pytorch, shots = self.settings.seeds
        random.seed(python)
        np.random.seed(numpy)
        torch.manual_seed(pytorch)
        for task in self.loaded["tasks"].values():
            own = task.get_config("num_fewshot")
            # A task with 0 shots of its own has no examples to show.
            if own is None or (self.settings.shots is not None and own != 0):
                task.set_config(key="num_fewshot", value=self.settings.shots or 0)
            task.set_fewshot_seed(seed=shots)


def load_benchmarks(
    names: Sequence[str], settings: HarnessSettings, *, include: Sequence[Path] = ()
) -> list[Benchmark]:
    """Finds tasks and loads their documents, before any model is loaded.

    Args:
        names: Tasks, groups or tags of the harness, or patterns of them; or a suite in `SUITES`.
        settings: The settings that they are run with.
        include: Folders with tasks of your own as YAML files, which take precedence over the harness's. Python
            functions that such a file names are run.

    Raises:
        InputError: The harness is missing; a name is unknown; documents cannot be loaded; `shots` is given for a suite,
            which has its own; or a task would run code that the model writes.
    """
    if importlib.util.find_spec("lm_eval") is None:
        fix = "pip install 'sparring[harness]'"
        raise InputError("the package lm-eval (lm-evaluation-harness) is missing", fix=fix)
    for folder in include:
        if not any(folder.glob("**/*.yaml")):
            raise InputError("the folder holds no tasks (*.yaml)", where=str(folder), fix="check --include")
    wanted = dict(_wanted(names, settings.shots))
    with _quiet():
        manager = _manager(wanted, include)
        found = {match: shots for name, shots in wanted.items() for match in _matches(manager, name)}
        return [_benchmark(manager, name, replace(settings, shots=shots)) for name, shots in found.items()]


def _benchmark(manager: Any, name: str, settings: HarnessSettings) -> Benchmark:
    import lm_eval

    loaded = _load(manager, name)
    identity = {
        "task": name,
        **asdict(settings),
        "seed": list(settings.seeds),
        "lm_eval": lm_eval.__version__,
        "sha256": {task: _fingerprint(item) for task, item in sorted(loaded["tasks"].items())},
    }
    return Benchmark(name=name, settings=settings, loaded=loaded, identity=identity)


def _wanted(names: Iterable[str], shots: int | None) -> Iterator[tuple[str, int | None]]:
    for name in names:
        if name not in SUITES:
            yield name, shots
            continue
        if shots is not None:
            raise InputError(f"the suite {name} has its own numbers of shots", fix="leave --shots out")
        yield from SUITES[name].items()


def _manager(names: Iterable[str], include: Sequence[Path]) -> Any:
    """The harness's index of tasks; its own thousands of files are read only where a name is not among `include`."""
    from lm_eval.tasks import TaskManager

    if include:
        manager = TaskManager(include_path=list(include), include_defaults=False)
        if all(manager.match_tasks([name]) for name in names):
            return manager
    return TaskManager(include_path=list(include))


def _matches(manager: Any, name: str) -> list[str]:
    matches: list[str] = manager.match_tasks([name])
    if not matches:
        known = did_you_mean(name, manager.all_tasks) if manager.all_tasks else "check the spelling"
        raise InputError(f"no task is called '{name}'", where="tasks", fix=_shorten(known))
    return matches


def _load(manager: Any, name: str) -> Mapping[str, Any]:
    try:
        loaded: Mapping[str, Any] = manager.load([name])
    except Exception as error:
        problem = f"the task '{name}' cannot be loaded ({type(error).__name__}: {_shorten(str(error))})"
        fix = "its documents come from the Hugging Face hub unless its YAML file says otherwise: check the connection"
        raise InputError(problem, where="tasks", fix=fix) from error
    for task in loaded["tasks"].values():
        if getattr(task, "UNSAFE_CODE", False):
            problem = f"the task '{name}' runs code that the model writes"
            raise InputError(problem, where="tasks", fix="run it with the harness itself, in a sandbox")
        if getattr(task, "MULTIMODAL", False):
            raise InputError(f"the task '{name}' needs other inputs than text", where="tasks", fix="leave it out")
    return loaded


def _shorten(text: str) -> str:
    return (text.strip() or "no reason given").splitlines()[0][:300]


def _fingerprint(task: Any) -> str:
    """A sha256 of a task's settings and of the documents that it asks about and shows."""
    digest = hashlib.sha256()
    # Shots are part of the identity already, and the place of a task's files does not matter.
    config = {key: value for key, value in task.dump_config().items() if key != "num_fewshot"}
    config["metadata"] = {key: value for key, value in config["metadata"].items() if key != "config_source"}
    digest.update(_canonical(config))
    for documents in (task.eval_docs, task.fewshot_docs() or ()):
        for document in documents:
            digest.update(_canonical(document))
    return digest.hexdigest()


def _canonical(value: Any) -> bytes:
    return json.dumps(value, sort_keys=True, default=_plain).encode()


def _plain(value: Any) -> str:
    """A function as its source, another object as the name of its type: addresses in memory must not count."""
    try:
        return inspect.getsource(value)
    except (TypeError, OSError):
        return type(value).__name__


def _task_hash(samples: Iterable[Mapping[str, str]]) -> str:
    """The harness's hash of a task as the model saw it, which its own command line writes too."""
    from lm_eval.utils import hash_string

    hashed: str = hash_string("".join(f"{row['doc_hash']}{row['prompt_hash']}{row['target_hash']}" for row in samples))
    return hashed


@contextmanager
def _quiet() -> Iterator[None]:
    """Hides the harness's warnings, such as that the model is not given as a path; its prints go to standard error."""
    logger = logging.getLogger("lm_eval")
    level = logger.level
    logger.setLevel(logging.ERROR)
    try:
        with redirect_stdout(sys.stderr):
            yield
    finally:
        logger.setLevel(level)
