"""The queue a launch begins with: what each trial is given on the cluster that is there, and packs cut for it."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Sequence

from sweeplaw.clusters.connect.cluster import Node
from sweeplaw.clusters.profile.profile import Profile
from sweeplaw.orchestrator.plan.plan import Plan
from sweeplaw.orchestrator.plan.resources import ClusterCapacity, ResourceSizer, TrialResources, device_bytes
from sweeplaw.orchestrator.schedule.packs import Pack, Queue, by_size, cut
from sweeplaw.orchestrator.schedule.placement import NodeResources, Placement
from sweeplaw.trials.accounting import Cost
from sweeplaw.trials.errors import InputError


def queue(todo: Plan, profile: Profile, nodes: Iterable[Node]) -> Queue:
    """The packs of this plan. Raises InputError with every trial that fits nothing the nodes have."""
    here = tuple(nodes)
    size_of = _sizes(todo, profile, here)
    return Queue(
        _packs(todo, profile, here, size_of),
        max_attempts=1 + todo.sweep.retry.worker_died,
        stacked=profile.device.accelerator,
        size_of=size_of,
    )


def _sizes(todo: Plan, profile: Profile, here: Sequence[Node]) -> Callable[[Cost], TrialResources]:
    """What a trial of each cost in the plan is given."""
    sizer = ResourceSizer(profile, todo.sweep.workload.spreads, ClusterCapacity.of([node.capacity for node in here]))
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


def _packs(todo: Plan, profile: Profile, here: Sequence[Node], size_of: Callable[[Cost], TrialResources]) -> list[Pack]:
    """The plan's packs, cut for as many workers of each size as the nodes hold."""
    floor = Placement(profile.slots)
    floor.update(NodeResources(node.node_id, node.cpus, node.gpus) for node in here)
    return [
        pack
        for size, groups in by_size(todo.groups, size_of).items()
        for pack in cut(
            groups,
            max(1, floor.capacity(size)),
            size=size,
            stack_bytes=device_bytes(size, profile),
        )
    ]
