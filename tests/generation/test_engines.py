"""What every engine's answers must be before training takes them for the policy's own."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

import pytest

from sparring.errors import RunError
from sparring.examples import EncodedExample
from sparring.generation import generation_config
from sparring.generation.engines import EngineGenerator
from sparring.generation.protocol import Completion, Request
from sparring.generation.weights import Weights
from sparring.models import ModelConfig
from sparring.selfplay.policy import Policy
from tiny import tiny_tokenizer
from tiny_engine import TinyEngine

PROMPTS = [
    EncodedExample(index=10 + n, prompt_ids=[1] * length, expert_ids=[5, 2], prompt="", response="")
    for n, length in enumerate((3, 6, 4))
]


class Engine:
    """Answers from a list, and keeps what it was asked."""

    name = "scripted"

    def __init__(self, *answers: Completion) -> None:
        self.answers = list(answers)
        self.asked: list[Request] = []
        self.weights: list[Weights] = []

    def check(self) -> None:
        return

    def complete(self, requests: Sequence[Request], weights: Weights) -> list[list[Completion]]:
        self.asked += requests
        self.weights.append(weights)
        return [self.answers[: each.samples] for each in requests]


Build = Callable[..., EngineGenerator]


@pytest.fixture(scope="module")
def policy(tiny_folder: Path) -> Policy:
    return Policy(ModelConfig(name=str(tiny_folder), device="cpu"), tiny_tokenizer(), lora=None, seed=0)


@pytest.fixture
def build(policy: Policy) -> Build:
    def make(engine: Engine, **settings: Any) -> EngineGenerator:
        parts = {"tokenizer": policy.tokenizer, "stop_ids": (7, 2), "max_new_tokens": 4}
        return EngineGenerator(generation_config(**settings), engine=engine, policy=policy, **parts)

    return make


STOPPED = Completion(ids=[40, 41, 7], finish_reason="stop")
CUT = Completion(ids=[40, 41, 42, 43], finish_reason="length")


def test_answers_become_samples_with_their_end_token(build: Build) -> None:
    tokenizer = tiny_tokenizer()
    samples = build(Engine(STOPPED, CUT), samples_per_prompt=2).sample(PROMPTS[:2], seed=9)
    assert [(each.index, each.sample, each.finish_reason) for each in samples] == [
        (10, 0, "stop"),
        (10, 1, "length"),
        (11, 0, "stop"),
        (11, 1, "length"),
    ]
    assert samples[0].response_ids == [40, 41, 7]
    assert samples[0].text == tokenizer.decode([40, 41])
    assert samples[1].text == tokenizer.decode([40, 41, 42, 43])
    assert {(each.seed, each.generator) for each in samples} == {(9, "scripted")}


def test_settings_and_seeds_reach_the_engine(build: Build) -> None:
    engine = Engine(CUT)
    generator = build(engine, temperature=0.7, top_p=0.9, top_k=5)
    generator.sample(PROMPTS, seed=1)
    first = engine.asked[0]
    assert (first.temperature, first.top_p, first.top_k, first.stop_ids, first.max_new_tokens) == (
        0.7,
        0.9,
        5,
        (2, 7),
        4,
    )
    assert len({each.seed for each in engine.asked}) == 3
    generator.sample(PROMPTS[1:2], seed=1)
    assert engine.asked[3] == engine.asked[1]
    generator.sample(PROMPTS[1:2], seed=2)
    assert engine.asked[4].seed != engine.asked[1].seed


def test_greedy_is_temperature_zero(build: Build) -> None:
    engine = Engine(CUT)
    build(engine, **generation_config(temperature=0.3, top_p=0.5).greedy().model_dump()).sample(PROMPTS, seed=0)
    assert {(each.temperature, each.top_p, each.top_k, each.samples) for each in engine.asked} == {(0.0, 1.0, 0, 1)}


def test_the_policy_is_scored_once_for_all_batches(build: Build, tiny_folder: Path) -> None:
    engine = Engine(CUT)
    generator = build(engine)
    for prompt in PROMPTS:
        generator.sample([prompt], seed=0)
    weights = engine.weights[0]
    assert all(each is weights for each in engine.weights)
    assert (len(engine.weights), weights.folder, weights.probe) == (3, None, (1, 1, 1, 5))
    assert weights.log_probs == pytest.approx(TinyEngine(tiny_folder).token_log_probs([1, 1, 1, 5]), abs=1e-4)


def test_plan_is_that_of_every_generator(build: Build) -> None:
    plan = build(Engine(), samples_per_prompt=2, batch_size=4).plan(PROMPTS)
    assert [[prompt.index for prompt in batch] for batch in plan] == [[11, 12], [10]]


@pytest.mark.parametrize(
    ("ids", "reason", "problem"),
    [
        ([], "stop", "no tokens"),
        ([40, 7, 41, 2], "stop", "tokens after an end token"),
        ([40, 41], "stop", "says otherwise"),
        ([40, 41, 42, 2], "length", "says otherwise"),
        ([40, 41], "length", "2 tokens cut at the limit, which is 4"),
        ([40, 41, 42, 43, 44], "length", "5 tokens cut at the limit, which is 4"),
        ([40], "abort", "the finish reason 'abort'"),
        ([40], "None", "neither stop nor length"),
    ],
)
def test_answers_that_are_not_samples_are_refused(build: Build, ids: list[int], reason: str, problem: str) -> None:
    engine = Engine(Completion(ids=ids, finish_reason=reason))
    with pytest.raises(RunError, match=problem) as caught:
        build(engine).sample(PROMPTS[:1], seed=0)
    assert "the prompt of row 10" in str(caught.value)
    assert "sparring resume RUN" in str(caught.value)
