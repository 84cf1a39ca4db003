"""The settings of the generators, one class for each.

A class also states the facts of its generator that a run needs, so no code outside this package asks for a generator by
name.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Annotated, Any, ClassVar, Literal, Self

from pydantic import BaseModel, ConfigDict, Discriminator, Field, Tag, TypeAdapter, field_validator, model_validator

from sparring.web import check_address

CUSTOM = "module:Class"
"""The word for the user's own generators, where names are listed."""

MEANT = {**dict.fromkeys(("num_generations", "num_return_sequences"), "samples_per_prompt"), "use_vllm": "name"}
"""Fields, by the names that people write for them."""


class GenerationConfig(BaseModel):
    """Sampling settings, which all generators share.

    At temperature 1 without top-p and top-k the samples come from π_o itself, which is what the objectives assume;
    any other setting trades that for better-looking samples. The limit of a response's length is not here but in the
    data's `max_response_tokens`, because the expert and the opponent must share it.

    Attributes:
        name: The generator.
        samples_per_prompt: K, the number of responses sampled for each prompt.
        temperature: Divides the logits before sampling.
        top_p: Keeps the smallest set of tokens with this much probability; 1 keeps all.
        top_k: Keeps the k most likely tokens; 0 keeps all, and 1 is greedy, so it takes one sample a prompt.
        batch_size: Sequences decoded at once. A kill loses at most as many, or up to four times as many where waiting
            prompts take the places of rows that end.
        made_by: Class attribute: the import path of the generator, which is imported when it is first used.
        engine: Class attribute: the import path of the engine through which it samples, which has its own copy of the
            weights and is given each policy as a folder; None where it samples from the run's one model in memory.
        reached_by: Class attribute: the settings of how the generator is reached and what it may use. They decide no
            sample, so they may change when a run is resumed, and do not count when two runs are compared.
        one_process: Class attribute: whether only one process may sample.
        mixes: Class attribute: whether it can mix every token's distribution with the base model's.
        together: Class attribute: whether its generator is one of `SamplesTogether`.
        reusable: Class attribute: whether these settings determine its samples bit by bit, so that another run may
            reuse them.
    """

    model_config = ConfigDict(extra="forbid", frozen=True)

    made_by: ClassVar[str]
    engine: ClassVar[str | None] = None
    reached_by: ClassVar[frozenset[str]] = frozenset()
    one_process: ClassVar[bool] = False
    mixes: ClassVar[bool] = False
    together: ClassVar[bool] = False
    reusable: ClassVar[bool] = False

    name: str
    samples_per_prompt: int = Field(default=1, ge=1)
    temperature: float = Field(default=1.0, gt=0.0, allow_inf_nan=False)
    top_p: float = Field(default=1.0, gt=0.0, le=1.0)
    top_k: int = Field(default=0, ge=0)
    batch_size: int = Field(default=32, ge=1)

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
        """The number of prompts in a batch; all K responses to a prompt are sampled together."""
        return max(1, self.batch_size // self.samples_per_prompt)

    @property
    def code(self) -> str | None:
        """The import path of the user's own generator; None for any other."""
        return None

    @property
    def keys(self) -> tuple[tuple[str, str], ...]:
        """Each environment variable whose value is sent away as a key, and the address that it is sent to."""
        return ()

    def greedy(self) -> Self:
        """The same generator with greedy decoding: one response to each prompt, with top-k 1."""
        return self._with(samples_per_prompt=1, top_k=1)

    def untruncated(self, samples_per_prompt: int, temperature: float = 1.0) -> Self:
        """The same generator with a number of samples at temperature 1 without truncation, whatever training uses."""
        return self._with(samples_per_prompt=samples_per_prompt, top_k=0, temperature=temperature)

    def _with(self, **changes: float) -> Self:
        return self.model_copy(update={"top_p": 1.0, "temperature": 1.0} | changes)

    def decisive(self) -> dict[str, Any]:
        """The settings that decide the samples, as plain values: all but those of `reached_by`."""
        return self.model_dump(mode="json", exclude=set(self.reached_by))

    def who(self) -> dict[str, Any]:
        """The settings that identify the generator, its name first: all but the settings of sampling."""
        return self.model_dump(exclude=set(GenerationConfig.model_fields) - {"name"})

    def how(self) -> dict[str, Any]:
        """The settings of sampling: the number of responses, and how each token is drawn."""
        return self.model_dump(include={"samples_per_prompt", "temperature", "top_p", "top_k"})

    def filled(self, given: Mapping[str, Any]) -> dict[str, Any]:
        """Other settings, completed by those given here; for another generator, by the settings of sampling only."""
        own = self.model_dump(exclude_unset=True)
        if given.get("name", self.name) != self.name:
            own = {name: value for name, value in own.items() if name in GenerationConfig.model_fields}
        return own | dict(given)


class TransformersConfig(GenerationConfig):
    """The model in memory that is trained; it has no settings but those of sampling."""

    made_by: ClassVar[str] = "sparring.generation.transformers:TransformersGenerator"
    mixes: ClassVar[bool] = True
    together: ClassVar[bool] = True
    reusable: ClassVar[bool] = True

    name: Literal["transformers"] = "transformers"


class VllmConfig(GenerationConfig):
    """vLLM in this program's own child process.

    Attributes:
        dtype: Number format of vLLM's copy of the weights; "auto" is that of the policy in training.
        gpu_memory_utilization: Share of a GPU's memory for vLLM's weights and cache; the rest is for training.
        kv_cache_gib: Memory of the key-value cache where vLLM runs on the CPU.
        tolerance: The largest difference of a token's log-prob between vLLM and the policy, nats; checked after every
            change of weights. None is 0.001, or 0.5 where either of the two computes in a 16-bit format.
    """

    made_by: ClassVar[str] = "sparring.generation.engines:EngineGenerator"
    engine: ClassVar[str | None] = "sparring.generation.vllm:VllmEngine"
    reached_by: ClassVar[frozenset[str]] = frozenset({"gpu_memory_utilization", "kv_cache_gib", "tolerance"})
    one_process: ClassVar[bool] = True

    name: Literal["vllm"] = "vllm"
    dtype: Literal["auto", "float32", "bfloat16", "float16"] = "auto"
    gpu_memory_utilization: float = Field(default=0.4, gt=0.0, lt=1.0)
    kv_cache_gib: int = Field(default=1, ge=1)
    tolerance: float | None = Field(default=None, gt=0.0, allow_inf_nan=False)


class ServerConfig(GenerationConfig):
    """A pool of OpenAI-compatible endpoints that take and return token ids, such as vLLM's.

    Attributes:
        endpoints: Their addresses, e.g. "http://127.0.0.1:8000"; each serves the same base model and sees the run
            directory under the same path.
        model: The name under which they serve the model; None is the first name that an endpoint lists.
        api_key_env: The environment variable that holds the key; the key itself is never written anywhere.
        concurrency: Requests at a time to each endpoint; a request is one prompt with all its samples.
        timeout_s: Seconds to wait for the answer to one request, or for one change of weights.
        retries: Failures in a row after which an endpoint is given up for the batch; the wait doubles each time.
        tolerance: The largest difference of a token's log-prob between an endpoint and the policy, nats. 0.001 is for
            servers in fp32; one in a 16-bit format needs about 0.5.
    """

    made_by: ClassVar[str] = "sparring.generation.engines:EngineGenerator"
    engine: ClassVar[str | None] = "sparring.generation.server:ServerEngine"
    reached_by: ClassVar[frozenset[str]] = frozenset(
        {"endpoints", "model", "api_key_env", "concurrency", "timeout_s", "retries", "tolerance"}
    )
    one_process: ClassVar[bool] = True

    name: Literal["server"] = "server"
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
            check_address(endpoint)
        plain = tuple(endpoint.rstrip("/").removesuffix("/v1") for endpoint in endpoints)
        if len(set(plain)) < len(plain):
            raise ValueError("an endpoint is listed twice")
        return plain

    @property
    def keys(self) -> tuple[tuple[str, str], ...]:
        """The key's variable with every endpoint, since all get the same key."""
        return () if self.api_key_env is None else tuple((self.api_key_env, each) for each in self.endpoints)


class CustomConfig(GenerationConfig):
    """The user's own generator, by the import path of its class; every further key is one of its own settings.

    It is built by `Class.of(config, parts)` from these settings and the run's `GeneratorParts`, and has the methods of
    `Generator`.
    """

    model_config = ConfigDict(extra="allow", frozen=True)

    name: str = Field(pattern=r"^\w+(\.\w+)*:\w+$")

    @property
    def options(self) -> dict[str, Any]:
        """Its own settings, besides those of sampling."""
        return dict(self.model_extra or {})

    @property
    def code(self) -> str:
        """Its import path."""
        return self.name


def _member(value: Any) -> str | None:
    """The tag of the union's member that settings are of; without a name, the default's."""
    if isinstance(value, GenerationConfig):
        name = value.name
    elif isinstance(value, Mapping):
        name = str(value.get("name", "transformers"))
    else:
        return None
    return CUSTOM if ":" in name else name


GENERATORS: dict[str, type[GenerationConfig]] = {
    "transformers": TransformersConfig,
    "vllm": VllmConfig,
    "server": ServerConfig,
}
"""The settings of each generator, by name."""

AnyGenerationConfig = Annotated[
    Annotated[TransformersConfig, Tag("transformers")]
    | Annotated[VllmConfig, Tag("vllm")]
    | Annotated[ServerConfig, Tag("server")]
    | Annotated[CustomConfig, Tag(CUSTOM)],
    Discriminator(_member),
]
"""The settings of a generator of `GENERATORS` or of the user's own, distinguished by `name`."""

_ANY: TypeAdapter[AnyGenerationConfig] = TypeAdapter(AnyGenerationConfig)


def generation_config(**settings: Any) -> AnyGenerationConfig:
    """The settings of the generator that `name` names, or of the default where it is left out.

    Raises:
        ValidationError: A setting is wrong, or another generator's.
    """
    return _ANY.validate_python(settings)
