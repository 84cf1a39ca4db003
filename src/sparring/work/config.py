"""The settings of the workers."""

from __future__ import annotations

from typing import Literal

from pydantic import BaseModel, ConfigDict, Field

from sparring.work.job import Workers


class WorkersConfig(BaseModel):
    """The workers that sample and score. They change nothing in the result, so a resumed run may have others.

    Attributes:
        name: "processes": the processes that train, as many as a launcher started; "ray": actors of a Ray cluster.
        count: The number of actors that Ray starts, each with a copy of the model.
        gpus: GPUs of each actor; with a fraction, actors share one; with 0 they sample and score on the CPU.
        cpus: Cores of each actor.
        address: The address of the cluster, e.g. "auto" for the one of this machine; None starts one here.
    """

    model_config = ConfigDict(extra="forbid", frozen=True)

    name: Literal["processes", "ray"] = "processes"
    count: int = Field(default=1, ge=1)
    gpus: float = Field(default=0.0, ge=0.0, allow_inf_nan=False)
    cpus: float = Field(default=1.0, gt=0.0, allow_inf_nan=False)
    address: str | None = None

    @property
    def on_ray(self) -> bool:
        """Whether a Ray cluster samples and scores, not the processes of the launch."""
        return self.name == "ray"

    @property
    def cluster(self) -> str | None:
        """The address of a cluster that the run joins; None for one that is found or started on this machine."""
        return self.address if self.on_ray and self.address != "auto" else None

    def start(self) -> Workers:
        """Starts the workers.

        Raises:
            InputError: Ray is not installed.
        """
        if not self.on_ray:
            from sparring.work.local import Processes

            return Processes()
        from sparring.work.ray import RayWorkers

        return RayWorkers(count=self.count, gpus=self.gpus, cpus=self.cpus, address=self.address)
