"""The shards of a run: their names and their rows; `sparring.shard_files` writes and reads one.

A shard is one Parquet file, whole or absent. Nobody else writes or reads the name of one:

    samples/policy-0-sampled-00000.parquet              responses to training prompts, by who drew them
    samples/data-00000.parquet                          responses to training prompts that the data bring along
    samples/train-00000.parquet  held-out-00000.parquet a teacher's responses
    judgements/…                                        a judge's verdicts on the sample shard of the same name
    scores/policy-0-sampled-00000-under-base.parquet    log-probs of a sample shard under a policy
    scores/policy-0-sampled-00000-next-tokens-base.parquet   the likeliest next tokens at each token of a sample shard
    rewards/policy-0-sampled-00000.parquet              a sample shard's rewards, by an explicit reward player
    rewards/policy-0-sampled-00000-features.parquet     the features that these rewards were learnt from
    rewards/held-out-features.parquet                   the same features of responses to held-out prompts
    held_out/greedy-00000.parquet                       responses of the stage's policy to held-out prompts
    held_out/scores-base-greedy-00000.parquet           log-probs under the stage's policy, by who drew the responses
    held_out/scores-expert-00000.parquet                log-probs of the expert's responses
    held_out/scores-data-00000.parquet                  log-probs of the responses that the data compare
    held_out/judged-against-base-00000.parquet          a judge's verdicts: sample 0 of the policy against the base's
    held_out/answers-00000.parquet                      the responses that the report shows, token by token
    held_out/log-ratios-00000.parquet                   Δ of held-out responses to the iteration's opponent
    held_out/rewards-00000.parquet                      learnt rewards of the same responses
"""

from __future__ import annotations

import re
from collections.abc import Iterable
from pathlib import Path
from typing import Literal, NotRequired, TypedDict, cast, get_args

import numpy as np

from sparring.policies import BASE, CONTROL, TEACHER, Author, Drawn, How
from sparring.shard_files import read_columns
from sparring.stage_directory import StageDirectory

Split = Literal["train", "held-out"]
ResponseKey = tuple[int, int | None]
"""Names a response: the prompt's index and the number of the sample, which is None for the expert's response."""


class SampleRow(TypedDict):
    """A response as token ids and text; see `sparring.types.Sample`."""

    index: int
    sample: int
    prompt: str
    prompt_ids: list[int]
    response_ids: list[int]
    finish_reason: str
    text: str
    generator: str
    seed: int


class ScoreRow(TypedDict):
    """A policy's log π(y|x) of a response, nats; `digest` is of the prompt's and the response's tokens.

    `token_log_probs` are its terms, token by token: an array when computed, a list when read from a shard.
    """

    index: int
    sample: int | None
    policy: int
    log_prob: float
    digest: str
    token_log_probs: NotRequired[np.ndarray | list[float]]


class NextTokenRow(TypedDict):
    """The likeliest next tokens at each of the T tokens of a response; `digest` is of the prompt and response read.

    `ids` are T × n token ids, and `log_probs` T × (n + 1) numbers: of these tokens, and of all others together, nats.
    """

    index: int
    sample: int | None
    policy: int
    digest: str
    ids: np.ndarray
    log_probs: np.ndarray


class FeatureRow(TypedDict):
    """The features φ(x, y) of a response, `[F]`; `digest` is of its tokens."""

    index: int
    sample: int | None
    digest: str
    features: np.ndarray


class RewardRow(TypedDict):
    """The learnt reward D(x, y) of a response; `digest` is of all that D was learnt from."""

    index: int
    sample: int | None
    digest: str
    reward: float


class VerdictRow(TypedDict):
    """A judge's verdict on a prompt's responses; `digest` is of the question and of the judge."""

    index: int
    digest: str
    pairwise: list[list[float | None]]
    ties: int
    abstentions: int
    unparsable: int
    prompt_tokens: int
    completion_tokens: int
    cost: float


class AnswerRow(TypedDict):
    """A held-out response as the report shows it; see `sparring.selfplay.stages.answers`.

    `earlier` are the turns before the prompt; the column is left out where no prompt has any. `preference` is P(it
    beats the other responses to its prompt), of a response that the data compare; left out where they compare none.
    """

    kind: str
    index: int
    sample: int | None
    prompt: str
    text: str
    ends: np.ndarray
    log_ratios: np.ndarray
    log_prob: float | None
    finish_reason: str
    right: bool | None
    earlier: NotRequired[list[str]]
    preference: NotRequired[float | None]


class LogRatioRow(TypedDict):
    """Δ of the expert's response and of K generated ones to a held-out prompt, nats."""

    index: int
    expert: float
    generated: list[float]


def samples_path(stage: StageDirectory, author: Drawn | Literal["data"], number: int) -> Path:
    """Responses to training prompts that a policy drew, or that the data bring along."""
    return stage.samples / _file(_slug(author), number)


def samples_of(stage: StageDirectory) -> dict[Path, Drawn | Literal["data"]]:
    """Every shard of responses to training prompts, with their author."""
    return {path: _drawn(path) or "data" for path in _files(stage.samples, "*")}


def teacher_path(teacher: StageDirectory, split: Split, number: int) -> Path:
    """Responses that a teacher writes in the expert's place."""
    return teacher.samples / _file(split, number)


def teacher_samples(teacher: StageDirectory, split: Split) -> list[Path]:
    """Every shard of a teacher's responses to the prompts of a split."""
    return _files(teacher.samples, f"{split}-*")


def judgements_path(stage: StageDirectory, samples: Path) -> Path:
    """A judge's verdicts on the responses of a sample shard."""
    return stage.judgements / samples.name


def scores_path(stage: StageDirectory, samples: Path, policy: int) -> Path:
    """Log-probs of the responses of a sample shard, and of their prompts' experts, under a policy."""
    return stage.scores / f"{samples.stem}-under-{_policy_slug(policy)}.parquet"


def next_tokens_path(stage: StageDirectory, samples: Path, policy: int) -> Path:
    """The likeliest next tokens at each token of the responses of a sample shard, under a scoring policy."""
    return stage.scores / f"{samples.stem}-next-tokens-{_policy_slug(policy)}.parquet"


def scores_of(stage: StageDirectory, samples: Path) -> list[Path]:
    """Every shard of log-probs of the responses of a sample shard."""
    return _files(stage.scores, f"{samples.stem}-under-*")


def features_path(stage: StageDirectory, samples: Path) -> Path:
    """Features of the responses of a sample shard, and of their prompts' experts."""
    return stage.rewards / f"{samples.stem}-features.parquet"


def rewards_path(stage: StageDirectory, samples: Path) -> Path:
    """Rewards of the responses of a sample shard, and of their prompts' experts, by an explicit reward player."""
    return stage.rewards / samples.name


def held_out_features_path(stage: StageDirectory) -> Path:
    """Features of the held-out responses that the iteration's objective reads."""
    return stage.rewards / "held-out-features.parquet"


def held_out_rewards_path(stage: StageDirectory) -> Path:
    """Learnt rewards of the held-out responses that the iteration's objective reads."""
    return stage.held_out / _file("rewards", 0)


def held_out_path(stage: StageDirectory, how: How, number: int) -> Path:
    """Responses of the stage's policy to held-out prompts."""
    return stage.held_out / _file(how, number)


def held_out_samples(stage: StageDirectory) -> dict[Path, How]:
    """Every shard of responses of the stage's policy to held-out prompts, with how it drew them."""
    return {path: how for how in get_args(How) for path in _files(stage.held_out, f"{how}-*")}


def held_out_scores_path(stage: StageDirectory, author: Author, number: int) -> Path:
    """Log-probs of an author's responses to held-out prompts under the stage's policy."""
    return stage.held_out / _file(f"scores-{_slug(author)}", number)


def held_out_scores(stage: StageDirectory) -> dict[Path, Author]:
    """Every shard of log-probs of responses to held-out prompts, with the author of the responses."""
    found: dict[Path, Author] = {}
    for path in _files(stage.held_out, "scores-*"):
        found[path] = _drawn(path) or ("data" if path.stem.startswith("scores-data-") else "expert")
    return found


def held_out_verdicts_path(stage: StageDirectory, rival: int, sample: int) -> Path:
    """A judge's verdicts on sample `sample` of the stage's policy against a rival's, for every held-out prompt."""
    return stage.held_out / _file(f"judged-against-{_policy_slug(rival)}", sample)


def answers_path(stage: StageDirectory) -> Path:
    """The held-out responses that the report shows."""
    return stage.held_out / _file("answers", 0)


def log_ratios_path(stage: StageDirectory) -> Path:
    """Log ratios of the policy to the iteration's opponent, of responses to the held-out prompts."""
    return stage.held_out / _file("log-ratios", 0)


def read_samples(paths: Iterable[Path]) -> dict[int, list[SampleRow]]:
    """The rows of some sample shards by prompt index, each prompt's in order of sample; raises as `read_columns`."""
    samples: dict[int, list[SampleRow]] = {}
    for path in paths:
        for row in cast("list[SampleRow]", read_columns(path, SampleRow).to_pylist()):
            samples.setdefault(row["index"], []).append(row)
    return {index: sorted(rows, key=lambda row: row["sample"]) for index, rows in samples.items()}


def read_scores(path: Path) -> list[ScoreRow]:
    """The rows of a shard of log-probs; raises what `read_columns` does."""
    return cast("list[ScoreRow]", read_columns(path, ScoreRow).to_pylist())


def read_next_tokens(path: Path) -> list[NextTokenRow]:
    """The rows of a shard of next tokens, their lists as arrays; raises what `read_columns` does."""
    table = read_columns(path, NextTokenRow)
    arrays = {"ids": np.int32, "log_probs": np.float32}
    rows = table.drop_columns(list(arrays)).to_pylist()
    for name, dtype in arrays.items():
        for row, value in zip(rows, table.column(name), strict=True):
            # As arrays, not as Python's numbers, of which there may be millions.
            row[name] = np.array(value.values, dtype=dtype)
    return cast("list[NextTokenRow]", rows)


def read_features(path: Path) -> dict[ResponseKey, tuple[str, np.ndarray]]:
    """The digests and the features of a shard, by response; raises what `read_columns` does."""
    table = read_columns(path, FeatureRow)
    keys = zip(*(table.column(name).to_pylist() for name in ("index", "sample")), strict=True)
    digests, features = table.column("digest").to_pylist(), table.column("features").combine_chunks()
    values = features.flatten().to_numpy(zero_copy_only=False).reshape(len(table), -1)
    return dict(zip(keys, zip(digests, values, strict=True), strict=True))


def read_rewards(path: Path) -> list[RewardRow]:
    """The rows of a shard of rewards; raises what `read_columns` does."""
    return cast("list[RewardRow]", read_columns(path, RewardRow).to_pylist())


def read_verdicts(path: Path) -> list[VerdictRow]:
    """The rows of a shard of verdicts; raises what `read_columns` does."""
    return cast("list[VerdictRow]", read_columns(path, VerdictRow).to_pylist())


_POLICY = {BASE: "base", TEACHER: "teacher"}
_NUMBERS = {slug: number for number, slug in _POLICY.items()}
_DRAWN = re.compile(rf"(?:scores-)?(base|teacher|(?:policy|control)-\d+)-({'|'.join(get_args(How))})-\d{{5,}}")


def _policy_slug(policy: int) -> str:
    return _POLICY.get(policy, f"policy-{policy}" if policy > CONTROL else f"control-{CONTROL - policy}")


def _slug(author: Author) -> str:
    return author if isinstance(author, str) else f"{_policy_slug(author.policy)}-{author.how}"


def _drawn(path: Path) -> Drawn | None:
    """Who drew the responses that a shard holds or scores; None where no policy did."""
    match = _DRAWN.fullmatch(path.stem)
    if match is None:
        return None
    slug, how = match.groups()
    if slug in _NUMBERS:
        return Drawn(_NUMBERS[slug], cast("How", how))
    kind, number = slug.split("-")
    return Drawn(int(number) if kind == "policy" else CONTROL - int(number), cast("How", how))


def _file(slug: str, number: int) -> str:
    return f"{slug}-{number:05d}.parquet"


def _files(folder: Path, pattern: str) -> list[Path]:
    return sorted(folder.glob(f"{pattern}.parquet"))
