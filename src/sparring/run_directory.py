"""The run directory: plain files, each either whole or absent, so the files on the disk tell which work is done.

    RUN/config.yaml  manifest.json              resolved configuration; versions, seeds, fingerprints, hardware
    RUN/metrics.jsonl                           one JSON object a log event
    RUN/teacher/samples/*.parquet               the expert's responses, where a teacher writes them
    RUN/teacher/held_out/*.parquet              its log-probs of its own and every policy's held-out responses
    RUN/base/evaluation.json                    the base model's estimates on the held-out set
    RUN/base/held_out/*.parquet                 its held-out responses, their log-probs, and both as the report shows
    RUN/warmup/model/  evaluation.json          the policy after supervised fine-tuning, where there is a warm-up
    RUN/iterations/000/samples/*.parquet        generated responses, a shard a batch
    RUN/iterations/000/judgements/*.parquet     a judge's verdicts on them, where there is a judge
    RUN/iterations/000/scores/*.parquet         their log-probs under each policy that the opponent needs
    RUN/iterations/000/rewards/*.parquet        their learnt rewards, where the judge is an explicit reward player
    RUN/iterations/000/model/                   the trained policy, loadable with from_pretrained
    RUN/iterations/000/evaluation.json          its estimates; beside it shards.json, the names of the stage's shards
    RUN/iterations/000/removed.json             the names of folders that were removed since, as `keep` has it
    RUN/iterations/000/benchmarks/              results of `sparring evaluate`; in base/ and warmup/ too
    RUN/control/000/                            the same of more supervised fine-tuning, where there is a control
    RUN/answers/                                replies of endpoints that judge, by question
    RUN/tensorboard/                            the trainings' curves, where `report_to` asks for them
    RUN/stability.json                          what the checks of the stability monitor found after each iteration
    RUN/result.json  report.html                the best policy and why the run ended; the report
    RUN/.lock                                   the lock of the process that plays the run

All of it is folders and plain files: a link, which could lead out of the run, is refused; see `sparring.links`.

`sparring.policies` tells how policies are numbered, `sparring.shards` how shards are named and what they hold.
"""

from __future__ import annotations

import hashlib
import itertools
import re
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Literal

from sparring.errors import InputError, nearest
from sparring.files import append_json_line, lock
from sparring.integrity import DIGESTS
from sparring.links import refuse_links
from sparring.policies import CONTROL, TEACHER
from sparring.progress import console
from sparring.run_files import count_lines, read_events, read_log_lines, sealed_event
from sparring.stage_directory import StageDirectory

_NUMBER = re.compile(r"[0-9]{3,9}")


@dataclass(frozen=True)
class RunDirectory:
    """A run's folder; see the module for its layout.

    Attributes:
        path: The folder.
    """

    path: Path

    def is_begun(self) -> bool:
        """Whether a run was started here."""
        return self.config.exists() and self.manifest.exists()

    def require(self) -> None:
        """Raises InputError unless a run was started here, and no link leads out of it."""
        if not self.is_begun():
            problem = "this is not a run directory: config.yaml or manifest.json is missing"
            raise InputError(
                problem, where=str(self.path), fix=self._near_by() or "start a run with `sparring train CONFIG`"
            )
        self.refuse_links()

    def _near_by(self) -> str | None:
        """The run with the most similar name in the same folder, as a question; None without a similar one."""
        parent = self.path.parent
        beside = [path.name for path in parent.iterdir() if RunDirectory(path).is_begun()] if parent.is_dir() else []
        near = nearest(self.path.name, beside)
        return f"did you mean '{parent / near}'?" if near else None

    def refuse_links(self) -> None:
        """Raises InputError where a part of the run is a link or no plain file; see `sparring.links`.

        Other files that a person put into the folder are ignored: they are neither read nor removed.
        """
        refuse_links(*self._parts, self.report)

    def refuse_own(self, path: Path) -> None:
        """Raises InputError where a file or folder of a person has the name of a part of the run."""
        if any(path.resolve().is_relative_to(own.resolve()) for own in self._parts):
            raise InputError("this is a part of the run itself", where=str(path), fix="write it elsewhere")

    @property
    def _parts(self) -> tuple[Path, ...]:
        """All parts of a run but its report, which may be written again at any time."""
        files = (self.config, self.manifest, self.metrics, self.stability, self.result, self.lock)
        stages = (self.teacher.path, self.base.path, self.warmup.path, self.iterations, self.controls)
        return (*files, *stages, self.answers, self.tensorboard)

    @contextmanager
    def held(self) -> Iterator[None]:
        """While it is open, no other process can play in this folder."""
        try:
            with lock(self.lock, wait=False):
                yield
        except BlockingIOError as error:
            raise InputError(
                "another process is playing this run", where=str(self.path), fix="wait for it, or stop it first"
            ) from error

    @property
    def lock(self) -> Path:
        """The file that the process which plays the run locks."""
        return self.path / ".lock"

    @property
    def config(self) -> Path:
        """The resolved configuration."""
        return self.path / "config.yaml"

    def config_digest(self) -> str:
        """A sha256 of the configuration's bytes, which the manifest keeps."""
        return hashlib.sha256(self.config.read_bytes()).hexdigest()

    @property
    def manifest(self) -> Path:
        """The facts that are needed to repeat the run: versions, seeds, fingerprints, hardware."""
        return self.path / "manifest.json"

    @property
    def metrics(self) -> Path:
        """The logged events."""
        return self.path / "metrics.jsonl"

    @property
    def result(self) -> Path:
        """The best policy and why the run ended; the file exists exactly when the run has ended."""
        return self.path / "result.json"

    @property
    def stability(self) -> Path:
        """The findings of the stability monitor, iteration by iteration."""
        return self.path / "stability.json"

    @property
    def report(self) -> Path:
        """The report."""
        return self.path / "report.html"

    @property
    def tensorboard(self) -> Path:
        """TensorBoard's files, where `report_to` names it."""
        return self.path / "tensorboard"

    @property
    def answers(self) -> Path:
        """The replies of endpoints that judge, kept so that none is paid for twice."""
        return self.path / "answers"

    @property
    def teacher(self) -> StageDirectory:
        """The teacher's folder."""
        return StageDirectory(self.path / "teacher")

    @property
    def base(self) -> StageDirectory:
        """The base model's folder."""
        return StageDirectory(self.path / "base")

    @property
    def warmup(self) -> StageDirectory:
        """The warm-up's folder."""
        return StageDirectory(self.path / "warmup")

    @property
    def iterations(self) -> Path:
        """The folders of the iterations."""
        return self.path / "iterations"

    def iteration(self, number: int) -> StageDirectory:
        """The folder of iteration `number`, counted from 0."""
        return StageDirectory(self.iterations / f"{number:03d}")

    @property
    def controls(self) -> Path:
        """The folder of the policies of the control."""
        return self.path / "control"

    def control(self, number: int) -> StageDirectory:
        """The folder of policy `number` of the control, counted from 0."""
        return StageDirectory(self.controls / f"{number:03d}")

    def stage(self, policy: int) -> StageDirectory:
        """The folder of the stage that made a policy and measures it."""
        if policy <= CONTROL:
            return self.control(CONTROL - policy)
        if policy > 0:
            return self.iteration(policy - 1)
        if policy == TEACHER:
            return self.teacher
        return self.warmup if policy == 0 and self.warmup.model.exists() else self.base

    def name(self, policy: int) -> str:
        """The path of a policy's folder within the run, e.g. "iterations/001"."""
        return self.name_of(self.stage(policy))

    def name_of(self, stage: StageDirectory) -> str:
        """The path of one of its folders within the run."""
        return str(stage.path.relative_to(self.path))

    def weights(self, policy: int) -> Path | None:
        """A policy's saved weights; None for the base model (without a warm-up also policy 0) and for the teacher."""
        stage = self.stage(policy)
        return None if stage in {self.base, self.teacher} else stage.model

    def stages(self) -> list[StageDirectory]:
        """The folders of the base model and of the policies that were trained so far, in their order."""
        trained = [self.warmup, *self.played(), *self.controlled()]
        return [self.base, *(stage for stage in trained if stage.model.exists())]

    def played(self) -> list[StageDirectory]:
        """The folders of the iterations that were begun so far, in their order."""
        return list(map(self.iteration, _numbers(self.iterations)))

    def controlled(self) -> list[StageDirectory]:
        """The folders of the control's policies that were begun so far, in their order."""
        return list(map(self.control, _numbers(self.controls)))

    def removed(self, what: Literal["model", "samples"]) -> list[str]:
        """The paths, within the run, of the iterations whose weights or samples were removed on purpose."""
        return [self.name_of(stage) for stage in self.played() if what in stage.removed()]

    def log(self, event: Mapping[str, Any]) -> None:
        """Appends one event to metrics.jsonl, with its digest."""
        append_json_line(self.metrics, sealed_event(event))

    def log_lines(self) -> int:
        """The number of lines of the log."""
        return count_lines(self.metrics)

    def events(self) -> list[dict[str, Any]]:
        """The logged events, one a step: of an event that was logged again after a resume, only the last.

        The summary at the end of a training stage is logged at its last step too, so it joins that step's values.
        Damaged lines are left out with a warning; a log that lost lines gets one too.
        """
        latest: dict[tuple[Any, ...], dict[str, Any]] = {}
        for number, event in enumerate(self._whole_events()):
            # Times, and what was reused, are parts of a whole, so all of them count.
            key = (number,) if "kind" in event else tuple(map(event.get, ("stage", "iteration", "step")))
            latest[key] = latest.get(key, {}) | event
        return list(latest.values())

    def _whole_events(self) -> list[dict[str, Any]]:
        read = read_events(self.metrics)
        damaged = [number for number, event in enumerate(read, 1) if event is None]
        told = f"{self.metrics}: the report and the stability monitor go without the rest of what was logged: "
        if damaged:
            console.print(f"{told}{len(damaged)} lines are damaged, the first is line {damaged[0]}")
        lost = self._logged() - len(read)
        if lost > 0:
            console.print(f"{told}{lost} lines are missing")
        return [event for event in read if event is not None]

    def _logged(self) -> int:
        """The number of lines that the log had at least, as files tell that were written after them."""
        folders = ("warmup", "iterations/*", "control/*"), ("model", "training/checkpoint-*")
        patterns = [f"{stage}/{folder}/{DIGESTS}" for stage, folder in itertools.product(*folders)]
        sealed = [path for pattern in patterns for path in self.path.glob(pattern)]
        return max(map(read_log_lines, [*sealed, self.result]))


def _numbers(folder: Path) -> list[int]:
    """The numbers that are the names of the folders in a folder, ascending."""
    return sorted(int(path.name) for path in folder.glob("[0-9]*") if _NUMBER.fullmatch(path.name))
