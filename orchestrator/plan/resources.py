"""What one trial is given: a share of a GPU, one GPU, several on one node or several nodes, from the memory it needs.

A profile says the least a trial gets; the memory a workload states for a trial against the memory of a device raises
it. On hardware without memory of its own (CPU cores) a process may use what the profile's ``memory_per_trial`` says, or
else the part of its node's memory that goes with its cores: a trial that needs more gets more cores, so that what runs
on a node at once fits it.
"""

from __future__ import annotations

import math
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, replace
from fractions import Fraction
from functools import cached_property
from typing import TYPE_CHECKING

from sweeplaw.clusters.errors import counted
from sweeplaw.clusters.profile.capacity import Capacity
from sweeplaw.trials.accounting import Cost

if TYPE_CHECKING:  # workers need sizes, not profiles
    from sweeplaw.clusters.profile.profile import Profile

# Of nodes nobody can look at yet, a plan assumes that one holds every device a trial asks for, up to this many; and of
# what would hold a trial, as many nodes are thought of.
_UNSEEN = 4096


@dataclass(frozen=True, slots=True)
class TrialResources:
    """What one trial holds while it runs: ``processes`` equal ones, so many on each of ``nodes`` nodes.

    ``cpus`` and ``gpus`` are those of one process; ``gpus`` is a share of one device or a whole number of them.
    ``shrink`` divides the micro-batch, where all there is holds the trial in no other way (`Context.shrink`).
    """

    cpus: float
    gpus: float = 0.0
    processes: int = 1
    nodes: int = 1
    shrink: int = 1

    @property
    def per_node(self) -> int:
        """Processes on each node."""
        return self.processes // self.nodes

    @property
    def devices(self) -> float:
        """GPUs in all, or CPU cores where it has none."""
        return self.processes * (self.gpus or self.cpus)

    def __str__(self) -> str:
        amount, unit = (self.gpus, "GPU") if self.gpus else (self.cpus, "core")
        amount *= self.per_node
        text = str(Fraction(amount).limit_denominator(100)) if amount < 1 else f"{amount:g}"
        text = f"{text} {unit}{'s' if amount > 1 else ''}"
        text = text if self.nodes == 1 else f"{self.nodes} nodes of {text}"
        return text if self.shrink == 1 else f"{text}, 1/{self.shrink} batch"


@dataclass(frozen=True, slots=True)
class ClusterCapacity:
    """The nodes sizes are chosen for: CPU cores and GPUs of the largest, and how many there are of that size.

    ``memory`` is what any node says of its own: (CPU cores, bytes).
    """

    nodes: int
    cpus: float
    gpus: float
    memory: tuple[tuple[float, int], ...] = ()

    @classmethod
    def of(cls, nodes: Sequence[Capacity] | None) -> ClusterCapacity:
        """The room of these nodes; None: nodes nobody has seen."""
        if nodes is None:
            return cls(1, math.inf, math.inf)
        largest = max(nodes, key=lambda node: (node.gpus, node.cpus), default=Capacity(0.0))
        said = {(node.cpus, node.memory_bytes) for node in nodes if node.cpus and node.memory_bytes is not None}
        alike = sum(node.cpus >= largest.cpus and node.gpus >= largest.gpus for node in nodes)
        return cls(alike, largest.cpus, largest.gpus, tuple(sorted(said)))

    def memory_of(self, cpus: float) -> int | None:
        """Bytes that go with so many cores on every node that has them; None where no such node says."""
        return min((int(whole * cpus / cores) for cores, whole in self.memory if cores >= cpus), default=None)


@dataclass(frozen=True)
class ResourceSizer:
    """Sizes for the trials of one workload on one cluster."""

    profile: Profile
    spreads: bool
    room: ClusterCapacity

    def __call__(self, cost: Cost) -> TrialResources | None:
        """The smallest size a trial of this cost fits into; None when it fits none that the room has.

        A trial whose memory is unknown gets what the profile gives every trial. Micro-batches are divided only for a
        trial that nothing holds otherwise, by no more than it needs.
        """
        for shrink in _doubling(1, cost.batch_sequences or 1):
            for item, available in self._candidates:
                found = replace(item, shrink=shrink)
                if available is None or cost.memory_bytes is None:
                    return found
                needed = memory(cost, found)
                if needed is not None and needed <= available:
                    return found
        return None

    def usable(self, item: TrialResources) -> int | None:
        """Bytes one process of this size may use on each of its devices; None where nobody says."""
        if self.profile.device.accelerator:
            return device_bytes(item, self.profile)
        return self.room.memory_of(item.cpus) if self._shares_nodes else self.profile.memory_per_trial

    def misfit(self, cost: Cost) -> str:
        """One sentence about a trial that fits nothing: what it needs, what there is, what would hold it."""
        name = "a trial" if cost.params is None else f"a trial of {cost.params:,} parameters"
        unit, whole = self._unit
        unit = {"GPU": self.profile.device.name, "core": "process"}.get(unit, unit)
        there = f"and one {unit} has {whole / 1e9:.1f} GB"
        if self.spreads and not math.isinf(self.room.cpus):
            accelerator = self.profile.device.accelerator
            held = counted(self.room.gpus, "GPU") if accelerator else counted(self.room.cpus, "core")
            there += f"; there {'is one node' if self.room.nodes == 1 else f'are {self.room.nodes} nodes'} of {held}"
        needed = f"{(cost.memory_bytes or 0) / 1e9:.1f} GB"
        return f"{name} needs about {needed}, {there} (accepted: {self._holding(cost)})"

    @property
    def _shares_nodes(self) -> bool:
        """Whether the memory of a node is all that bounds its processes."""
        return not self.profile.device.accelerator and self.profile.memory_per_trial is None

    @property
    def _unit(self) -> tuple[str, int]:
        """What a trial is spread over, and the bytes it may use on each."""
        if self._shares_nodes:
            return "node", self.room.memory_of(self.room.cpus) or 0
        if self.profile.device.accelerator:
            return "GPU", device_bytes(TrialResources(1.0, 1.0), self.profile) or 0
        return "core", self.profile.memory_per_trial or 0

    @cached_property
    def _candidates(self) -> tuple[tuple[TrialResources, int | None], ...]:
        """Every size there may be, the smallest first, and what each of its processes may use."""
        sizes = _by_cores if self._shares_nodes else _by_devices
        return tuple((item, self.usable(item)) for item in sizes(self.profile, self.spreads, self.room))

    def _holding(self, cost: Cost) -> str:
        """What would hold such a trial."""
        if self._shares_nodes:
            more = replace(self, room=replace(self.room, nodes=_UNSEEN))(cost) if self.spreads else None
            return f"{more or self._spread(cost)}; or memory_per_trial, where a process may use more than its node says"
        if self.spreads:
            return str(replace(self, room=ClusterCapacity.of(None))(cost) or self._spread(cost))
        if self.profile.device.accelerator:
            _, whole = self._unit
            return f"gpus_per_trial = {-(-(cost.memory_bytes or 0) // whole)}, where the workload uses several GPUs"
        return f"memory_per_trial = {cost.memory_bytes}"

    def _spread(self, cost: Cost) -> str:
        """What would hold a trial that no power of two of devices holds: some other number, or larger devices.

        A batch is split down to single sequences, so it has as many parts as sequences; what each device gathers whole
        does not get smaller by any of this.
        """
        unit, whole = self._unit
        batch = cost.batch_sequences or 1
        counts = range(1, (min(batch, _UNSEEN) if self.spreads else 1) + 1)
        needs = {count: held for count in counts if (held := cost.memory_on(count, batch)) is not None}
        for count, held in needs.items():
            if held <= whole:
                return f"{counted(count, unit)}, one sequence at a time"
        undivided = {1: cost.memory_bytes or 0}  # one sequence, or nobody says how it divides
        count, least = min((needs or undivided).items(), key=lambda item: item[1])
        if count == 1:
            return f"a smaller trial, or a {unit} with {least / 1e9:.1f} GB"
        spread = f"spread over {counted(count, unit)}, with {counted(batch, 'sequence')} in its batch"
        return f"a smaller trial, or {unit}s with {least / 1e9:.1f} GB: {spread}, it needs no less"


def memory(cost: Cost, item: TrialResources) -> int | None:
    """Bytes a trial of this cost needs on each device of this size (in each process, on CPU cores). None is unknown.

    A process that is given several GPUs is taken to divide its memory over them: what runs there is the user's own.
    """
    if (item.processes, item.shrink) != (1, 1):
        return cost.memory_on(item.processes, item.shrink)
    if cost.memory_bytes is None:
        return None
    return -(-cost.memory_bytes // max(1, int(item.gpus)))


def device_bytes(item: TrialResources, profile: Profile) -> int | None:
    """Bytes one process of this size may use on each of its GPUs; None where the hardware has no memory of its own."""
    whole = profile.device.usable_bytes
    return whole if whole is None or not 0 < item.gpus < 1 else int(whole * item.gpus)


def _by_devices(profile: Profile, spreads: bool, room: ClusterCapacity) -> Iterator[TrialResources]:
    """Sizes from the least the profile gives a trial up to all the room has, each about twice the one before."""
    least = TrialResources(profile.cpus_per_trial, profile.gpus_per_trial)
    begin = max(1, int(least.gpus)) if spreads else 1
    if begin == 1:
        for share in _shares(least.gpus):
            yield replace(least, gpus=share)
    if not spreads:
        return
    one = TrialResources(least.cpus / begin, 1.0 if least.gpus else 0.0)
    most = _fitting(one, room)
    for count in _doubling(begin, most):
        if count > 1:
            yield replace(one, processes=count)
    if most >= begin:
        for nodes in _doubling(2, room.nodes):
            yield replace(one, processes=most * nodes, nodes=nodes)


def _by_cores(profile: Profile, spreads: bool, room: ClusterCapacity) -> Iterator[TrialResources]:
    """The same where memory goes with cores: one process takes more of them, up to whole nodes with a process each."""
    least = TrialResources(profile.cpus_per_trial)
    if not room.memory:
        yield least
        return
    most = max(1, _fitting(least, room))
    for count in _doubling(1, most):
        yield TrialResources(min(least.cpus * count, room.cpus))
    if least.cpus * most < room.cpus:
        yield TrialResources(room.cpus)
    for nodes in _doubling(2, room.nodes) if spreads else ():
        yield TrialResources(room.cpus, processes=nodes, nodes=nodes)


def _shares(least: float) -> Iterator[float]:
    """The least share of a GPU, then every power of a half above it up to a whole one. Whole GPUs are as they are."""
    yield least
    if 0 < least < 1:
        yield from (1 / 2**power for power in range(10, -1, -1) if 1 / 2**power > least)


def _fitting(one: TrialResources, room: ClusterCapacity) -> int:
    """Processes of this size that the largest node holds."""
    limits = [room.cpus / one.cpus] + ([room.gpus] if one.gpus else [])
    least = min(limits)
    return _UNSEEN if math.isinf(least) else math.floor(least + 1e-9)


def _doubling(begin: int, end: int) -> Iterator[int]:
    """``begin``, twice that, ... and ``end`` itself; nothing when it lies below ``begin``."""
    count = begin
    while count < end:
        yield count
        count *= 2
    if end >= begin:
        yield end
