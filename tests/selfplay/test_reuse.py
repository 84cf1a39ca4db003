"""Which runs share a shard: those that would make the very same."""

from __future__ import annotations

import itertools
import shutil
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest
import yaml

from sparring.run_directory import RunDirectory
from sparring.selfplay.config.schema import SelfPlayConfig
from sparring.selfplay.prepared import prepare
from sparring.selfplay.set_up import set_up
from sparring.selfplay.stages.generate import generate_reference
from tiny import CHATML, save_tiny

Sample = Callable[..., bool]


@pytest.fixture(scope="module")
def reuses(tiny_folder: Path, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Sample]:
    """`reuses("key=value", …)` samples from the base model in a new run, and says whether it took an earlier run's.

    There is an earlier run, without any change.
    """
    folder, numbers = tmp_path_factory.mktemp("reuse"), itertools.count()
    base = {
        "model": {"name": str(tiny_folder)},
        "data": {"source": "arithmetic", "limit": 2, "held_out": 1, "max_response_tokens": 3},
        "generation": {"batch_size": 4},
    }
    (folder / "config.yaml").write_text(yaml.safe_dump(base), encoding="utf-8")

    def sample(*changes: str) -> bool:
        run = RunDirectory(folder / str(next(numbers)))
        config = SelfPlayConfig.from_yaml(folder / "config.yaml", [*changes, f"output={run.path}"])
        (shard,) = generate_reference(set_up(prepare(config), run))
        assert shard.exists()
        return bool(run.events())

    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("SPARRING_CACHE", str(folder / "cache"))
        assert not sample()
        yield sample


def test_what_does_not_decide_the_samples_is_no_part_of_their_digest(
    reuses: Sample, tiny_folder: Path, tmp_path: Path
) -> None:
    copy = shutil.copytree(tiny_folder, tmp_path / "copy")
    # The reference's samples are at temperature 1 whatever the run's own.
    changes = ("training.learning_rate=0.1", "generation.temperature=0.9", f"model.name={copy}")
    assert reuses("objective={name: spin, beta: 1.0}", *changes)


@pytest.mark.parametrize(
    "change",
    [
        "seed=1",
        "generation.samples_per_prompt=2",
        "data.max_response_tokens=4",
        "data.chat_template=none",
        "model.dtype=bfloat16",
        "model.attention=eager",
        "training.bf16=true",
        "lora.r=2",
        "reuse=false",
    ],
)
def test_what_decides_the_samples_is_part_of_their_digest(reuses: Sample, change: str) -> None:
    assert not reuses(change)


def test_a_changed_weight_or_template_of_the_model_is_another_model(reuses: Sample, tmp_path: Path) -> None:
    assert not reuses(f"model.name={save_tiny(tmp_path / 'weights', seed=1)}")
    template = CHATML.replace("assistant", "model")
    assert not reuses(f"model.name={save_tiny(tmp_path / 'template', chat_template=template)}")
