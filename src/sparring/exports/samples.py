"""All responses of a run as one Parquet file; none of its code is imported, nor its model loaded."""

from __future__ import annotations

from collections import ChainMap, defaultdict
from collections.abc import Iterable, Iterator, Mapping, MutableMapping, Sequence
from dataclasses import dataclass, field, replace
from itertools import chain
from pathlib import Path
from typing import Any, Literal, get_args

import pyarrow as pa
from pyarrow import parquet

from sparring.data import VERIFIERS, is_right, load
from sparring.errors import InputError
from sparring.examples import Example
from sparring.files import atomic_path
from sparring.policies import Drawn
from sparring.run_directory import RunDirectory
from sparring.run_files import read_manifest
from sparring.selfplay.config.schema import SelfPlayConfig
from sparring.selfplay.stages.verdicts import Verdicts, verdicts_of
from sparring.shards import (
    ResponseKey,
    SampleRow,
    Split,
    held_out_samples,
    held_out_scores,
    judgements_path,
    read_samples,
    read_scores,
    read_verdicts,
    samples_of,
    scores_of,
    teacher_samples,
)
from sparring.stage_directory import StageDirectory

LogProbs = MutableMapping[ResponseKey, dict[str, float]]
"""Log-probs of each response, by the folder of the scoring policy."""

Rows = list[dict[str, Any]]
"""Rows of the exported table."""

Written = Mapping[tuple[str, int], SampleRow]
"""A teacher's responses, by split and prompt index."""

Scored = tuple[str, str] | Literal["expert", "data"]
"""Held-out responses that are scored: the expert's, the data's, or a policy's, by decoding and folder."""

_FIX = "restore it from a copy, or remove its folder to go without all of them"

_FIELDS = {
    "split": pa.string(),
    "index": pa.int64(),
    "prompt": pa.string(),
    "messages": pa.list_(pa.struct([("role", pa.string()), ("content", pa.string())])),
    "expert": pa.string(),
    "ground_truth": pa.string(),
    "player": pa.string(),
    "decoding": pa.string(),
    "iteration": pa.int64(),
    "sample": pa.int64(),
    "response": pa.string(),
    "finish_reason": pa.string(),
    "tokens": pa.int64(),
    "right": pa.bool_(),
    "preference": pa.float64(),
}


def export_samples(run: Path, to: Path) -> int:
    """Writes every response of a run to a Parquet file, a row each, the experts' among them.

    | column | |
    |---|---|
    | `split`, `index` | "train" or "held-out", and the prompt's number in it |
    | `prompt`, `expert`, `ground_truth` | as text, where the data have them |
    | `messages` | of a chat, all turns up to the prompt: system, earlier ones, and the prompt itself |
    | `player` | the folder of the policy that answered, e.g. "iterations/001", or "expert", or "data" |
    | `decoding` | "sampled", "greedy", "mixture" where it mixed tokens with the base model's, "given" by the data |
    | `iteration` | of a training sample: the iteration that was trained on it, none for the reference's |
    | `sample`, `response`, `finish_reason`, `tokens` | which of the prompt's samples, and what it is |
    | `right` | the verifier's verdict |
    | `preference` | the judge's P(y ≻ the prompt's other samples of the iteration) |
    | `log_prob/<policy>` | log π(y|x) under each policy that scored it, nats |

    The implicit reward of iteration t is β times the difference of the log-probs of its policy and of its opponent.
    `finish_reason` and `tokens` of an expert's response are given where a teacher wrote it.

    Args:
        run: The run directory.
        to: The file to write.

    Returns:
        The number of rows.

    Raises:
        InputError: The folder is not a run, the file exists or is a part of the run, or the data have changed since.
    """
    directory = RunDirectory(run)
    directory.require()
    directory.refuse_own(to)
    if to.exists():
        raise InputError("the file exists already", where=str(to), fix="choose another, or remove it")
    stages = _stages(directory)
    for stage in stages.values():
        if stage.evaluation.exists():
            stage.check_inventory(fix=_FIX)
    config = SelfPlayConfig.of_run(directory.config)
    written = _written(directory)
    examples = _examples(config, directory)
    if config.data.teacher is not None:
        texts = {key: row["text"] for key, row in written.items()}
        examples = {key: replace(example, response=texts.get(key)) for key, example in examples.items()}
    verifier = None if config.data.verifier is None else VERIFIERS[config.data.verifier]()
    schema = pa.schema(_FIELDS | {f"log_prob/{name}": pa.float64() for name in stages})
    count = 0
    # Absolute, since pyarrow takes a relative path such as "s3:samples.parquet" for an address.
    with atomic_path(to) as partial, parquet.ParquetWriter(partial.absolute(), schema) as writer:
        for rows in _rows(directory, stages, written):
            # A prompt may have no expert's response.
            kept = [row for row in rows if row["player"] != "expert" or examples[_key(row)].response is not None]
            for row in kept:
                example = examples[_key(row)]
                row |= {"prompt": example.prompt, "messages": example.messages}
                row |= {"expert": example.response, "ground_truth": example.ground_truth}
                row.setdefault("response", example.response)
                row["right"] = is_right(verifier, row["response"], example.reference_answer)
            writer.write_table(pa.Table.from_pylist(kept, schema))
            count += len(kept)
    return count


def _key(row: Mapping[str, Any]) -> tuple[str, int]:
    return row["split"], row["index"]


def _stages(directory: RunDirectory) -> dict[str, StageDirectory]:
    """The folders of the policies, by name, in the order in which they were made."""
    known = (directory.base, directory.warmup, *directory.played(), *directory.controlled())
    stages = [stage for stage in known if stage.path.exists()]
    return {directory.name_of(stage): stage for stage in stages}


def _examples(config: SelfPlayConfig, directory: RunDirectory) -> dict[tuple[str, int], Example]:
    manifest = read_manifest(directory.manifest, "fingerprints.data", "data.needs")
    needs = {who: frozenset(parts) for who, parts in manifest["data"]["needs"].items()}
    data = load(config.data, config.seed, needs)
    if data.report.fingerprint != manifest["fingerprints"]["data"]:
        problem, fix = "the data changed after the run started, so its expert responses are unknown", "restore them"
        raise InputError(problem, where=config.data.title, fix=fix)
    splits = {"train": data.train, "held-out": data.held_out}
    return {(split, example.index): example for split, examples in splits.items() for example in examples}


def _written(directory: RunDirectory) -> Written:
    """A teacher's responses, which are not in the data; empty if the run has no teacher."""
    splits: tuple[Split, ...] = get_args(Split)
    return {
        (split, index): rows[0]
        for split in splits
        for index, rows in read_samples(teacher_samples(directory.teacher, split)).items()
    }


@dataclass(frozen=True, kw_only=True)
class _Shard:
    """A file of responses, with their log-probs and verdicts.

    Attributes:
        path: The file.
        split: As in the table.
        player: As in the table.
        decoding: As in the table.
        log_probs: The log-probs of all responses to the same prompts.
        iteration: The iteration that trained on them.
        verdicts: A judge's verdicts on them.
    """

    path: Path
    split: str
    player: str
    decoding: str
    log_probs: LogProbs
    iteration: int | None = None
    verdicts: Verdicts = field(default_factory=dict)


def _rows(directory: RunDirectory, stages: Mapping[str, StageDirectory], written: Written) -> Iterator[Rows]:
    """The rows of one shard after another, without the columns that come from the data; the experts' rows last."""
    experts: dict[tuple[str, int], dict[str, float]] = {}
    for shard in chain(_training(directory, stages), _held_out(directory, stages)):
        samples = read_samples([shard.path])
        for index in samples:
            experts.setdefault((shard.split, index), {}).update(shard.log_probs.get((index, None), {}))
        yield [row for index, of_prompt in samples.items() for row in _of_prompt(shard, index, of_prompt)]
    yield [
        {"split": key[0], "index": key[1], "player": "expert", **_length(written.get(key)), **_columns(log_probs)}
        for key, log_probs in experts.items()
    ]


def _of_prompt(shard: _Shard, index: int, samples: Sequence[SampleRow]) -> Iterator[dict[str, Any]]:
    rates: Sequence[float | None] = [None] * len(samples)
    if index in shard.verdicts:
        verdict = shard.verdicts[index]
        rates = verdict.win_rates(expert_plays=len(verdict.pairwise) > len(samples))[-len(samples) :]
    for sample, rate in zip(samples, rates, strict=True):
        yield {
            "split": shard.split,
            "index": index,
            "player": shard.player,
            "decoding": shard.decoding,
            "iteration": shard.iteration,
            "sample": sample["sample"],
            "response": sample["text"],
            "preference": rate,
            **_length(sample),
            **_columns(shard.log_probs.get((index, sample["sample"]), {})),
        }


def _length(sample: SampleRow | None) -> dict[str, Any]:
    if sample is None:
        return {}
    return {"finish_reason": sample["finish_reason"], "tokens": len(sample["response_ids"])}


def _columns(log_probs: Mapping[str, float]) -> dict[str, float]:
    return {f"log_prob/{policy}": value for policy, value in log_probs.items()}


def _training(directory: RunDirectory, stages: Mapping[str, StageDirectory]) -> Iterator[_Shard]:
    for name, stage in stages.items():
        for path, by in samples_of(stage).items():
            judged = judgements_path(stage, path)
            yield _Shard(
                path=path,
                split="train",
                player=by if isinstance(by, str) else directory.name(by.policy),
                decoding="given" if isinstance(by, str) else by.how,
                iteration=int(stage.path.name) if name.startswith("iterations") else None,
                log_probs=_log_probs(directory, scores_of(stage, path)),
                verdicts=verdicts_of(read_verdicts(judged)) if judged.exists() else {},
            )


def _held_out(directory: RunDirectory, stages: Mapping[str, StageDirectory]) -> Iterator[_Shard]:
    scored = _held_out_log_probs(directory, stages)
    for name, stage in stages.items():
        for path, how in held_out_samples(stage).items():
            yield _Shard(
                path=path,
                split="held-out",
                player=name,
                decoding=how,
                log_probs=ChainMap(scored["expert"], scored[how, name]),
            )


def _held_out_log_probs(directory: RunDirectory, stages: Mapping[str, StageDirectory]) -> defaultdict[Scored, LogProbs]:
    scored: defaultdict[Scored, LogProbs] = defaultdict(dict)
    for stage in stages.values():
        for path, by in held_out_scores(stage).items():
            whose: Scored = (by.how, directory.name(by.policy)) if isinstance(by, Drawn) else by
            for key, log_probs in _log_probs(directory, [path]).items():
                scored[whose].setdefault(key, {}).update(log_probs)
    return scored


def _log_probs(directory: RunDirectory, files: Iterable[Path]) -> LogProbs:
    log_probs: LogProbs = {}
    for file in files:
        for row in read_scores(file):
            scorer = directory.name(row["policy"])
            log_probs.setdefault((row["index"], row["sample"]), {})[scorer] = row["log_prob"]
    return log_probs
