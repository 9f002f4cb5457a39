"""Which nodes a pack may start on now, and which are reserved for a pack that is too large to start.

`Placement` has every live node and every worker slot on it. A slot is a worker's allocation on its nodes; it outlives
its packs: an idle slot takes the next pack of its size at once, or is evicted for one of another size. The first pack
in the queue that fits nowhere reserves the nodes where the least work must end before it fits; smaller packs use what
it leaves there, and all other nodes. So it starts once the packs that ran on those nodes when they were reserved have
ended: bounded, and nothing idles that could run something. Pure: no Ray, no clock.
"""

from __future__ import annotations

import heapq
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field

from sweeplaw.orchestrator.plan.resources import TrialResources
from sweeplaw.orchestrator.schedule.node_shares import NodeShare, allot, fitting_count, gpu_shares
from sweeplaw.orchestrator.schedule.per_node import PerNode


@dataclass(frozen=True, slots=True)
class NodeResources:
    """A live node: CPU cores and GPUs that trials may use."""

    node_id: str
    cpus: float
    gpus: float = 0.0


@dataclass(frozen=True, slots=True)
class PlacementDecision:
    """Where a pack may start: on these shares of nodes, in the idle ``slot`` or, if None, in a new one.

    A new slot requires that the idle slots ``evict`` are closed.
    """

    shares: Mapping[str, NodeShare]
    slot: str | None = None
    evict: tuple[str, ...] = ()


@dataclass(slots=True)
class _Allocation:
    """A worker slot: what it holds of each node."""

    size: TrialResources
    shares: dict[str, NodeShare]
    weight: float | None  # of the pack it runs; None while it is idle
    since: int = 0  # number of reservations made before its pack started
    opened: int = 0  # number of slots opened before


@dataclass(frozen=True, slots=True)
class _Fit:
    """Where a size fits on one node, beside its idle slots or, with ``evict``, in place of some. The best sorts first:
    without eviction, then on the node with most GPUs and cores free."""

    evict: bool
    rank: tuple[float, float]
    share: NodeShare


@dataclass(slots=True)
class _Reservation:
    size: TrialResources
    shares: dict[str, NodeShare]
    number: int


@dataclass(slots=True)
class Placement:
    """Live nodes, worker slots and one reservation. ``limit`` bounds the packs that run at once; None: the nodes do."""

    limit: int | None = None
    _nodes: dict[str, NodeShare] = field(default_factory=dict)
    _slots: dict[str, _Allocation] = field(default_factory=dict)
    _by_node: dict[str, dict[str, _Allocation]] = field(default_factory=dict)  # the same slots
    _idle: dict[TrialResources, dict[str, _Allocation]] = field(default_factory=dict)  # those of them without a pack
    _opened: int = 0
    _reservation: _Reservation | None = None
    _reservations: int = 0
    # What is known of every node for a size, kept from one decision to the next.
    _fits: dict[TrialResources, PerNode[_Fit]] = field(default_factory=dict)
    _busy: dict[TrialResources, PerNode[tuple[float, NodeShare]]] = field(default_factory=dict)
    _whole: dict[TrialResources, int] = field(default_factory=dict)  # number of nodes that would hold it when empty

    def update(self, nodes: Iterable[NodeResources]) -> set[str]:
        """Replace the live nodes; close and return the slots on nodes that are gone."""
        before = self._nodes
        self._nodes = {node.node_id: NodeShare(node.cpus, (1.0,) * int(node.gpus)) for node in nodes}
        lost = {key for key, slot in self._slots.items() if not slot.shares.keys() <= self._nodes.keys()}
        for key in lost:
            self.close(key)
        changed = [node for node in before | self._nodes if before.get(node) != self._nodes.get(node)]
        self._changed(changed)
        if changed:
            self._whole.clear()
        if self._reservation and not self._reservation.shares.keys() <= self._nodes.keys():
            self._reservation = None
        return lost

    def capacity(self, size: TrialResources) -> int:
        """Return the number of trials of this size that the live nodes hold at once."""
        each = sorted((fitting_count(whole, size) for whole in self._nodes.values()), reverse=True)
        count = sum(each) if size.nodes == 1 else _disjoint_placements(each, size.nodes)
        return count if self.limit is None else min(self.limit, count)

    @property
    def running(self) -> int:
        """Number of slots with a pack."""
        return sum(slot.weight is not None for slot in self._slots.values())

    def decide(self, sizes: Sequence[TrialResources]) -> tuple[int, PlacementDecision] | None:
        """Return the index of the waiting pack that starts now, and where; None if none may.

        ``sizes`` are those of the waiting packs, in queue order. The first that these nodes could hold but that does
        not fit now reserves nodes; later sizes use what it leaves.
        """
        if self.limit is not None and self.running >= self.limit:
            return None
        possible = [(index, size) for index, size in enumerate(sizes) if self._possible(size)]
        if self._reservation and not (possible and possible[0][1] == self._reservation.size):
            self._reservation = None  # its pack waits no longer, or a larger one is before it
        for place, (index, size) in enumerate(possible):
            if decision := self._find(size):
                if place == 0:
                    self._reservation = None
                return index, decision
            if place == 0 and self._reservation is None:
                self._reserve(size)
        return None

    def open(self, key: str, size: TrialResources, decision: PlacementDecision, weight: float) -> None:
        """Open a slot, with a pack of this weight, where `decide` placed it."""
        for other in decision.evict:
            self.close(other)
        self._opened += 1
        slot = _Allocation(size, dict(decision.shares), weight, self._reservations, self._opened)
        self._slots[key] = slot
        for node in slot.shares:
            self._by_node.setdefault(node, {})[key] = slot
        self._changed(slot.shares)

    def resume(self, key: str, weight: float) -> None:
        """Give an idle slot a pack."""
        slot = self._slots[key]
        slot.weight, slot.since = weight, self._reservations
        self._idle[slot.size].pop(key, None)
        self._changed(slot.shares)

    def pause(self, key: str) -> None:
        """Make a slot idle; its pack has ended."""
        if slot := self._slots.get(key):
            slot.weight = None
            self._idle.setdefault(slot.size, {})[key] = slot
            self._changed(slot.shares)

    def close(self, key: str) -> None:
        """Release a slot."""
        if slot := self._slots.pop(key, None):
            self._idle.get(slot.size, {}).pop(key, None)
            for node in slot.shares:
                del self._by_node[node][key]
            self._changed(slot.shares)

    def _changed(self, nodes: Iterable[str]) -> None:
        """Note that what is free or runs on these nodes is not what it was."""
        for fits in self._fits.values():
            fits.stale.update(nodes)
        for busy in self._busy.values():
            busy.stale.update(nodes)

    def _find(self, size: TrialResources) -> PlacementDecision | None:
        """Return an idle slot of this size, else the emptiest nodes, without what is reserved for another size."""
        reserved = {} if self._reservation is None or self._reservation.size == size else self._reservation.shares
        idle = self._idle.get(size, {})
        respecting = (key for key, slot in idle.items() if self._respects(slot, reserved))
        if (key := min(respecting, key=lambda key: idle[key].opened, default=None)) is not None:
            return PlacementDecision(idle[key].shares, key)
        if size not in self._fits:
            self._fits[size] = PerNode(lambda node: self._fit(node, size, {}), self._nodes)
        fits = self._fits[size].values()
        if reserved:
            fits = {node: fit for node, fit in fits.items() if node not in reserved}
            fits |= {node: fit for node in reserved if (fit := self._fit(node, size, reserved))}
        if len(fits) < size.nodes:
            return None
        chosen = heapq.nsmallest(size.nodes, fits, key=lambda node: (fits[node].evict, *fits[node].rank, node))
        shares = {node: fits[node].share for node in chosen}
        evicted = [key for node in chosen if fits[node].evict for key in self._to_evict(node, shares[node])]
        return PlacementDecision(shares, None, tuple(dict.fromkeys(evicted)))

    def _fit(self, node: str, size: TrialResources, reserved: Mapping[str, NodeShare]) -> _Fit | None:
        """Return where this size fits on the node without what is ``reserved``; None if it does not, or is gone."""
        for evict in (False, True) if node in self._nodes else ():
            free = self._free(node, count_idle=not evict)
            if share := allot(free.least(self._unreserved(node)) if node in reserved else free, size):
                return _Fit(evict, (-sum(free.gpus), -free.cpus), share)
        return None

    def _respects(self, slot: _Allocation, reserved: Mapping[str, NodeShare]) -> bool:
        """Return whether this slot leaves the reservation its shares."""
        return all(self._unreserved(node).covers(slot.shares[node]) for node in reserved.keys() & slot.shares.keys())

    def _to_evict(self, node: str, share: NodeShare) -> Iterator[str]:
        """Yield idle slots to close until this share of the node is free."""
        free = self._free(node)
        for key, slot in self._by_node.get(node, {}).items():
            if free.covers(share):
                return
            if slot.weight is None:
                free = free.plus(slot.shares[node])
                yield key

    def _free(self, node: str, *, count_idle: bool = True) -> NodeShare:
        """Return what no slot holds of the node; without ``count_idle``, what no slot with a pack holds."""
        free = self._nodes[node]
        for slot in self._by_node.get(node, {}).values():
            if count_idle or slot.weight is not None:
                free = free.without(slot.shares[node])
        return free

    def _possible(self, size: TrialResources) -> bool:
        if size not in self._whole:
            self._whole[size] = sum(allot(whole, size) is not None for whole in self._nodes.values())
        return self._whole[size] >= size.nodes

    def _reserve(self, size: TrialResources) -> None:
        """Reserve the nodes on which the least weight has to end before this size fits."""
        if size not in self._busy:
            self._busy[size] = PerNode(lambda node: self._least_busy(node, size), self._nodes)
        candidates = self._busy[size].values()
        chosen = heapq.nsmallest(size.nodes, candidates, key=lambda node: (candidates[node][0], node))
        self._reservations += 1
        self._reservation = _Reservation(size, {node: candidates[node][1] for node in chosen}, self._reservations)

    def _least_busy(self, node: str, size: TrialResources) -> tuple[float, NodeShare] | None:
        """Return the share of a node with the least busy GPUs for this size, after the weight that runs there."""
        whole = self._nodes.get(node)
        if whole is None or allot(whole, size) is None:
            return None
        running = [slot for slot in self._by_node.get(node, {}).values() if slot.weight is not None]
        busy = [
            sum(slot.weight or 0 for slot in running if slot.shares[node].gpus[gpu]) for gpu in range(len(whole.gpus))
        ]
        order = sorted(range(len(whole.gpus)), key=lambda gpu: busy[gpu])
        wanted = gpu_shares(size)
        taken = dict(zip(order, wanted, strict=False))
        share = NodeShare(size.cpus * size.per_node, tuple(taken.get(gpu, 0.0) for gpu in range(len(whole.gpus))))
        if not size.gpus:
            return sum(slot.weight or 0 for slot in running), share
        return sum(busy[gpu] for gpu in order[: len(wanted)]), share

    def _unreserved(self, node: str) -> NodeShare:
        """Return what the reservation leaves of the node, less what packs started after it have taken."""
        assert self._reservation is not None
        free = self._nodes[node].without(self._reservation.shares[node])
        for slot in self._by_node.get(node, {}).values():
            if slot.weight is not None and slot.since >= self._reservation.number:
                free = free.without(slot.shares[node])
        return free


def _disjoint_placements(each: list[int], nodes: int) -> int:
    """Return the number of placements on ``nodes`` different nodes, if node i may be in ``each[i]`` of them."""
    count = 0
    while sum(most > count for most in each) >= nodes and sum(min(most, count + 1) for most in each) >= nodes * (
        count + 1
    ):
        count += 1
    return count
