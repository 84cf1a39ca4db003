"""Reward: an explicit reward player learns from an iteration's samples, and rewards each response."""

from __future__ import annotations

import hashlib
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import torch

from sparring.errors import RunError
from sparring.judges import Learned, Lesson, RewardPlayer
from sparring.logprobs import response_features
from sparring.progress import console
from sparring.selfplay.run import Run
from sparring.selfplay.stages.held_out import held_out_responses
from sparring.selfplay.stages.score import OVERFLOW_CURE, Responses, by_prompt, responses_of, tokens_digest
from sparring.shard_files import remove_damaged, write_shard
from sparring.shards import (
    FeatureRow,
    ResponseKey,
    features_path,
    held_out_features_path,
    held_out_rewards_path,
    read_features,
    read_rewards,
    rewards_path,
)
from sparring.work import processes
from sparring.work.fill import Work
from sparring.work.job import Rows

Features = Mapping[ResponseKey, np.ndarray]
"""The features φ(x, y) `[F]` of each response."""


def learn_rewards(run: Run, iteration: int, shards: Sequence[Path]) -> None:
    """Trains the phase's reward player on the samples, and writes its reward of each response.

    It learns from the prompts that have an expert's response, and rewards the responses to all training prompts and to
    the held-out prompts of `held_out_turns`. The features are those of the policy that the iteration starts from.
    """
    player = run.phase(iteration).reward_player
    if player is None:
        return
    stage = run.directory.iteration(iteration)
    experts = {item.index: item.expert_ids for item in run.prompts(iteration) if item.expert_ids}
    trained = {shard: responses_of(shard, experts) for shard in shards}
    unseen = held_out_responses(run, iteration)
    played = {features_path(stage, shard): part for shard, part in trained.items()}
    of_unseen = held_out_features_path(stage)
    parts = played | {of_unseen: unseen} if unseen else played
    lengths = {key: len(answer) for part in parts.values() for key, (_, answer) in part.items()}
    run.fill(
        Featuring(iteration),
        Work(
            pieces={(path,): part for path, part in parts.items()},
            missing=lambda path: not _is_of(path, parts[path]),
            tokens=lambda rows: sum(lengths[row["index"], row["sample"]] for row in rows),
            title=f"iteration {iteration}: read features",
        ),
    )
    written = {rewards_path(stage, shard): features_path(stage, shard) for shard in shards}
    if unseen:
        written |= {held_out_rewards_path(stage): of_unseen}
    processes.on_main(lambda: _learn(run, iteration, player, _Material(played, parts, written)))
    processes.wait_for_files(list(written))


@dataclass(frozen=True)
class Featuring:
    """The job that computes the features of responses from a policy's predictions.

    Attributes:
        policy: The policy's number.
    """

    policy: int

    @contextmanager
    def open(self, run: Run) -> Iterator[Callable[[Responses], list[Rows]]]:
        """Loads the policy, and yields the function from responses to the rows of their shard."""
        run.activate(self.policy)
        run.policy.model.eval()
        with run.policy.forward_dtype(), torch.no_grad():
            yield lambda responses: [_feature_rows(run, responses)]

    def origin(self, run: Run) -> dict[str, Any]:
        """See `Job`."""
        return run.origin(self.policy) | {"work": "features", "policy": self.policy}


def _feature_rows(run: Run, responses: Responses) -> list[FeatureRow]:
    groups = list(by_prompt(responses).values())
    values = response_features(
        run.policy.model,
        [responses[keys[0]][0] for keys in groups],
        [[responses[key][1] for key in keys] for keys in groups],
    )
    return [
        _feature_row(key, features, tokens_digest(*responses[key]))
        for keys, of_prompt in zip(groups, values, strict=True)
        for key, features in zip(keys, of_prompt, strict=True)
    ]


def _feature_row(key: ResponseKey, features: torch.Tensor, digest: str) -> FeatureRow:
    if not bool(features.isfinite().all()):
        raise RunError(
            f"the features of a response to the prompt of row {key[0]} are not finite: its logits overflow there\n"
            f"  fix: {OVERFLOW_CURE}"
        )
    return {"index": key[0], "sample": key[1], "digest": digest, "features": features.numpy(force=True)}


def _is_of(path: Path, responses: Responses) -> bool:
    """Whether a shard has the features of exactly these responses."""
    stored = read_features(path) if path.exists() else {}
    found = {key: digest for key, (digest, _) in stored.items()}
    return found == {key: tokens_digest(*tokens) for key, tokens in responses.items()}


@dataclass(frozen=True)
class _Material:
    """The responses to learn from and to reward.

    Attributes:
        played: The responses to training prompts, by the shard of their features.
        every: The responses to training and to held-out prompts, by the shard of their features.
        written: The shard of features of each shard of rewards.
    """

    played: Mapping[Path, Responses]
    every: Mapping[Path, Responses]
    written: Mapping[Path, Path]


def _learn(run: Run, iteration: int, player: RewardPlayer, material: _Material) -> None:
    features = {path: {key: value for key, (_, value) in read_features(path).items()} for path in material.every}
    digest = _digest(player, features)
    for path in material.written:
        remove_damaged(path)
    if all(path.exists() and {row["digest"] for row in read_rewards(path)} == {digest} for path in material.written):
        return
    lessons = [lesson for path, part in material.played.items() for lesson in _lessons(part, features[path])]
    learned = player.learn(lessons)
    _tell(run, iteration, learned, prompts=len(lessons))
    for path, source in material.written.items():
        rewards = _rewards(learned, material.every[source], features[source])
        write_shard(path, [{"index": i, "sample": k, "digest": digest, "reward": r} for (i, k), r in rewards.items()])


def _lessons(responses: Responses, features: Features) -> Iterator[Lesson]:
    for index, keys in by_prompt(responses).items():
        generated = [key for key in keys if key[1] is not None]
        expert = responses.get((index, None))
        yield Lesson(
            prompt=_name(responses, keys),
            generated=np.stack([features[key] for key in generated]),
            expert=features.get((index, None)),
            told_apart=[expert is not None and list(responses[key][1]) != list(expert[1]) for key in generated],
        )


def _rewards(learned: Learned, responses: Responses, features: Features) -> dict[ResponseKey, float]:
    rewards: dict[ResponseKey, float] = {}
    for keys in by_prompt(responses).values():
        values = learned.rewards(_name(responses, keys), np.stack([features[key] for key in keys]))
        rewards |= dict(zip(keys, values.tolist(), strict=True))
    return rewards


def _name(responses: Responses, keys: Sequence[ResponseKey]) -> str:
    """The prompt's name: its tokens, since two rows with the same prompt must be in the same fold."""
    return str(list(responses[keys[0]][0]))


def _digest(player: RewardPlayer, features: Mapping[Path, Features]) -> str:
    digest = hashlib.sha256(repr(player).encode())
    for part in features.values():
        for key, value in part.items():
            digest.update(f"{key}".encode() + np.ascontiguousarray(value).tobytes())
    return digest.hexdigest()[:16]


def _tell(run: Run, iteration: int, learned: Learned, *, prompts: int) -> None:
    known = {"reward/accuracy": learned.accuracy, "reward/log_loss": learned.log_loss} if learned.pairs else {}
    counts = {"reward/pairs": learned.pairs, "reward/experts": len(learned.fold_of), "reward/prompts": prompts}
    run.log({"stage": "reward", "iteration": iteration, **counts, **known})
    text = "has nothing to learn from: every generated response is the expert's own, and so all tie"
    if learned.accuracy is not None:
        text = (
            f"learnt from {learned.pairs} pairs, with experts on {len(learned.fold_of)} of {prompts} prompts; it takes "
            f"the right one for the expert's in {learned.accuracy:.0%} of pairs that it had not seen"
        )
    console.print(f"iteration {iteration}: the reward player {text}")
