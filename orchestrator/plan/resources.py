"""The devices of one trial, from its memory: a share of a GPU, one GPU, several on one node, or several nodes.

A profile states the minimum for a trial. The memory that a workload states for a trial, compared with the memory of a
device, raises it. On hardware without memory of its own (CPU cores) a process may use the profile's
``memory_per_trial``, or else the part of its node's memory that goes with its cores: a trial that needs more gets more
cores, so that the trials running on a node at once fit it.
"""

from __future__ import annotations

import math
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, replace
from fractions import Fraction
from functools import cached_property
from typing import TYPE_CHECKING

from sweeplaw.clusters.profile.capacity import Capacity, counted
from sweeplaw.trials.accounting import Cost

if TYPE_CHECKING:  # workers need sizes, not profiles
    from sweeplaw.clusters.profile.profile import Profile

# Where the nodes are not known yet, a plan assumes that one holds every device a trial asks for, up to this many. The
# search for resources that would hold a trial considers as many nodes.
_UNSEEN = 4096


@dataclass(frozen=True, slots=True)
class TrialResources:
    """What one trial occupies while it runs: ``processes`` equal processes, spread evenly over ``nodes`` nodes.

    ``cpus`` and ``gpus`` are those of one process; ``gpus`` is a share of one device or a whole number of them.
    ``micro_batch_divisor`` is above 1 only where the whole cluster holds the trial in no other way (`Context`).
    """

    cpus: float
    gpus: float = 0.0
    processes: int = 1
    nodes: int = 1
    micro_batch_divisor: int = 1

    @property
    def per_node(self) -> int:
        """Processes on each node."""
        return self.processes // self.nodes

    @property
    def devices(self) -> float:
        """Total GPUs, or total CPU cores without GPUs."""
        return self.processes * (self.gpus or self.cpus)

    def __str__(self) -> str:
        amount, unit = (self.gpus, "GPU") if self.gpus else (self.cpus, "core")
        amount *= self.per_node
        text = str(Fraction(amount).limit_denominator(100)) if amount < 1 else f"{amount:g}"
        text = f"{text} {unit}{'s' if amount > 1 else ''}"
        text = text if self.nodes == 1 else f"{self.nodes} nodes of {text}"
        return text if self.micro_batch_divisor == 1 else f"{text}, 1/{self.micro_batch_divisor} batch"


@dataclass(frozen=True, slots=True)
class ClusterCapacity:
    """The nodes that resources are chosen for: CPU cores and GPUs of the largest, and the number of nodes that large.

    ``memory`` lists (CPU cores, bytes) of each kind of node whose memory is known.
    """

    nodes: int
    cpus: float
    gpus: float
    memory: tuple[tuple[float, int], ...] = ()

    @classmethod
    def of(cls, nodes: Sequence[Capacity] | None) -> ClusterCapacity:
        """Return the capacity of these nodes; None stands for nodes that are not known yet."""
        if nodes is None:
            return cls(1, math.inf, math.inf)
        largest = max(nodes, key=lambda node: (node.gpus, node.cpus), default=Capacity(0.0))
        known = {(node.cpus, node.memory_bytes) for node in nodes if node.cpus and node.memory_bytes is not None}
        alike = sum(node.cpus >= largest.cpus and node.gpus >= largest.gpus for node in nodes)
        return cls(alike, largest.cpus, largest.gpus, tuple(sorted(known)))

    def memory_of(self, cpus: float) -> int | None:
        """Return the bytes that go with this number of cores on any node that has them; None if unknown."""
        return min((int(whole * cpus / cores) for cores, whole in self.memory if cores >= cpus), default=None)


@dataclass(frozen=True)
class ResourceSizer:
    """Chooses resources for the trials of one workload on one cluster."""

    profile: Profile
    spreads: bool
    cluster: ClusterCapacity

    def __call__(self, cost: Cost) -> TrialResources | None:
        """Return the smallest resources that hold a trial of this cost; None if the cluster has none.

        A trial of unknown memory gets the profile's minimum. Micro-batches are divided only for a trial that fits in no
        other way, by no more than it needs.
        """
        for divisor in _doubling(1, cost.batch_sequences or 1):
            for item, available in self._candidates:
                found = replace(item, micro_batch_divisor=divisor)
                if available is None or cost.memory_bytes is None:
                    return found
                needed = memory(cost, found)
                if needed is not None and needed <= available:
                    return found
        return None

    def usable(self, item: TrialResources) -> int | None:
        """Return the bytes that one process may use on each of its devices; None if unknown."""
        if self.profile.device.accelerator:
            return device_bytes(item, self.profile)
        return self.cluster.memory_of(item.cpus) if self._shares_nodes else self.profile.memory_per_trial

    def misfit(self, cost: Cost) -> str:
        """Return a sentence about a trial that does not fit: its need, the memory available, what would hold it."""
        name = "a trial" if cost.params is None else f"a trial of {cost.params:,} parameters"
        unit, whole = self._unit
        unit = {"GPU": self.profile.device.name, "core": "process"}.get(unit, unit)
        there = f"and one {unit} has {whole / 1e9:.1f} GB"
        if self.spreads and not math.isinf(self.cluster.cpus):
            accelerator = self.profile.device.accelerator
            held = counted(self.cluster.gpus, "GPU") if accelerator else counted(self.cluster.cpus, "core")
            there += (
                f"; there {'is one node' if self.cluster.nodes == 1 else f'are {self.cluster.nodes} nodes'} of {held}"
            )
        needed = f"{(cost.memory_bytes or 0) / 1e9:.1f} GB"
        return f"{name} needs about {needed}, {there} (accepted: {self._holding(cost)})"

    @property
    def _shares_nodes(self) -> bool:
        """Whether processes are bounded only by the memory of their node."""
        return not self.profile.device.accelerator and self.profile.memory_per_trial is None

    @property
    def _unit(self) -> tuple[str, int]:
        """The unit that a trial is spread over, and the bytes it may use on each."""
        if self._shares_nodes:
            return "node", self.cluster.memory_of(self.cluster.cpus) or 0
        if self.profile.device.accelerator:
            return "GPU", device_bytes(TrialResources(1.0, 1.0), self.profile) or 0
        return "core", self.profile.memory_per_trial or 0

    @cached_property
    def _candidates(self) -> tuple[tuple[TrialResources, int | None], ...]:
        """Every candidate, smallest first, with the bytes that each of its processes may use."""
        sizes = _by_cores if self._shares_nodes else _by_devices
        return tuple((item, self.usable(item)) for item in sizes(self.profile, self.spreads, self.cluster))

    def _holding(self, cost: Cost) -> str:
        """Return a phrase for what would hold such a trial."""
        if self._shares_nodes:
            more = replace(self, cluster=replace(self.cluster, nodes=_UNSEEN))(cost) if self.spreads else None
            larger = more or self._spread(cost)
            return f"{larger}; or memory_per_trial, where a process may use more than its share of the node"
        if self.spreads:
            return str(replace(self, cluster=ClusterCapacity.of(None))(cost) or self._spread(cost))
        if self.profile.device.accelerator:
            _, whole = self._unit
            return f"gpus_per_trial = {-(-(cost.memory_bytes or 0) // whole)}, where the workload uses several GPUs"
        return f"memory_per_trial = {cost.memory_bytes}"

    def _spread(self, cost: Cost) -> str:
        """Return what would hold a trial that no power of two of devices holds: another number, or larger devices.

        A batch can be split down to single sequences. The weights that each device gathers whole stay as large.
        """
        unit, whole = self._unit
        batch = cost.batch_sequences or 1
        counts = range(1, (min(batch, _UNSEEN) if self.spreads else 1) + 1)
        needs = {count: held for count in counts if (held := cost.memory_on(count, batch)) is not None}
        for count, held in needs.items():
            if held <= whole:
                return f"{counted(count, unit)}, one sequence at a time"
        undivided = {1: cost.memory_bytes or 0}  # one sequence, or the division is unknown
        count, least = min((needs or undivided).items(), key=lambda item: item[1])
        if count == 1:
            return f"a smaller trial, or a {unit} with {least / 1e9:.1f} GB"
        spread = f"spread over {counted(count, unit)}, with {counted(batch, 'sequence')} in its batch"
        return f"a smaller trial, or {unit}s with {least / 1e9:.1f} GB: {spread}, it needs no less"


def memory(cost: Cost, item: TrialResources) -> int | None:
    """Return the bytes that a trial needs on each device (in each process, on CPU cores); None if unknown.

    Assumption: a process that is given several GPUs divides its memory over them, since it runs user code.
    """
    if (item.processes, item.micro_batch_divisor) != (1, 1):
        return cost.memory_on(item.processes, item.micro_batch_divisor)
    if cost.memory_bytes is None:
        return None
    return -(-cost.memory_bytes // max(1, int(item.gpus)))


def device_bytes(item: TrialResources, profile: Profile) -> int | None:
    """Return the bytes one process may use on each of its GPUs; None where the hardware has no memory of its own."""
    whole = profile.device.usable_bytes
    return whole if whole is None or not 0 < item.gpus < 1 else int(whole * item.gpus)


def _by_devices(profile: Profile, spreads: bool, cluster: ClusterCapacity) -> Iterator[TrialResources]:
    """Yield candidates from the profile's minimum up to the whole cluster, each about twice the one before."""
    least = TrialResources(profile.cpus_per_trial, profile.gpus_per_trial)
    begin = max(1, int(least.gpus)) if spreads else 1
    if begin == 1:
        for share in _shares(least.gpus):
            yield replace(least, gpus=share)
    if not spreads:
        return
    one = TrialResources(least.cpus / begin, 1.0 if least.gpus else 0.0)
    most = _fitting(one, cluster)
    for count in _doubling(begin, most):
        if count > 1:
            yield replace(one, processes=count)
    if most >= begin:
        for nodes in _doubling(2, cluster.nodes):
            yield replace(one, processes=most * nodes, nodes=nodes)


def _by_cores(profile: Profile, spreads: bool, cluster: ClusterCapacity) -> Iterator[TrialResources]:
    """Yield candidates where memory goes with cores: more cores a process, up to whole nodes with a process each."""
    least = TrialResources(profile.cpus_per_trial)
    if not cluster.memory:
        yield least
        return
    most = max(1, _fitting(least, cluster))
    for count in _doubling(1, most):
        yield TrialResources(min(least.cpus * count, cluster.cpus))
    if least.cpus * most < cluster.cpus:
        yield TrialResources(cluster.cpus)
    for nodes in _doubling(2, cluster.nodes) if spreads else ():
        yield TrialResources(cluster.cpus, processes=nodes, nodes=nodes)


def _shares(least: float) -> Iterator[float]:
    """Yield the smallest share of a GPU, then each power of 1/2 above it, up to 1; whole GPUs unchanged."""
    yield least
    if 0 < least < 1:
        yield from (1 / 2**power for power in range(10, -1, -1) if 1 / 2**power > least)


def _fitting(one: TrialResources, cluster: ClusterCapacity) -> int:
    """Return the number of such processes that the largest node holds."""
    limits = [cluster.cpus / one.cpus] + ([cluster.gpus] if one.gpus else [])
    least = min(limits)
    return _UNSEEN if math.isinf(least) else math.floor(least + 1e-9)


def _doubling(begin: int, end: int) -> Iterator[int]:
    """Yield ``begin``, twice that, and so on, then ``end`` itself; nothing if ``end`` is below ``begin``."""
    count = begin
    while count < end:
        yield count
        count *= 2
    if end >= begin:
        yield end
