"""Placement: no over-commitment, no starvation of large packs, and nothing idles that could run something."""

import copy
import random

import pytest
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
    """Packs in the order of their sizes, placed on nodes; what runs and what each node gives is tracked apart."""

    def __init__(self, nodes, packs, limit=None):
        self.placement, self.nodes, self.limit = Placement(limit), nodes, limit
        self.placement.update(nodes)
        self.waiting = sorted(packs, key=lambda pack: -pack[0].devices)
        self.running, self.slots, self.count = {}, {}, 0

    def fill(self):
        started = []
        while found := self.placement.decide([size for size, _ in self.waiting]):
            index, decision = found
            size, weight = self.waiting.pop(index)
            if decision.slot is None:
                self.count += 1
                key = f"slot{self.count}"
                self.placement.open(key, size, decision, weight)
                for evicted in decision.evict:
                    assert evicted not in self.running, "a slot with a pack was evicted"
                    del self.slots[evicted]
                self.slots[key] = (size, decision.shares)
            else:
                key = decision.slot
                assert self.slots[key][0] == size
                assert key not in self.running
                self.placement.resume(key, weight)
            self.running[key] = size
            started.append(size)
            self.check()
        return started

    def end(self, key, close=False):
        del self.running[key]
        if close:
            self.placement.close(key)
            del self.slots[key]
        else:
            self.placement.pause(key)

    def check(self):
        for node in self.nodes:
            held = [shares[node.node_id] for _, shares in self.slots.values() if node.node_id in shares]
            assert sum(share.cpus for share in held) <= node.cpus + 1e-6
            for gpu in range(node.gpus):
                assert sum(share.gpus[gpu] for share in held) <= 1 + 1e-6
        for size, shares in self.slots.values():
            assert len(shares) == size.nodes
            assert sum(sum(share.gpus) for share in shares.values()) == size.gpus * size.processes
        assert self.limit is None or len(self.running) <= self.limit


def possible(nodes, size):
    return placed_on(*nodes).capacity(size) > 0


def placed_on(*nodes):
    placement = Placement()
    placement.update(nodes)
    return placement


def decided(placement, *sizes):
    """Return the decision for packs of these sizes; there must be one."""
    decision = placement.decide(sizes)
    assert decision is not None
    return decision


@pytest.mark.heavy
@settings(deadline=None)
@given(NODES, PACKS, st.one_of(st.none(), st.integers(1, 6)), st.integers(0, 10**6))
def test_nothing_is_over_committed_and_every_pack_that_fits_some_nodes_runs(nodes, packs, limit, seed):
    cluster, dice = Cluster(nodes, packs, limit), random.Random(seed)
    cluster.fill()
    while cluster.running:
        cluster.end(dice.choice(sorted(cluster.running)), close=dice.random() < 0.3)
        cluster.fill()
    assert all(not possible(nodes, size) for size, _ in cluster.waiting)


@settings(deadline=None)
@given(NODES, PACKS, st.integers(0, 10**6))
@pytest.mark.heavy
def test_a_large_pack_starts_once_the_packs_that_ran_when_it_had_to_wait_have_ended(nodes, packs, seed):
    cluster, dice = Cluster(nodes, packs), random.Random(seed)
    cluster.waiting = [pack for pack in cluster.waiting if possible(nodes, pack[0])]
    small = [pack for pack in cluster.waiting if pack[0].devices <= 1]
    large = [pack for pack in cluster.waiting if pack[0].devices > 1]
    cluster.waiting = small
    cluster.fill()
    for head in large:
        cluster.waiting.insert(0, head)
        earlier = dict(cluster.running)
        head_started = head[0] in cluster.fill()
        while not head_started:
            assert earlier, "every pack that ran before has ended, and the large one still waits"
            key = dice.choice(sorted(cluster.running))
            earlier.pop(key, None)
            cluster.end(key)
            head_started = head[0] in cluster.fill()[:1]


@settings(deadline=None)
@given(NODES, PACKS, st.integers(0, 10**6))
@pytest.mark.heavy
def test_no_node_idles_beside_a_reservation_when_a_waiting_pack_fits_it(nodes, packs, seed):
    cluster, dice = Cluster(nodes, packs), random.Random(seed)
    for _ in range(6):
        cluster.fill()
        reserved = set(cluster.placement._reservation.shares) if cluster.placement._reservation else set()
        for size, _ in cluster.waiting:
            for node in nodes:
                if node.node_id not in reserved and size.nodes == 1:
                    assert not _fits_beside(cluster, node, size)
        if not cluster.running:
            break
        cluster.end(dice.choice(sorted(cluster.running)))


def _fits_beside(cluster, node, size):
    """Return whether the node holds this size beside the packs it runs, computed independently."""
    held = [cluster.slots[key][1].get(node.node_id) for key in cluster.running]
    held = [share for share in held if share]
    cpus = node.cpus - sum(share.cpus for share in held)
    gpus = [1 - sum(share.gpus[gpu] for share in held) for gpu in range(node.gpus)]
    wanted = size.gpus * size.per_node
    places = (
        any(free + 1e-6 >= wanted for free in gpus) if wanted < 1 else sum(free > 1 - 1e-6 for free in gpus) >= wanted
    )
    return cpus + 1e-6 >= size.cpus * size.per_node and (places or not wanted)


@settings(deadline=None)
@given(NODES, PACKS, st.integers(0, 10**6))
@pytest.mark.heavy
def test_what_is_remembered_of_nodes_changes_no_decision(nodes, packs, seed):
    placement, dice = placed_on(*nodes), random.Random(seed)
    running: list[str] = []
    for number, (_, weight) in enumerate(packs):
        sizes = [size for size, _ in packs[number:]]
        forgetful = copy.deepcopy(placement)
        for remembered in (forgetful._fits, forgetful._busy, forgetful._whole):
            remembered.clear()
        found = placement.decide(sizes)
        assert found == forgetful.decide(sizes)
        if found is None:
            ended = running.pop(dice.randrange(len(running))) if running else None
            if ended is not None:
                dice.choice((placement.pause, placement.close))(ended)
            continue
        if found[1].slot is None:
            running.append(f"slot{number}")
            placement.open(running[-1], sizes[found[0]], found[1], weight)
        else:
            running.append(found[1].slot)
            placement.resume(found[1].slot, weight)
        if dice.random() < 0.2:
            lost = placement.update(dice.sample(nodes, dice.randint(0, len(nodes))))
            running = [key for key in running if key not in lost]
            placement.update(nodes)


def test_small_packs_use_what_a_reservation_leaves_of_its_own_node():
    placement = placed_on(NodeResources("a", 8))
    small, half, large = TrialResources(1), TrialResources(4), TrialResources(6)
    placement.open("half", half, decided(placement, half)[1], 1.0)
    assert placement.decide([large]) is None
    for key in ("one", "two"):  # eight cores less the six reserved
        index, decision = decided(placement, large, small)
        assert index == 1
        placement.open(key, small, decision, 1.0)
    assert placement.decide([large, small]) is None, "a third small one would delay the large one"
    placement.pause("half")
    index, decision = decided(placement, large, small)
    assert (index, decision.evict) == (0, ("half",))


def test_the_node_whose_gpus_are_soonest_free_is_reserved_however_busy_its_cores_are():
    placement = placed_on(NodeResources("a", 8, 1), NodeResources("b", 8, 1))
    gpu, core, seven = TrialResources(1, 1), TrialResources(1), TrialResources(7)
    busy = {"a": 5.0, "b": 10.0}
    for key in "xy":
        decision = decided(placement, gpu)[1]
        placement.open(key, gpu, decision, busy[next(iter(decision.shares))])
    where = {}
    for key in map(str, range(14)):  # long packs on every other core
        decision = decided(placement, core)[1]
        placement.open(key, core, decision, 100.0)
        (where[key],) = decision.shares
    for key in [key for key, node in where.items() if node == "b"]:  # all but those of a end
        placement.close(key)
    waiting = TrialResources(2, 1)
    assert placement.decide([waiting]) is None
    index, decision = decided(placement, waiting, seven)
    assert (index, set(decision.shares)) == (1, {"b"}), "b keeps no core for the waiting pack"


def test_a_reservation_ends_with_the_pack_it_was_made_for():
    placement = placed_on(NodeResources("a", 2))
    placement.open("one", TrialResources(1), decided(placement, TrialResources(1))[1], 1.0)
    assert placement.decide([TrialResources(2), TrialResources(1)]) is None
    assert placement.decide([TrialResources(1)]) is not None


def test_slots_of_a_dead_node_are_lost_and_a_new_node_is_used():
    placement = placed_on(NodeResources("a", 2), NodeResources("b", 1))
    for key in "xyz":
        placement.open(key, TrialResources(1), decided(placement, TrialResources(1))[1], 1.0)
    assert placement.decide([TrialResources(1)]) is None
    assert placement.capacity(TrialResources(1)) == 3
    lost = placement.update([NodeResources("a", 2), NodeResources("c", 1)])
    assert len(lost) == 1
    assert decided(placement, TrialResources(1))[1].shares.keys() == {"c"}


def test_all_nodes_are_used_from_the_start():
    placement = placed_on(*(NodeResources(name, 2) for name in "abc"))
    used: list[str] = []
    for key in range(6):
        decision = decided(placement, TrialResources(1))[1]
        used += decision.shares
        placement.open(str(key), TrialResources(1), decision, 1.0)
    assert sorted(used) == list("aabbcc")
