"""The settings of the workers, and the workers that they name."""

from __future__ import annotations

from typing import Literal

from pydantic import BaseModel, ConfigDict, Field

from sparring.work.job import Workers


class WorkersConfig(BaseModel):
    """Who samples and scores; it changes nothing in the result, so it may change when a run is resumed.

    Attributes:
        name: "processes": those that train, however many a launcher started. "ray": actors of a Ray cluster.
        count: How many actors Ray starts, each with a copy of the model.
        gpus: GPUs of each actor; a fraction shares one, and with none it samples and scores on the CPU.
        cpus: Cores of each actor.
        address: The cluster, e.g. "auto" for the one that this machine belongs to; None starts one here.
    """

    model_config = ConfigDict(extra="forbid", frozen=True)

    name: Literal["processes", "ray"] = "processes"
    count: int = Field(default=1, ge=1)
    gpus: float = Field(default=0.0, ge=0.0, allow_inf_nan=False)
    cpus: float = Field(default=1.0, gt=0.0, allow_inf_nan=False)
    address: str | None = None

    @property
    def elsewhere(self) -> bool:
        """Whether other processes than the launch's own sample and score."""
        return self.name == "ray"

    @property
    def cluster(self) -> str | None:
        """The address of a cluster that is joined; None where one is found or started on this machine."""
        return self.address if self.elsewhere and self.address != "auto" else None

    def start(self) -> Workers:
        """The workers.

        Raises:
            InputError: Ray is not installed.
        """
        if not self.elsewhere:
            from sparring.work.local import Processes

            return Processes()
        from sparring.work.ray import RayWorkers

        return RayWorkers(count=self.count, gpus=self.gpus, cpus=self.cpus, address=self.address)
