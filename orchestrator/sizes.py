"""What one trial is given: a share of a GPU, one GPU, several on one node or several nodes, from the memory it needs.

A profile says the least a trial gets; the memory a workload states for a trial against the memory of a device raises
it. On hardware without memory of its own (CPU cores) a process may use what the profile's ``memory_per_trial`` says.
"""

from __future__ import annotations

import math
from collections.abc import Iterator
from dataclasses import dataclass, replace
from fractions import Fraction
from typing import TYPE_CHECKING

from clusters.errors import counted
from trials.accounting import Cost

if TYPE_CHECKING:  # workers need sizes, not profiles
    from clusters.profile import Profile

# Of nodes nobody can look at yet, a plan assumes that one holds every device a trial asks for, up to this many.
_UNSEEN_DEVICES = 4096


@dataclass(frozen=True, slots=True)
class Size:
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
class Room:
    """The nodes sizes are chosen for: how many there are, and (CPU cores, GPUs) of the largest."""

    nodes: int
    cpus: float
    gpus: float

    @classmethod
    def of(cls, nodes: tuple[tuple[float, float], ...] | None) -> Room:
        """The room of these (CPU cores, GPUs); None: nodes nobody has seen."""
        if nodes is None:
            return cls(1, math.inf, math.inf)
        return cls(len(nodes), *max(nodes, key=lambda node: (node[1], node[0]), default=(0.0, 0.0)))


@dataclass(frozen=True, slots=True)
class Sizer:
    """Sizes for the trials of one workload on one cluster."""

    profile: Profile
    spreads: bool
    room: Room

    def __call__(self, cost: Cost) -> Size | None:
        """What a trial of this cost is given; None when it fits nothing there is."""
        return size(cost, self.profile, spreads=self.spreads, room=self.room)

    def misfit(self, cost: Cost) -> str:
        """One sentence about a trial that fits nothing: what it needs, what there is, what would hold it."""
        device, name = self.profile.device, "a trial"
        if cost.params is not None:
            name = f"a trial of {cost.params:,} parameters"
        whole = usable(Size(1.0, 1.0 if device.accelerator else 0.0), self.profile) or 0
        unit = device.name if device.accelerator else "process"
        there = f"and one {unit} has {whole / 1e9:.1f} GB"
        if self.spreads and not math.isinf(self.room.cpus):
            kind = counted(self.room.gpus, "GPU") if device.accelerator else counted(self.room.cpus, "core")
            there += f"; there {'is one node' if self.room.nodes == 1 else f'are {self.room.nodes} nodes'} of {kind}"
        needed = f"{(cost.memory_bytes or 0) / 1e9:.1f} GB"
        return f"{name} needs about {needed}, {there} (accepted: {self._holding(cost, whole)})"

    def _holding(self, cost: Cost, whole: int) -> str:
        """What would hold such a trial."""
        if self.spreads:
            unseen = size(cost, self.profile, spreads=True, room=Room.of(None))
            return str(unseen) if unseen else self._spread(cost, whole)
        if self.profile.device.accelerator:
            return f"gpus_per_trial = {-(-(cost.memory_bytes or 0) // whole)}, where the workload uses several GPUs"
        return f"memory_per_trial = {cost.memory_bytes}"

    def _spread(self, cost: Cost, whole: int) -> str:
        """What would hold a trial that no power of two of devices holds: some other number, or larger devices.

        A batch is split down to single sequences, so it has as many parts as sequences; what each device gathers whole
        does not get smaller by any of this.
        """
        unit = "GPU" if self.profile.device.accelerator else "core"
        batch = cost.batch_sequences or 1
        counts = range(1, min(batch, _UNSEEN_DEVICES) + 1)
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


def size(cost: Cost, profile: Profile, *, spreads: bool, room: Room) -> Size | None:
    """The smallest size a trial of this cost fits into; None when it fits none that the room has.

    A trial whose memory is unknown gets what the profile gives every trial. Micro-batches are divided only for a trial
    that nothing holds otherwise, by no more than it needs.
    """
    for shrink in _doubling(1, cost.batch_sequences or 1):
        for item in _candidates(profile, spreads, room):
            if _holds(found := replace(item, shrink=shrink), cost, profile):
                return found
    return None


def memory(cost: Cost, item: Size) -> int | None:
    """Bytes a trial of this cost needs on each device of this size (in each process, on CPU cores). None is unknown.

    A process that is given several GPUs is taken to divide its memory over them: what runs there is the user's own.
    """
    if (item.processes, item.shrink) != (1, 1):
        return cost.memory_on(item.processes, item.shrink)
    if cost.memory_bytes is None:
        return None
    return -(-cost.memory_bytes // max(1, int(item.gpus)))


def usable(item: Size, profile: Profile) -> int | None:
    """Bytes one process of this size may use on each of its devices; None where the profile states none."""
    whole = profile.device.usable_bytes if profile.device.accelerator else profile.memory_per_trial
    return whole if whole is None or not 0 < item.gpus < 1 else int(whole * item.gpus)


def _holds(item: Size, cost: Cost, profile: Profile) -> bool:
    available = usable(item, profile)
    if available is None or cost.memory_bytes is None:
        return True
    needed = memory(cost, item)
    return needed is not None and needed <= available


def _candidates(profile: Profile, spreads: bool, room: Room) -> Iterator[Size]:
    """Sizes from the least the profile gives a trial up to all the room has, each about twice the one before."""
    least = Size(profile.cpus_per_trial, profile.gpus_per_trial)
    begin = max(1, int(least.gpus)) if spreads else 1
    if begin == 1:
        for share in _shares(least.gpus):
            yield replace(least, gpus=share)
    if not spreads:
        return
    one = Size(least.cpus / begin, 1.0 if least.gpus else 0.0)
    most = _fitting(one, room)
    for count in _doubling(begin, most):
        if count > 1:
            yield replace(one, processes=count)
    if most >= begin:
        for nodes in _doubling(2, room.nodes):
            yield replace(one, processes=most * nodes, nodes=nodes)


def _shares(least: float) -> Iterator[float]:
    """The least share of a GPU, then every power of a half above it up to a whole one. Whole GPUs are as they are."""
    yield least
    if 0 < least < 1:
        yield from (1 / 2**power for power in range(10, -1, -1) if 1 / 2**power > least)


def _fitting(one: Size, room: Room) -> int:
    """Processes of this size that the largest node holds."""
    limits = [room.cpus / one.cpus] + ([room.gpus] if one.gpus else [])
    least = min(limits)
    return _UNSEEN_DEVICES if math.isinf(least) else math.floor(least + 1e-9)


def _doubling(begin: int, end: int) -> Iterator[int]:
    """``begin``, twice that, ... and ``end`` itself; nothing when it lies below ``begin``."""
    count = begin
    while count < end:
        yield count
        count *= 2
    if end >= begin:
        yield end
