"""The queue a launch begins with: the resources of each trial on the connected cluster, and packs cut to fit them."""

from __future__ import annotations

import functools
from collections.abc import Callable, Iterable, Sequence

from sweeplaw.clusters.connect.cluster import Node
from sweeplaw.clusters.profile.profile import Profile
from sweeplaw.orchestrator.plan.plan import Plan
from sweeplaw.orchestrator.plan.resources import ClusterCapacity, ResourceSizer, TrialResources, device_bytes
from sweeplaw.orchestrator.schedule.packs import Pack, Queue, by_size, cut
from sweeplaw.orchestrator.schedule.placement import NodeResources, Placement
from sweeplaw.orchestrator.schedule.trunk_packs import cut_trunks
from sweeplaw.trials.accounting import Cost
from sweeplaw.trials.errors import InputError
from sweeplaw.trials.workload import stack_knobs


def build_queue(
    todo: Plan, profile: Profile, nodes: Iterable[Node], source: Callable[[], Iterable[Pack]] = tuple
) -> Queue:
    """Return the packs of this plan; ``source`` gives more. Raise InputError with every trial that no node can hold."""
    nodes = tuple(nodes)
    sizes = _sizes(todo, profile, nodes)
    stacked = profile.device.accelerator and todo.sweep.workload.stacks
    return Queue(
        _packs(todo, profile, nodes, sizes, stacked=stacked),
        max_attempts=1 + todo.sweep.retry.worker_died,
        stacked=stacked,
        size_of=sizes if todo.groups else size_of(todo, profile, nodes),
        source=source,
    )


def size_of(todo: Plan, profile: Profile, nodes: Iterable[Node]) -> Callable[[Cost], TrialResources]:
    """Return the function from the cost of any trial of this sweep to its resources; it raises InputError for one that
    no node can hold.
    """
    capacity = ClusterCapacity.of([node.capacity for node in nodes])
    sizer = ResourceSizer(profile, todo.sweep.workload.spreads, capacity)

    @functools.cache
    def size(cost: Cost) -> TrialResources:
        if found := sizer(cost):
            return found
        raise InputError(sizer.misfit(cost), where=todo.sweep.name)

    return size


def _sizes(todo: Plan, profile: Profile, nodes: Sequence[Node]) -> Callable[[Cost], TrialResources]:
    """Return the function from the cost of a trial of this plan to its resources."""
    sizer = ResourceSizer(profile, todo.sweep.workload.spreads, ClusterCapacity.of([node.capacity for node in nodes]))
    found: dict[Cost, TrialResources] = {}
    faults = []
    for cost in {group.cost: None for group in todo.groups}:
        if size := sizer(cost):
            found[cost] = size
        else:
            faults.append(sizer.misfit(cost))
    if faults:
        raise InputError(faults, where=todo.sweep.name)
    return found.__getitem__


def _packs(
    todo: Plan, profile: Profile, nodes: Sequence[Node], size_of: Callable[[Cost], TrialResources], *, stacked: bool
) -> list[Pack]:
    """Return the plan's packs, cut for the number of workers of each size that the nodes hold."""
    placement = Placement(profile.slots)
    placement.update(NodeResources(node.node_id, node.cpus, node.gpus) for node in nodes)
    packs: list[Pack] = []
    for size, groups in by_size(todo.groups, size_of).items():
        slots, stack_bytes = max(1, placement.capacity(size)), device_bytes(size, profile) if stacked else None
        of_trunks, others = cut_trunks(groups, todo.sweep, slots, size=size, stack_bytes=stack_bytes)
        packs += of_trunks + cut(
            others, slots, size=size, stack_bytes=stack_bytes, unshared=stack_knobs(todo.sweep.workload)
        )
    return packs
