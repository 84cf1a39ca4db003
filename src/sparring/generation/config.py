"""How responses are sampled."""

from __future__ import annotations

from typing import Literal, Self
from urllib.parse import urlsplit

from pydantic import BaseModel, ConfigDict, Field, field_validator, model_validator


class VllmConfig(BaseModel):
    """vLLM in this program's own child process.

    Attributes:
        dtype: Number format of vLLM's copy of the weights; "auto" is the one in which the policy trains.
        gpu_memory_utilization: Share of a GPU's memory for vLLM's weights and cache; the rest is for training.
        kv_cache_gib: Memory of the key-value cache where vLLM runs on the CPU.
        tolerance: How far a token's log-prob in vLLM may be from the policy's own, nats; checked after every change
            of weights. None is 0.001, or 0.5 where either of the two computes in a 16-bit format.
    """

    model_config = ConfigDict(extra="forbid", frozen=True)

    dtype: Literal["auto", "float32", "bfloat16", "float16"] = "auto"
    gpu_memory_utilization: float = Field(default=0.4, gt=0.0, lt=1.0)
    kv_cache_gib: int = Field(default=1, ge=1)
    tolerance: float | None = Field(default=None, gt=0.0, allow_inf_nan=False)


class ServerConfig(BaseModel):
    """A pool of OpenAI-compatible endpoints that take and return token ids, such as vLLM's.

    Attributes:
        endpoints: Their addresses, e.g. "http://127.0.0.1:8000"; each serves the same base model and sees the run
            directory under the same path.
        model: The name under which they serve it; None is the first that an endpoint lists.
        api_key_env: The environment variable that holds the key; the key itself is never written anywhere.
        concurrency: Requests at a time to each endpoint; a request is one prompt with all its samples.
        timeout_s: Seconds to wait for the answer to one request, or for one change of weights.
        retries: Failures in a row after which an endpoint is given up for the batch; the wait doubles each time.
        tolerance: How far a token's log-prob on an endpoint may be from the policy's own, nats. 0.001 is for servers
            in fp32; one in a 16-bit format needs about 0.5.
    """

    model_config = ConfigDict(extra="forbid", frozen=True)

    endpoints: tuple[str, ...] = Field(min_length=1)
    model: str | None = None
    api_key_env: str | None = None
    concurrency: int = Field(default=16, ge=1)
    timeout_s: float = Field(default=600.0, gt=0.0, allow_inf_nan=False)
    retries: int = Field(default=6, ge=0)
    tolerance: float = Field(default=1e-3, gt=0.0, allow_inf_nan=False)

    @field_validator("endpoints")
    @classmethod
    def _plain_addresses(cls, endpoints: tuple[str, ...]) -> tuple[str, ...]:
        for endpoint in endpoints:
            parts = urlsplit(endpoint)
            if parts.scheme not in {"http", "https"} or not parts.hostname:
                raise ValueError(f"'{endpoint}' is no address: write http://HOST:PORT")
            if parts.username or parts.password or parts.query:
                raise ValueError("an address must not carry a password or key: name its variable in api_key_env")
        plain = tuple(endpoint.rstrip("/").removesuffix("/v1") for endpoint in endpoints)
        if len(set(plain)) < len(plain):
            raise ValueError("an endpoint is listed twice")
        return plain


class GenerationConfig(BaseModel):
    """Sampling settings.

    At temperature 1 without top-p and top-k the samples come from π_o itself, which is what the objectives assume;
    any other setting trades that for better-looking samples. The limit of a response's length is not here but in the
    data's `max_response_tokens`, because the expert and the opponent must share it.

    Attributes:
        name: The generator.
        samples_per_prompt: K, the number of responses sampled for each prompt.
        temperature: Divides the logits before sampling.
        top_p: Keeps the smallest set of tokens with this much probability; 1 keeps all.
        top_k: Keeps the k most likely tokens; 0 keeps all, and 1 is greedy, so it takes one sample a prompt.
        batch_size: Sequences decoded at once; a batch is also what a kill can lose at most.
        vllm: How vLLM runs, for the generator of that name.
        server: Where the endpoints are, for the generator of that name.
    """

    model_config = ConfigDict(extra="forbid", frozen=True)

    name: Literal["transformers", "vllm", "server"] = "transformers"
    samples_per_prompt: int = Field(default=1, ge=1)
    temperature: float = Field(default=1.0, gt=0.0, allow_inf_nan=False)
    top_p: float = Field(default=1.0, gt=0.0, le=1.0)
    top_k: int = Field(default=0, ge=0)
    batch_size: int = Field(default=32, ge=1)
    vllm: VllmConfig = Field(default_factory=VllmConfig)
    server: ServerConfig | None = None

    @model_validator(mode="after")
    def _server_is_somewhere(self) -> Self:
        if self.name == "server" and self.server is None:
            raise ValueError("the generator 'server' needs its addresses: set server.endpoints, a list")
        return self

    @model_validator(mode="after")
    def _greedy_is_single(self) -> Self:
        if self.top_k == 1 and self.samples_per_prompt > 1:
            raise ValueError(
                f"top_k = 1 is greedy, so the {self.samples_per_prompt} samples of a prompt would all be the same: "
                "set samples_per_prompt to 1, or top_k to 0"
            )
        return self

    @property
    def prompts_per_batch(self) -> int:
        """Whole prompts in a batch: all K responses of a prompt are sampled together."""
        return max(1, self.batch_size // self.samples_per_prompt)

    def greedy(self) -> GenerationConfig:
        """The same generator, but one most likely response a prompt (top-k of one)."""
        return self._with(samples_per_prompt=1, top_k=1)

    def untruncated(self, samples_per_prompt: int, temperature: float = 1.0) -> GenerationConfig:
        """The same generator, but so many samples from the whole distribution, whatever training takes."""
        return self._with(samples_per_prompt=samples_per_prompt, top_k=0, temperature=temperature)

    def _with(self, **changes: float) -> GenerationConfig:
        return self.model_copy(update={"top_p": 1.0, "temperature": 1.0} | changes)
