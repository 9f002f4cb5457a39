"""A cluster profile: where trials run and the resources of one trial, from a TOML file or a built-in name.

`inline` runs trials one after another in this process, `local` on a private Ray on this machine. Everything else is a
file: `ray` joins a running cluster, `slurm`, `kuberay`, `aws` and `gcp` describe one to request.
"""

from __future__ import annotations

import json
import math
import os
import re
from collections.abc import Iterable, Mapping, Sequence
from pathlib import Path
from typing import Annotated, Any, Literal

from pydantic import AfterValidator, ValidationError, model_validator

from sweeplaw.clusters.profile import consistency, toml_file
from sweeplaw.clusters.profile import hardware as devices
from sweeplaw.clusters.profile.capacity import Capacity, memory_for_trials, usable_cores, usable_memory
from sweeplaw.clusters.profile.fields import (
    AbsolutePath,
    Cores,
    Count,
    DashboardUrl,
    GpuShare,
    Line,
    MemoryBytes,
    Nodes,
    Positive,
    Price,
    Seconds,
    Shard,
)
from sweeplaw.clusters.profile.requests import Authentication, Cloud, KubeRay, Slurm, Table
from sweeplaw.clusters.profile.simulation import SimulationProfile
from sweeplaw.trials.errors import InputError, nearest, shown

Kind = Literal["inline", "local", "ray", "slurm", "kuberay", "aws", "gcp"]
KINDS: tuple[Kind, ...] = ("inline", "local", "ray", "slurm", "kuberay", "aws", "gcp")
BUILT_IN: tuple[Kind, ...] = ("inline", "local")
CLIENT = "ray://"  # scheme of a Ray Client server's address
# Keys that are not settings of a profile, with the fix.
_ELSEWHERE: Mapping[str, str] = {
    "max_attempts": "the number of attempts is set in the sweep file: [retry] worker_died = 2",
    "share": "it is the old name of shard, which is given as well",
}


def _known_hardware(name: str) -> str:
    if name not in devices.known():
        raise ValueError(f"is not known (accepted: {', '.join(devices.known())}){nearest(name, devices.known())}")
    return name


class Profile(Table):
    """One cluster profile, checked.

    ``slots`` is the number of packs that run at once; None leaves it to the nodes. A trial gets ``cpus_per_trial``
    (cores) and ``gpus_per_trial`` (a part of one GPU or several whole ones), or as much more as its memory needs; on
    hardware without its own memory, one of its processes may use ``memory_per_trial`` (bytes) or, by default, its
    cores' part of the node's. A worker without a row for ``patience_seconds`` counts as hung; one that must end
    has ``grace_seconds`` (on Slurm, by default, as much of the notice as a launch can spare). A long trial writes a
    checkpoint every ``checkpoint_seconds``: the most that the death of its worker can cost.

    A launch waits until ``nodes`` of a running cluster are alive, at most ``ready_seconds``; its ``address`` is
    ``host:port`` or ``auto`` for a driver on one of its nodes, ``ray://host:port`` (its Ray Client server) to run the
    driver there from anywhere else; ``jobs`` is the address of its dashboard, which takes jobs. A local Ray is limited
    by ``cpus`` and ``gpus``. ``dashboard`` needs ``ray[default]`` and stays on loopback unless ``bind`` names another
    address. ``shard`` runs one part of the trials and leaves the others to concurrent launches: ``"2/8"`` is the third
    of eight. ``device_hour_price`` is what an hour of one device costs, in any currency.
    """

    kind: Kind
    name: str = ""
    hardware: Annotated[str, AfterValidator(_known_hardware)] = "cpu-core"
    slots: Positive | None = None
    shard: Shard | None = None
    cpus_per_trial: Cores = 1.0
    gpus_per_trial: GpuShare = 0.0
    memory_per_trial: MemoryBytes | None = None
    patience_seconds: Seconds = 600.0
    grace_seconds: Seconds = 60.0
    checkpoint_seconds: Seconds = 600.0
    address: Line | None = None
    jobs: DashboardUrl | None = None
    nodes: Nodes = 1
    ready_seconds: Seconds = 300.0
    cpus: Positive | None = None
    gpus: Count | None = None
    authentication: Authentication = "token"
    token_file: AbsolutePath | None = None
    temp_dir: AbsolutePath | None = None
    dashboard: bool = False
    bind: Line = "127.0.0.1"
    slurm: Slurm | None = None
    kuberay: KubeRay | None = None
    cloud: Cloud | None = None
    device_hour_price: Price | None = None
    simulation: SimulationProfile | None = None

    @model_validator(mode="before")
    @classmethod
    def _read_old_name(cls, content: Any) -> Any:
        """Read ``share``, the old name of ``shard``, where only that is given; both together are a fault."""
        if isinstance(content, Mapping) and _by_old_name(content):
            return {"shard" if name == "share" else name: value for name, value in content.items()}
        return content

    @model_validator(mode="after")
    def _check(self) -> Profile:
        if faults := consistency.faults(self):
            raise InputError(faults)
        return self

    @property
    def device(self) -> devices.Hardware:
        """The hardware trials run on."""
        return devices.get(self.hardware)

    @property
    def over_client(self) -> bool:
        """Whether the cluster is reached over Ray Client, from outside it."""
        return (self.address or "").startswith(CLIENT)

    @property
    def devices_per_slot(self) -> float:
        """Devices that one slot holds: a share of a GPU, several GPUs, or CPU cores."""
        return self.gpus_per_trial if self.device.accelerator else self.cpus_per_trial

    def in_shard(self, trial_id: str) -> bool:
        """Return whether the trial is in this profile's ``shard``: ids are hashes, so shards are even and disjoint."""
        if self.shard is None:
            return True
        part, _, parts = self.shard.partition("/")
        return int(trial_id[:16], 16) % int(parts) == int(part)

    def slots_on(self, nodes: Iterable[Capacity]) -> int:
        """Return the number of packs that run at once on these nodes, each within one node, at most ``slots``."""
        fitting = sum(_slots_of_node(self, node) for node in nodes)
        return fitting if self.slots is None else min(self.slots, fitting)

    def planned_nodes(self) -> tuple[Capacity, ...] | None:
        """Return the nodes one launch will have; None where only the running cluster knows."""
        if self.kind == "inline":
            return (Capacity(self.cpus_per_trial, math.ceil(self.gpus_per_trial), usable_memory()),)
        if slurm := self.slurm:
            memory = memory_for_trials(slurm.memory_per_node)
            return (Capacity(slurm.cpus_per_node, slurm.gpus_per_node, memory),) * slurm.nodes
        if kube := self.kuberay:
            return (Capacity(kube.cpus, kube.gpus, memory_for_trials(kube.memory)),) * kube.workers
        if cloud := self.cloud:
            return (Capacity(cloud.cpus, cloud.gpus),) * cloud.workers
        if self.kind == "local" and (self.gpus is not None or not self.device.accelerator):
            return (Capacity(self.cpus or usable_cores(), self.gpus or 0, memory_for_trials(usable_memory())),)
        return None

    def planned_slots(self) -> int | None:
        """Return the number of packs at once, over all jobs of an array; None where only the running cluster knows."""
        if self.kind == "inline":
            return 1
        nodes, launches = self.planned_nodes(), (self.slurm and self.slurm.array) or 1
        return self.slots if nodes is None else launches * self.slots_on(nodes)


def _slots_of_node(profile: Profile, node: Capacity) -> int:
    by_cpu = math.floor(node.cpus / profile.cpus_per_trial + 1e-9)
    share = profile.gpus_per_trial
    if share == 0:
        return by_cpu
    by_gpu = math.floor(1 / share + 1e-9) * math.floor(node.gpus) if share <= 1 else math.floor(node.gpus / share)
    return min(by_cpu, by_gpu)


def load(name_or_path: str | Path) -> Profile:
    """Load the profile of a built-in name (`inline`, `local`), a TOML file, or a name in a profile folder.

    A bare name is looked up as ``NAME.toml`` here and in ``$XDG_CONFIG_HOME/sweeplaw/clusters`` (``~/.config``).
    Raise InputError with every fault.
    """
    text = str(name_or_path)
    if text in BUILT_IN:
        return Profile(kind=text, name=text)
    path = _find(text)
    _, content = toml_file.read(path, where=str(path))
    return parse(content, name=path.stem, where=str(path))


def parse(content: Mapping[str, Any], *, name: str, where: str = "") -> Profile:
    """Return the profile with these settings. Raise InputError with every fault."""
    try:
        return Profile(**{"name": name, **content})
    except ValidationError as error:
        faults = [sentence for fault in error.errors() for sentence in _sentences(fault)]
        if _by_old_name(content):
            faults = [re.sub(r"^shard\b", "share", fault) for fault in faults]
        raise InputError(faults, where=where) from None


def _by_old_name(content: Mapping[str, Any]) -> bool:
    return "share" in content and "shard" not in content


# Settings of trials: the same wherever the cluster of the profile runs.
_OF_TRIALS = (
    *("hardware", "slots", "cpus_per_trial", "gpus_per_trial", "memory_per_trial", "patience_seconds"),
    *("grace_seconds", "checkpoint_seconds", "authentication"),
)


def trial_settings(profile: Profile) -> dict[str, Any]:
    """Return the settings of trials alone, for the profile of the cluster this profile requests."""
    return profile.model_dump(include=set(_OF_TRIALS), exclude_none=True)


def to_toml(settings: Mapping[str, Any]) -> str:
    """Return settings as TOML without tables, omitting None. Each value is a scalar.

    Values are written as JSON, because a JSON scalar is a TOML scalar.
    """
    return "".join(
        f"{name} = {json.dumps(value, ensure_ascii=False)}\n" for name, value in settings.items() if value is not None
    )


def _find(text: str) -> Path:
    if text.endswith(".toml") or os.sep in text:
        return Path(text).expanduser()
    folders = (Path.cwd(), config_folder())
    for folder in folders:
        if (folder / f"{text}.toml").is_file():
            return folder / f"{text}.toml"
    names = [*BUILT_IN, *sorted({path.stem for path in config_folder().glob("*.toml")})]
    raise InputError(
        f"cluster = {text!r} is not known (accepted: {', '.join(names)}, or a TOML file){nearest(text, names)}"
    )


def config_folder() -> Path:
    """Return the folder of profiles by name."""
    return Path(os.environ.get("XDG_CONFIG_HOME") or Path.home() / ".config") / "sweeplaw" / "clusters"


def _sentences(fault: Mapping[str, Any]) -> Iterable[str]:
    cause = fault.get("ctx", {}).get("error")
    return cause.faults if isinstance(cause, InputError) else [_sentence(fault)]


def _sentence(fault: Mapping[str, Any]) -> str:
    where = ".".join(str(part) for part in fault["loc"] if part != "[key]")
    if fault["type"] == "extra_forbidden" and where in _ELSEWHERE:
        return f"{where} is not a setting of a profile; {_ELSEWHERE[where]}"
    if fault["type"] == "extra_forbidden":
        return f"{where} is not a setting of a profile{nearest(str(fault['loc'][-1]), _settings(fault['loc'][:-1]))}"
    if fault["type"] == "missing":
        return f"{where} is missing"
    if fault["type"] == "value_error":
        return f"{where} = {shown(fault['input'])} {fault['ctx']['error']}"
    message = str(fault["msg"])
    return f"{where} = {shown(fault['input'])}: {message[:1].lower()}{message[1:]}"


def _settings(parents: Sequence[str | int]) -> list[str]:
    tables: dict[str, type[Table]] = {
        "slurm": Slurm,
        "kuberay": KubeRay,
        "cloud": Cloud,
        "simulation": SimulationProfile,
    }
    table = tables[str(parents[0])] if parents else Profile
    return list(table.model_fields)
