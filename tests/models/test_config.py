from __future__ import annotations

import subprocess
import sys

import pytest
from pydantic import ValidationError

import sparring.models
from sparring.models import ModelConfig


def test_the_default_is_the_embedded_model_in_fp32_without_foreign_code():
    config = ModelConfig()
    assert (config.name, config.dtype, config.trust_remote_code) == ("smollm2-135m", "float32", False)


@pytest.mark.parametrize("wrong", [{"dtype": "float8"}, {"device": "tpu"}, {"nmae": "x"}])
def test_nonsense_is_rejected(wrong: dict[str, str]):
    with pytest.raises(ValidationError):
        ModelConfig(**wrong)


def test_importing_the_config_imports_neither_torch_nor_transformers():
    code = (
        "import sys, sparring.models\n"
        "sparring.models.ModelConfig()\n"
        "assert not {'torch', 'transformers'} & set(sys.modules), 'heavy import'"
    )
    subprocess.run([sys.executable, "-c", code], check=True)


def test_every_export_exists_and_nothing_else_does():
    assert all(hasattr(sparring.models, name) for name in sparring.models.__all__)
    with pytest.raises(AttributeError, match="no attribute 'load_modle'"):
        sparring.models.load_modle  # noqa: B018
