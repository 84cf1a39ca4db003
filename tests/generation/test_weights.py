"""The proof that an engine plays the weights that it was given."""

from __future__ import annotations

import math
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import pytest
import torch

from sparring.errors import RunError
from sparring.generation.weights import Weights, swap
from sparring.integrity import seal
from sparring.models import ModelConfig
from sparring.selfplay.policy import Policy
from tiny import tiny_model, tiny_tokenizer
from tiny_engine import TinyEngine

TEXT = [1, *range(40, 90)]


def policy_of(base: Path, *, lora: dict[str, Any] | None = None) -> Policy:
    return Policy(ModelConfig(name=str(base), device="cpu"), tiny_tokenizer(), lora=lora, seed=3)


def weights_of(folder: Path | None, base: Path) -> Weights:
    policy = policy_of(base)
    policy.activate(folder)
    return Weights.of(policy.folder, TEXT, policy.log_probs)


def trained_by(change: float, folder: Path) -> Path:
    """The tiny model with another embedding, which is its output head too, and with nothing else changed."""
    model = tiny_model()
    with torch.no_grad():
        torch.manual_seed(1)
        model.get_input_embeddings().weight.add_(change * torch.randn(259, 32))
    model.save_pretrained(folder)
    seal(folder, log_lines=0)
    return folder


@pytest.fixture
def trained(tmp_path: Path) -> Path:
    return trained_by(0.02, tmp_path / "trained")


def test_the_probe_is_scored_token_by_token(tiny_folder: Path) -> None:
    weights = weights_of(None, tiny_folder)
    assert weights.probe == tuple(TEXT[-48:])
    assert weights.log_probs == pytest.approx(TinyEngine(tiny_folder).token_log_probs(weights.probe), abs=1e-4)


def test_right_weights_pass_and_the_base_comes_back(tiny_folder: Path, trained: Path) -> None:
    engine = TinyEngine(tiny_folder)
    for folder in (trained, None, trained):
        assert swap(engine, weights_of(folder, tiny_folder), tolerance=1e-3) < 1e-4


@pytest.mark.parametrize("change", [0.02, 0.001])
def test_a_head_that_stays_stale_is_an_error(tiny_folder: Path, tmp_path: Path, change: float) -> None:
    """vLLM's trap on a CPU, also where the weights have hardly moved."""
    folder = trained_by(change, tmp_path / "trained")
    engine, weights = TinyEngine(tiny_folder, keeps_head=True), weights_of(folder, tiny_folder)
    with pytest.raises(RunError, match=r"(?s)nats from the policy's own.*stale or other weights.*sparring resume RUN"):
        swap(engine, weights, tolerance=1e-3)
    engine.repair()
    assert weights.distance(engine) < 1e-4


class FarSide(TinyEngine):
    """An engine that plays folders as a run saves them, adapters too; `stuck` ones stay what they are."""

    stuck = False
    playing = ""

    def load(self, folder: Path | None) -> None:
        if self.stuck:
            return
        if folder is not None and (folder / "adapter_config.json").exists():
            self.playing = str(folder)
            self.add_adapter(self.playing, self.playing)
        else:
            self.playing = ""
            super().load(folder)

    def token_log_probs(self, ids: Sequence[int], adapter: str = "") -> list[float]:
        return super().token_log_probs(ids, self.playing)


@pytest.mark.parametrize("lora", [None, {"r": 4}], ids=["full", "lora"])
def test_what_a_run_saves_is_proved_and_what_plays_something_else_is_told_by_how_far(
    tiny_folder: Path, tmp_path: Path, lora: dict[str, Any] | None
) -> None:
    policy, known = policy_of(tiny_folder, lora=lora), dict[Path | None, Weights]()
    for folder in (None, tmp_path / "0", tmp_path / "1"):
        if folder is not None:
            policy.start_training(policy.folder)
            torch.manual_seed(len(known))
            with torch.no_grad():
                for weight in policy.model.parameters():
                    if weight.requires_grad:
                        weight.add_(0.05 * torch.randn_like(weight))
            policy.save(folder)
        known[folder] = Weights.of(policy.folder, TEXT, policy.log_probs)
        assert all(type(each) is float for each in known[folder].log_probs)
    engine = FarSide(tiny_folder)
    for weights in (*known.values(), known[None]):
        assert swap(engine, weights, tolerance=1e-3) < 1e-4
    # Stale: nothing that is loaded from here on plays.
    engine.stuck = True
    for folder in (tmp_path / "0", tmp_path / "1"):
        with pytest.raises(RunError, match=r"is [\d.]+ nats from the policy's own") as caught:
            swap(engine, known[folder], tolerance=1e-3)
        assert str(folder) in str(caught.value)
        assert f"{known[folder].distance(engine):.3g} nats" in str(caught.value)
    # Another policy's folder, and the base model where a policy should play.
    engine.stuck = False
    engine.load(tmp_path / "0")
    engine.stuck = True
    for folder in (None, tmp_path / "1"):
        with pytest.raises(RunError, match=r"is [\d.]+ nats from the policy's own"):
            swap(engine, known[folder], tolerance=1e-3)


def test_an_engine_that_ignores_the_swap_is_an_error(tiny_folder: Path, trained: Path) -> None:
    engine = TinyEngine(tiny_folder)
    engine.load = lambda folder: None  # type: ignore[method-assign]
    with pytest.raises(RunError, match="was given the weights of"):
        swap(engine, weights_of(trained, tiny_folder), tolerance=1e-2)


def test_not_a_number_is_never_near(tiny_folder: Path) -> None:
    engine, weights = TinyEngine(tiny_folder), weights_of(None, tiny_folder)
    engine.token_log_probs = lambda ids: [math.nan, *weights.log_probs[1:]]  # type: ignore[method-assign]
    assert weights.distance(engine) == math.inf
