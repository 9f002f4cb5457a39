"""Requests for a cluster, a table a kind: nodes of a Slurm job, pods of a RayJob, machines of a cloud."""

from __future__ import annotations

from typing import Annotated, Literal

from pydantic import BaseModel, ConfigDict, Field

from sweeplaw.clusters.profile.fields import (
    AbsolutePath,
    Count,
    Image,
    Interface,
    Label,
    Line,
    MemoryBytes,
    Nodes,
    Option,
    Positive,
    ResourceName,
    SlurmTime,
    WholeSeconds,
    Word,
)


class Table(BaseModel):
    """A table of a profile: frozen, without unknown keys, type conversion, NaN or infinity."""

    model_config = ConfigDict(extra="forbid", frozen=True, strict=True, allow_inf_nan=False)


class Slurm(Table):
    """A Slurm job: ``nodes`` of ``cpus_per_node`` cores and ``gpus_per_node`` GPUs, for ``time``.

    ``setup`` lines run in the job's shell before anything else (modules, a virtual environment) and are trusted as
    code. ``array`` requests that number of jobs, which share one store, instead of one. ``notice_seconds`` before the
    time limit or a preemption the driver is signalled to checkpoint, and workers get as much of that time as a launch
    can spare; with ``requeue`` the job is then queued again.
    """

    nodes: Nodes = 1
    cpus_per_node: Positive
    gpus_per_node: Count = 0
    gpu_type: Word | None = None
    memory_per_node: MemoryBytes | None = None
    time: SlurmTime | None = None
    partition: Word | None = None
    account: Word | None = None
    qos: Word | None = None
    constraint: Word | None = None
    exclusive: bool = False
    # Slurm refuses arrays beyond MaxArraySize (1001 by default); one element runs many trials.
    array: Annotated[int, Field(ge=1, le=1000)] | None = None
    requeue: bool = True
    notice_seconds: Annotated[int, Field(ge=10, le=65535)] = 120
    interface: Interface | None = None
    setup: tuple[Line, ...] = Field(default=(), strict=False)
    options: tuple[Option, ...] = Field(default=(), strict=False)
    python: AbsolutePath | None = None


class KubeRay(Table):
    """A RayJob: a head pod without trials and ``workers`` pods of ``cpus`` cores and ``gpus`` GPUs."""

    image: Image
    namespace: Label = "default"
    workers: Nodes = 1
    cpus: Positive = 4
    gpus: Count = 0
    gpu_resource: ResourceName = "nvidia.com/gpu"
    memory: MemoryBytes = 16 * 2**30
    head_cpus: Positive = 2
    head_memory: MemoryBytes = 8 * 2**30
    ttl_seconds: WholeSeconds = 600
    deadline_seconds: Annotated[WholeSeconds, Field(ge=1)] | None = None
    backoff_limit: Count = 2
    suspend: bool = False
    queue: Label | None = None
    priority: Label | None = None
    service_account: Label | None = None
    image_pull_secret: Label | None = None
    secrets: tuple[Label, ...] = Field(default=(), strict=False)
    claims: dict[Label, AbsolutePath] = Field(default_factory=dict)
    node_selector: dict[ResourceName, Word] = Field(default_factory=dict)
    ray_version: Annotated[str, Field(pattern=r"^\d+\.\d+\.\d+$")] | None = None


class Cloud(Table):
    """Machines rented through Ray's cluster launcher: a head without trials and ``workers`` of ``worker_type``.

    ``cpus`` and ``gpus`` are those of one worker; ``setup`` lines run once on every machine (to install the project and
    its data) and are trusted as code.
    """

    region: Label
    zone: Label | None = None
    project: Label | None = None
    head_type: Word
    worker_type: Word
    workers: Nodes = 1
    cpus: Positive
    gpus: Count = 0
    image: Line | None = None
    disk_gb: Positive = 100
    ssh_user: Word = "ubuntu"
    spot: bool = False
    setup: tuple[Line, ...] = Field(default=(), strict=False)


Authentication = Literal["token", "disabled"]
