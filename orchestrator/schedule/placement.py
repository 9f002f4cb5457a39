"""Which nodes a pack may start on now, and which are kept free for one that is too large to start.

The floor knows every live node and every lane on it. A lane is a worker's hold on its nodes; it outlives the packs it
runs, so a lane without a pack serves the next pack of its size at once, or makes way for one of another size. The pack
at the head of the queue that fits nowhere reserves the nodes where least must end before it fits; smaller packs fill
what it leaves there and all other nodes. So it starts once the packs that ran on those nodes when they were reserved
have ended: bounded, and nothing idles that could run something. Pure: no Ray, no clock.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field

from sweeplaw.orchestrator.plan.resources import TrialResources
from sweeplaw.orchestrator.schedule.node_shares import NodeShare, allot, gpus_of, times


@dataclass(frozen=True, slots=True)
class NodeResources:
    """A live node: CPU cores and GPUs that trials may take."""

    node_id: str
    cpus: float
    gpus: float = 0.0


@dataclass(frozen=True, slots=True)
class PlacementDecision:
    """Where a pack may start: on these parts of nodes, in the lane ``lane`` that waits or, when None, in a new one.

    A new one needs the lanes ``evict``, which have no pack, to make way.
    """

    parts: Mapping[str, NodeShare]
    lane: str | None = None
    evict: tuple[str, ...] = ()


@dataclass(slots=True)
class _Allocation:
    size: TrialResources
    parts: dict[str, NodeShare]
    weight: float | None  # of the pack it runs; None while it has none
    since: int = 0  # the reservation after which its pack was started


@dataclass(slots=True)
class _Reservation:
    size: TrialResources
    parts: dict[str, NodeShare]
    number: int


@dataclass(slots=True)
class Placement:
    """Live nodes, lanes and one reservation. ``limit`` bounds how many packs run at once; None: the nodes do."""

    limit: int | None = None
    _machines: dict[str, NodeShare] = field(default_factory=dict)
    _lanes: dict[str, _Allocation] = field(default_factory=dict)
    _on: dict[str, dict[str, _Allocation]] = field(default_factory=dict)  # the same lanes, node by node
    _reserved: _Reservation | None = None
    _reservations: int = 0

    def update(self, machines: Iterable[NodeResources]) -> set[str]:
        """Take these for the live nodes; return the lanes that lay on nodes which are gone."""
        self._machines = {item.node_id: NodeShare(item.cpus, (1.0,) * int(item.gpus)) for item in machines}
        lost = {key for key, lane in self._lanes.items() if not lane.parts.keys() <= self._machines.keys()}
        for key in lost:
            self.close(key)
        if self._reserved and not self._reserved.parts.keys() <= self._machines.keys():
            self._reserved = None
        return lost

    def capacity(self, size: TrialResources) -> int:
        """How many trials of this size the live nodes hold at once."""
        each = sorted((times(whole, size) for whole in self._machines.values()), reverse=True)
        rounds = sum(each) if size.nodes == 1 else _groups(each, size.nodes)
        return rounds if self.limit is None else min(self.limit, rounds)

    @property
    def running(self) -> int:
        """Lanes with a pack."""
        return sum(lane.weight is not None for lane in self._lanes.values())

    def start(self, sizes: Sequence[TrialResources]) -> tuple[int, PlacementDecision] | None:
        """Which of the waiting packs, whose sizes are given in their order, starts now and where; None when none may.

        The first that could run on these nodes but does not fit reserves; sizes behind it fill what it leaves.
        """
        if self.limit is not None and self.running >= self.limit:
            return None
        possible = [(index, size) for index, size in enumerate(sizes) if self._possible(size)]
        if self._reserved and not (possible and possible[0][1] == self._reserved.size):
            self._reserved = None  # what it was kept for waits no longer, or something larger waits before it
        for place, (index, size) in enumerate(possible):
            if found := self._find(size):
                if place == 0:
                    self._reserved = None
                return index, found
            if place == 0 and self._reserved is None:
                self._reserve(size)
        return None

    def open(self, key: str, size: TrialResources, start: PlacementDecision, weight: float) -> None:
        """A new lane runs a pack of this weight where `start` said."""
        for other in start.evict:
            self.close(other)
        lane = self._lanes[key] = _Allocation(size, dict(start.parts), weight, self._reservations)
        for node in lane.parts:
            self._on.setdefault(node, {})[key] = lane

    def resume(self, key: str, weight: float) -> None:
        """A lane without a pack has got one."""
        self._lanes[key].weight, self._lanes[key].since = weight, self._reservations

    def pause(self, key: str) -> None:
        """A lane's pack has ended; the lane stays."""
        if key in self._lanes:
            self._lanes[key].weight = None

    def close(self, key: str) -> None:
        """A lane is gone."""
        if lane := self._lanes.pop(key, None):
            for node in lane.parts:
                del self._on[node][key]

    def _find(self, size: TrialResources) -> PlacementDecision | None:
        """A waiting lane of this size, else the emptiest nodes; what is reserved for another size is left alone."""
        reserved = {} if self._reserved is None or self._reserved.size == size else self._reserved.parts
        for key, lane in self._lanes.items():
            if lane.weight is None and lane.size == size and self._spared(lane, reserved):
                return PlacementDecision(lane.parts, key)
        fitting = [
            (evict, -sum(free.gpus), -free.cpus, node, part)
            for node in self._machines
            for evict, free in ((False, self._free(node)), (True, self._free(node, paused=False)))
            if (part := allot(free.least(self._beside(node)) if node in reserved else free, size))
        ]
        chosen: dict[str, NodeShare] = {}
        making_way: dict[str, None] = {}
        for evict, _, _, node, part in sorted(fitting, key=lambda item: item[:4]):
            if node not in chosen and len(chosen) < size.nodes:
                chosen[node] = part
                making_way |= dict.fromkeys(self._in_the_way(node, part) if evict else ())
        return PlacementDecision(chosen, None, tuple(making_way)) if len(chosen) == size.nodes else None

    def _spared(self, lane: _Allocation, reserved: Mapping[str, NodeShare]) -> bool:
        """Whether this lane leaves the reservation what it holds."""
        return all(self._beside(node).covers(lane.parts[node]) for node in reserved.keys() & lane.parts.keys())

    def _in_the_way(self, node: str, part: NodeShare) -> Iterator[str]:
        """Lanes without a pack that must go for this part of the node to be free."""
        free = self._free(node)
        for key, lane in self._on.get(node, {}).items():
            if free.covers(part):
                return
            if lane.weight is None:
                free = free.plus(lane.parts[node])
                yield key

    def _free(self, node: str, *, paused: bool = True) -> NodeShare:
        """What no lane holds; with ``paused`` False, what no pack holds."""
        free = self._machines[node]
        for lane in self._on.get(node, {}).values():
            if paused or lane.weight is not None:
                free = free.without(lane.parts[node])
        return free

    def _possible(self, size: TrialResources) -> bool:
        return sum(allot(whole, size) is not None for whole in self._machines.values()) >= size.nodes

    def _reserve(self, size: TrialResources) -> None:
        """Keep the nodes on which the least weight has to end before this size fits."""
        outstanding = {}
        for node, whole in self._machines.items():
            if part := self._lightest(node, whole, size):
                outstanding[node] = part
        chosen = sorted(outstanding, key=lambda node: (outstanding[node][0], node))[: size.nodes]
        self._reservations += 1
        self._reserved = _Reservation(size, {node: outstanding[node][1] for node in chosen}, self._reservations)

    def _lightest(self, node: str, whole: NodeShare, size: TrialResources) -> tuple[float, NodeShare] | None:
        """The part of a node this size will take: its least busy GPUs; and the weight that runs there."""
        if allot(whole, size) is None:
            return None
        on_node = [lane for lane in self._on.get(node, {}).values() if lane.weight is not None]
        busy = [
            sum(lane.weight or 0 for lane in on_node if lane.parts[node].gpus[gpu]) for gpu in range(len(whole.gpus))
        ]
        order = sorted(range(len(whole.gpus)), key=lambda gpu: busy[gpu])
        wanted = gpus_of(size)
        kept = dict(zip(order, wanted, strict=False))
        part = NodeShare(size.cpus * size.per_node, tuple(kept.get(gpu, 0.0) for gpu in range(len(whole.gpus))))
        if not size.gpus:
            return sum(lane.weight or 0 for lane in on_node), part
        return sum(busy[gpu] for gpu in order[: len(wanted)]), part

    def _beside(self, node: str) -> NodeShare:
        """What packs started since the reservation have not taken of what it leaves of its node."""
        assert self._reserved is not None
        free = self._machines[node].without(self._reserved.parts[node])
        for lane in self._on.get(node, {}).values():
            if lane.weight is not None and lane.since >= self._reserved.number:
                free = free.without(lane.parts[node])
        return free


def _groups(each: list[int], nodes: int) -> int:
    """How many groups of so many different nodes there are, where node i may be in ``each[i]`` of them."""
    groups = 0
    while sum(count > groups for count in each) >= nodes and sum(min(count, groups + 1) for count in each) >= nodes * (
        groups + 1
    ):
        groups += 1
    return groups
