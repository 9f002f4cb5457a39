"""What a trial takes of a node: cores, and shares of its GPUs, as Ray hands them out. Pure."""

from __future__ import annotations

from dataclasses import dataclass

from sweeplaw.orchestrator.plan.resources import TrialResources

_EPSILON = 1e-6  # Ray counts resources in ten-thousandths


@dataclass(frozen=True, slots=True)
class NodeShare:
    """Some of one node: cores, and a share of each of its GPUs."""

    cpus: float
    gpus: tuple[float, ...]

    def without(self, other: NodeShare) -> NodeShare:
        """What is left after ``other`` is taken."""
        return NodeShare(self.cpus - other.cpus, tuple(a - b for a, b in zip(self.gpus, other.gpus, strict=True)))

    def least(self, other: NodeShare) -> NodeShare:
        """What both have."""
        return NodeShare(min(self.cpus, other.cpus), tuple(map(min, self.gpus, other.gpus)))

    def plus(self, other: NodeShare) -> NodeShare:
        """Both together."""
        return NodeShare(self.cpus + other.cpus, tuple(a + b for a, b in zip(self.gpus, other.gpus, strict=True)))

    def covers(self, other: NodeShare) -> bool:
        """Whether ``other`` is within it."""
        return self.cpus + _EPSILON >= other.cpus and all(
            a + _EPSILON >= b for a, b in zip(self.gpus, other.gpus, strict=True)
        )


def allot(free: NodeShare, size: TrialResources) -> NodeShare | None:
    """The part of a node that its processes of this size take, as Ray takes it: the fullest GPUs that still fit."""
    if free.cpus + _EPSILON < size.cpus * size.per_node:
        return None
    left, taken = list(free.gpus), [0.0] * len(free.gpus)
    for wanted in gpus_of(size):
        fitting = [gpu for gpu, share in enumerate(left) if share + _EPSILON >= wanted]
        if not fitting:
            return None
        gpu = min(fitting, key=lambda index: (left[index], index))
        left[gpu] -= wanted
        taken[gpu] += wanted
    return NodeShare(size.cpus * size.per_node, tuple(taken))


def gpus_of(size: TrialResources) -> list[float]:
    """The shares its processes on one node take, each of one GPU."""
    if not size.gpus:
        return []
    return [size.gpus] * size.per_node if size.gpus < 1 else [1.0] * (int(size.gpus) * size.per_node)


def times(whole: NodeShare, size: TrialResources) -> int:
    """How often the processes of one node fit it."""
    count = 0
    while (part := allot(whole, size)) is not None:
        whole, count = whole.without(part), count + 1
    return count
