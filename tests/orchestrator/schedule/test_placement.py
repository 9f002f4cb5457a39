"""The floor: nothing is over-committed, the large are not starved, and nothing idles that could run something."""

import random

from hypothesis import given, settings
from hypothesis import strategies as st

from sweeplaw.orchestrator.plan.resources import TrialResources
from sweeplaw.orchestrator.schedule.placement import NodeResources, Placement

SIZES = (
    TrialResources(1, 0.25),
    TrialResources(1, 0.5),
    TrialResources(1, 1.0),
    TrialResources(2, 2.0),
    TrialResources(1, 1.0, 4),
    TrialResources(1, 1.0, 8, 2),
    TrialResources(3),
)
NODES = st.lists(st.tuples(st.integers(1, 16), st.integers(0, 4)), min_size=1, max_size=5).map(
    lambda nodes: [NodeResources(f"n{index}", cpus, gpus) for index, (cpus, gpus) in enumerate(nodes)]
)
PACKS = st.lists(st.tuples(st.sampled_from(SIZES), st.floats(1, 100)), min_size=1, max_size=40)


class Cluster:
    """Packs in the order of their sizes, on a floor; what runs, and what each node gives, is kept beside it."""

    def __init__(self, machines, packs, limit=None):
        self.floor, self.machines, self.limit = Placement(limit), machines, limit
        self.floor.update(machines)
        self.waiting = sorted(packs, key=lambda pack: -pack[0].devices)
        self.running, self.lanes, self.count = {}, {}, 0

    def fill(self):
        started = []
        while found := self.floor.start([size for size, _ in self.waiting]):
            index, start = found
            size, weight = self.waiting.pop(index)
            if start.lane is None:
                self.count += 1
                key = f"lane{self.count}"
                self.floor.open(key, size, start, weight)
                for gone in start.evict:
                    assert gone not in self.running, "a lane with a pack had to make way"
                    del self.lanes[gone]
                self.lanes[key] = (size, start.parts)
            else:
                key = start.lane
                assert self.lanes[key][0] == size
                assert key not in self.running
                self.floor.resume(key, weight)
            self.running[key] = size
            started.append(size)
            self.check()
        return started

    def end(self, key, close=False):
        del self.running[key]
        if close:
            self.floor.close(key)
            del self.lanes[key]
        else:
            self.floor.pause(key)

    def check(self):
        for machine in self.machines:
            parts = [parts[machine.node_id] for _, parts in self.lanes.values() if machine.node_id in parts]
            assert sum(part.cpus for part in parts) <= machine.cpus + 1e-6
            for gpu in range(machine.gpus):
                assert sum(part.gpus[gpu] for part in parts) <= 1 + 1e-6
        for size, parts in self.lanes.values():
            assert len(parts) == size.nodes
            assert sum(sum(part.gpus) for part in parts.values()) == size.gpus * size.processes
        assert self.limit is None or len(self.running) <= self.limit


def possible(machines, size):
    floor = Placement()
    floor.update(machines)
    return floor.capacity(size) > 0


@settings(deadline=None)
@given(NODES, PACKS, st.one_of(st.none(), st.integers(1, 6)), st.integers(0, 10**6))
def test_nothing_is_over_committed_and_every_pack_that_fits_some_nodes_runs(machines, packs, limit, seed):
    cluster, dice = Cluster(machines, packs, limit), random.Random(seed)
    cluster.fill()
    while cluster.running:
        cluster.end(dice.choice(sorted(cluster.running)), close=dice.random() < 0.3)
        cluster.fill()
    assert all(not possible(machines, size) for size, _ in cluster.waiting)


@settings(deadline=None)
@given(NODES, PACKS, st.integers(0, 10**6))
def test_a_large_pack_starts_after_no_more_ends_than_packs_that_ran_when_it_had_to_wait(machines, packs, seed):
    cluster, dice = Cluster(machines, packs), random.Random(seed)
    cluster.waiting = [pack for pack in cluster.waiting if possible(machines, pack[0])]
    small = [pack for pack in cluster.waiting if pack[0].devices <= 1]
    large = [pack for pack in cluster.waiting if pack[0].devices > 1]
    cluster.waiting = small
    cluster.fill()
    for head in large:
        cluster.waiting.insert(0, head)
        patience = dict(cluster.running)
        head_started = head[0] in cluster.fill()
        while not head_started:
            assert patience, "every pack that ran before has ended, and the large one still waits"
            key = dice.choice(sorted(cluster.running))
            patience.pop(key, None)
            cluster.end(key)
            head_started = head[0] in cluster.fill()[:1]


@settings(deadline=None)
@given(NODES, PACKS, st.integers(0, 10**6))
def test_no_node_idles_beside_a_reservation_when_a_waiting_pack_fits_it(machines, packs, seed):
    cluster, dice = Cluster(machines, packs), random.Random(seed)
    for _ in range(6):
        cluster.fill()
        kept = set(cluster.floor._reserved.parts) if cluster.floor._reserved else set()
        for size, _ in cluster.waiting:
            for machine in machines:
                if machine.node_id not in kept and size.nodes == 1:
                    assert not _fits_beside(cluster, machine, size)
        if not cluster.running:
            break
        cluster.end(dice.choice(sorted(cluster.running)))


def _fits_beside(cluster, machine, size):
    """Whether the node holds this size beside the packs it runs, as whoever places the GPUs by hand would."""
    parts = [cluster.lanes[key][1].get(machine.node_id) for key in cluster.running]
    parts = [part for part in parts if part]
    cpus = machine.cpus - sum(part.cpus for part in parts)
    gpus = [1 - sum(part.gpus[gpu] for part in parts) for gpu in range(machine.gpus)]
    wanted = size.gpus * size.per_node
    places = (
        any(free + 1e-6 >= wanted for free in gpus) if wanted < 1 else sum(free > 1 - 1e-6 for free in gpus) >= wanted
    )
    return cpus + 1e-6 >= size.cpus * size.per_node and (places or not wanted)


def test_small_packs_fill_what_a_reservation_leaves_of_its_own_node():
    floor = Placement()
    floor.update([NodeResources("a", 8)])
    small, half, large = TrialResources(1), TrialResources(4), TrialResources(6)
    floor.open("half", half, floor.start([half])[1], 1.0)
    assert floor.start([large]) is None
    for key in ("one", "two"):  # eight cores less the six kept
        index, start = floor.start([large, small])
        assert index == 1
        floor.open(key, small, start, 1.0)
    assert floor.start([large, small]) is None, "a third small one would delay the large one"
    floor.pause("half")
    index, start = floor.start([large, small])
    assert (index, start.evict) == (0, ("half",))


def test_a_reservation_ends_with_the_pack_it_was_made_for():
    floor = Placement()
    floor.update([NodeResources("a", 2)])
    floor.open("one", TrialResources(1), floor.start([TrialResources(1)])[1], 1.0)
    assert floor.start([TrialResources(2), TrialResources(1)]) is None
    assert floor.start([TrialResources(1)]) is not None


def test_lanes_of_a_dead_node_are_lost_and_a_new_node_is_used():
    floor = Placement()
    floor.update([NodeResources("a", 2), NodeResources("b", 1)])
    for key in "xyz":
        floor.open(key, TrialResources(1), floor.start([TrialResources(1)])[1], 1.0)
    assert floor.start([TrialResources(1)]) is None
    assert floor.capacity(TrialResources(1)) == 3
    lost = floor.update([NodeResources("a", 2), NodeResources("c", 1)])
    assert len(lost) == 1
    assert floor.start([TrialResources(1)])[1].parts.keys() == {"c"}


def test_all_nodes_are_used_from_the_start():
    floor = Placement()
    floor.update([NodeResources(name, 2) for name in "abc"])
    used = []
    for key in range(6):
        start = floor.start([TrialResources(1)])[1]
        used += start.parts
        floor.open(str(key), TrialResources(1), start, 1.0)
    assert sorted(used) == list("aabbcc")
