"""The settings of a run's model."""

from __future__ import annotations

from typing import Literal

from pydantic import BaseModel, ConfigDict

EMBEDDED = "smollm2-135m"

Quantization = Literal["nf4", "int8"]
"""The format of quantised linear layers: 4 bits in blocks of 64 (NF4 with double quantisation, arXiv 2305.14314), or 8
bits with a scale for each row."""


class ModelConfig(BaseModel):
    """The section `model`: the model and how it is loaded.

    Attributes:
        name: "smollm2-135m", the embedded model that needs no network; or a Hugging Face id; or a local folder
            that `from_pretrained` loads.
        revision: Branch, tag or commit of a Hugging Face id; its default branch when absent.
        dtype: Number format of the weights in memory; "auto" keeps the one that they were saved in.
        device: "auto" takes CUDA, else MPS, else the CPU.
        attention: transformers' `attn_implementation` ("sdpa", "eager", "flash_attention_2", …); its own choice
            when absent.
        quantization: Holds the weights of linear layers in 4 bits ("nf4") or 8 ("int8"), through bitsandbytes, for
            adapters (`lora`) to be trained on; everything else keeps `dtype`, in which all is computed.
        trust_remote_code: Whether to run Python code that is shipped with the model, with all the rights of the person
            who starts the run: it can read, send and delete their files. Needed only by architectures that transformers
            does not have. Read that code first, and pin `revision` so that it stays the code that was read.
    """

    model_config = ConfigDict(frozen=True, extra="forbid")

    name: str = EMBEDDED
    revision: str | None = None
    dtype: Literal["float32", "bfloat16", "float16", "auto"] = "float32"
    device: Literal["auto", "cpu", "cuda", "mps"] = "auto"
    attention: str | None = None
    quantization: Quantization | None = None
    trust_remote_code: bool = False


MEANT = {
    **dict.fromkeys(("model_name_or_path", "model_name", "name_or_path"), "name"),
    "model_revision": "revision",
    "torch_dtype": "dtype",
    "attn_implementation": "attention",
    **dict.fromkeys(("load_in_4bit", "load_in_8bit"), "quantization"),
}
"""Fields, by the names that people write for them."""
