"""Shares of one node: cores, and a share of each GPU, allotted as Ray allots them. Pure."""

from __future__ import annotations

from dataclasses import dataclass

from sweeplaw.orchestrator.plan.resources import TrialResources

_EPSILON = 1e-6  # Ray counts resources in ten-thousandths


@dataclass(frozen=True, slots=True)
class NodeShare:
    """Cores of one node, and a share of each of its GPUs."""

    cpus: float
    gpus: tuple[float, ...]

    def without(self, other: NodeShare) -> NodeShare:
        """Return what is left after ``other`` is taken."""
        return NodeShare(self.cpus - other.cpus, tuple(a - b for a, b in zip(self.gpus, other.gpus, strict=True)))

    def least(self, other: NodeShare) -> NodeShare:
        """Return the minimum of both, device by device."""
        return NodeShare(min(self.cpus, other.cpus), tuple(map(min, self.gpus, other.gpus)))

    def plus(self, other: NodeShare) -> NodeShare:
        """Return both together."""
        return NodeShare(self.cpus + other.cpus, tuple(a + b for a, b in zip(self.gpus, other.gpus, strict=True)))

    def covers(self, other: NodeShare) -> bool:
        """Return whether ``other`` fits in it."""
        return self.cpus + _EPSILON >= other.cpus and all(
            a + _EPSILON >= b for a, b in zip(self.gpus, other.gpus, strict=True)
        )


def allot(free: NodeShare, size: TrialResources) -> NodeShare | None:
    """Return the share of a node for its processes of this size, on the fullest GPUs that still fit, as Ray does."""
    if free.cpus + _EPSILON < size.cpus * size.per_node:
        return None
    left, taken = list(free.gpus), [0.0] * len(free.gpus)
    for wanted in gpu_shares(size):
        fitting = [gpu for gpu, share in enumerate(left) if share + _EPSILON >= wanted]
        if not fitting:
            return None
        gpu = min(fitting, key=lambda index: (left[index], index))
        left[gpu] -= wanted
        taken[gpu] += wanted
    return NodeShare(size.cpus * size.per_node, tuple(taken))


def gpu_shares(size: TrialResources) -> list[float]:
    """Return the shares of single GPUs that the processes on one node take."""
    if not size.gpus:
        return []
    return [size.gpus] * size.per_node if size.gpus < 1 else [1.0] * (int(size.gpus) * size.per_node)


def fitting_count(free: NodeShare, size: TrialResources) -> int:
    """Return the number of times the processes of one node fit in ``free``."""
    count = 0
    while (share := allot(free, size)) is not None:
        free, count = free.without(share), count + 1
    return count
