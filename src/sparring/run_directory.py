"""The run directory: plain files, each either whole or absent, so that what is on disk is what is done.

    RUN/config.yaml  manifest.json              resolved configuration; versions, seeds, fingerprints, hardware
    RUN/metrics.jsonl                           one JSON object a log event
    RUN/teacher/samples/*.parquet               the expert's responses, where a teacher writes them
    RUN/teacher/held_out/*.parquet              its log-probs of them, and of every policy's, on the held-out set
    RUN/base/evaluation.json                    the base model on the held-out set
    RUN/base/held_out/*.parquet                 its responses, their log-probs, and both token by token for a reader
    RUN/warmup/model/  evaluation.json          after supervised fine-tuning, where there is a warm-up
    RUN/iterations/000/samples/*.parquet        generated responses, a shard a batch
    RUN/iterations/000/judgements/*.parquet     who beats whom among them, where there is a judge
    RUN/iterations/000/scores/*.parquet         their log-probs under each policy that the opponent needs
    RUN/iterations/000/rewards/*.parquet        what an explicit reward player made of them, where a judge has one
    RUN/iterations/000/model/                   the iterate, loadable with from_pretrained
    RUN/iterations/000/evaluation.json          shards.json: what shards the stage had; in base/ and warmup/ too
    RUN/iterations/000/removed.json             what of it was removed since, where `keep` says so
    RUN/iterations/000/benchmarks/              what `sparring evaluate` measured; in base/ and warmup/ too
    RUN/control/000/                            likewise of more supervised fine-tuning, where there is a control
    RUN/answers/                                what an endpoint that judges said, by what it was asked
    RUN/tensorboard/                            the trainings' curves, where `report_to` asks for them
    RUN/stability.json                          what the checks of the stability monitor found after each iteration
    RUN/result.json  report.html                the best iterate and why the run ended; the report
    RUN/.lock                                   is locked by the process that plays the run

All of it is folders and plain files: a link, which could lead out of the run, is refused; see `sparring.links`.

`sparring.policies` says how policies are numbered, `sparring.shards` what the shards are called and hold.
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
        """Raises InputError unless a run was started here, in which nothing leads out of it."""
        if not self.is_begun():
            problem = "this is not a run directory: config.yaml or manifest.json is missing"
            raise InputError(
                problem, where=str(self.path), fix=self._near_by() or "start a run with `sparring train CONFIG`"
            )
        self.refuse_links()

    def _near_by(self) -> str | None:
        """The run beside it whose name is most like its own, as a question; None where none is like it."""
        parent = self.path.parent
        beside = [path.name for path in parent.iterdir() if RunDirectory(path).is_begun()] if parent.is_dir() else []
        near = nearest(self.path.name, beside)
        return f"did you mean '{parent / near}'?" if near else None

    def refuse_links(self) -> None:
        """Raises InputError where something of the run is a link or no plain file; see `sparring.links`.

        What a person put beside it is theirs: it is neither read nor removed.
        """
        refuse_links(*self._parts, self.report)

    def refuse_own(self, path: Path) -> None:
        """Raises InputError where something that a person has written would take the place of a part of the run."""
        if any(path.resolve().is_relative_to(own.resolve()) for own in self._parts):
            raise InputError("this is a part of the run itself", where=str(path), fix="write it elsewhere")

    @property
    def _parts(self) -> tuple[Path, ...]:
        """All that a run is made of, but its report, which may be written anew at any time."""
        files = (self.config, self.manifest, self.metrics, self.stability, self.result, self.lock)
        stages = (self.teacher.path, self.base.path, self.warmup.path, self.iterations, self.controls)
        return (*files, *stages, self.answers, self.tensorboard)

    @contextmanager
    def held(self) -> Iterator[None]:
        """Keeps every other process from playing in this folder meanwhile."""
        try:
            with lock(self.lock, wait=False):
                yield
        except BlockingIOError as error:
            raise InputError(
                "another process is playing this run", where=str(self.path), fix="wait for it, or stop it first"
            ) from error

    @property
    def lock(self) -> Path:
        """What the process that plays the run locks."""
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
        """What would be needed to do it again."""
        return self.path / "manifest.json"

    @property
    def metrics(self) -> Path:
        """The logged events."""
        return self.path / "metrics.jsonl"

    @property
    def result(self) -> Path:
        """The best iterate and why the run ended; there exactly when it ended."""
        return self.path / "result.json"

    @property
    def stability(self) -> Path:
        """What the stability monitor found, iteration by iteration."""
        return self.path / "stability.json"

    @property
    def report(self) -> Path:
        """The report."""
        return self.path / "report.html"

    @property
    def tensorboard(self) -> Path:
        """TensorBoard's files, where it is reported to."""
        return self.path / "tensorboard"

    @property
    def answers(self) -> Path:
        """Answers of a judge that were paid for."""
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
        """Where a policy was made and is measured."""
        if policy <= CONTROL:
            return self.control(CONTROL - policy)
        if policy > 0:
            return self.iteration(policy - 1)
        if policy == TEACHER:
            return self.teacher
        return self.warmup if policy == 0 and self.warmup.model.exists() else self.base

    def name(self, policy: int) -> str:
        """What the folder of a policy is called in the run, e.g. "iterations/001"."""
        return self.name_of(self.stage(policy))

    def name_of(self, stage: StageDirectory) -> str:
        """What one of its folders is called in the run, likewise."""
        return str(stage.path.relative_to(self.path))

    def weights(self, policy: int) -> Path | None:
        """A policy's saved weights; None for the base model, which policy 0 also is when there is no warm-up.

        Also for the teacher, who trains nothing here.
        """
        stage = self.stage(policy)
        return None if stage in {self.base, self.teacher} else stage.model

    def stages(self) -> list[StageDirectory]:
        """The base model's folder, and those of the policies that were trained so far, in their order."""
        trained = [self.warmup, *self.played(), *self.controlled()]
        return [self.base, *(stage for stage in trained if stage.model.exists())]

    def played(self) -> list[StageDirectory]:
        """The folders of the iterations that were begun so far, in their order."""
        return list(map(self.iteration, _numbers(self.iterations)))

    def controlled(self) -> list[StageDirectory]:
        """The folders of the control's policies that were begun so far, in their order."""
        return list(map(self.control, _numbers(self.controls)))

    def removed(self, what: Literal["model", "samples"]) -> list[str]:
        """The folders in the run of iterations whose weights or samples were removed on purpose."""
        return [self.name_of(stage) for stage in self.played() if what in stage.removed()]

    def log(self, event: Mapping[str, Any]) -> None:
        """Appends one event to metrics.jsonl, with its digest."""
        append_json_line(self.metrics, sealed_event(event))

    def log_lines(self) -> int:
        """How many lines the log has."""
        return count_lines(self.metrics)

    def events(self) -> list[dict[str, Any]]:
        """The logged events, one a step: one that was logged again after a resume is there once, as last logged.

        The summary that ends a training stage is logged at its last step too, so it joins that step's values. Damaged
        lines are left out, and that is said, as is a log that lost lines.
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
        """How many lines the log had at least, by what was written after them."""
        folders = ("warmup", "iterations/*", "control/*"), ("model", "training/checkpoint-*")
        patterns = [f"{stage}/{folder}/{DIGESTS}" for stage, folder in itertools.product(*folders)]
        sealed = [path for pattern in patterns for path in self.path.glob(pattern)]
        return max(map(read_log_lines, [*sealed, self.result]))


def _numbers(folder: Path) -> list[int]:
    """The numbers that the folders in a folder are named by, ascending."""
    return sorted(int(path.name) for path in folder.glob("[0-9]*") if _NUMBER.fullmatch(path.name))
