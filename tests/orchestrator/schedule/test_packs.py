"""Packs: every trial in exactly one, heaviest first; and requeueing of trials whose worker dies."""

from dataclasses import replace

import pytest
from hypothesis import given
from hypothesis import strategies as st

from sweeplaw.orchestrator.plan.plan import Group
from sweeplaw.orchestrator.schedule.packs import MAX_TRIALS, Pack, Queue, cut
from sweeplaw.trials.accounting import Cost
from tests.conftest import make_record


def group(name, count, flops, memory=None):
    return Group(
        "w", {"x": name}, ("seed",), tuple((i,) for i in range(count)), tuple(f"{name}-{i}" for i in range(count)),
        Cost(flops=flops, memory_bytes=memory),
    )  # fmt: skip


GROUPS = st.lists(st.tuples(st.integers(1, 50), st.floats(1, 1e6)), min_size=1, max_size=20).map(
    lambda found: [group(f"g{i}", count, flops) for i, (count, flops) in enumerate(found)]
)


def ids(packs):
    return [trial_id for pack in packs for one in pack.groups for trial_id in one.ids]


@given(GROUPS, st.integers(1, 8))
@pytest.mark.heavy
def test_every_trial_is_in_exactly_one_pack(groups, slots):
    packs = cut(groups, slots)
    assert sorted(ids(packs)) == sorted(trial_id for one in groups for trial_id in one.ids)


@given(GROUPS, st.integers(1, 8))
@pytest.mark.heavy
def test_the_largest_trials_leave_first(groups, slots):
    cost = {trial_id: one.cost.flops for one in groups for trial_id in one.ids}
    order = [cost[trial_id] for trial_id in ids(cut(groups, slots))]
    assert order == sorted(order, reverse=True)


def test_a_hundred_thousand_equal_trials_become_few_packs_that_end_small():
    packs = cut([group("g", 100_000, 1.0)], slots=2)
    assert len(packs) < 250
    assert max(pack.trials for pack in packs) <= MAX_TRIALS
    assert packs[-1].trials == 1


def test_a_pack_on_an_accelerator_is_one_stack_that_fits_its_memory():
    packs = cut([group("a", 10, 5.0, memory=30), group("b", 4, 9.0, memory=200)], slots=1, stack_bytes=100)
    assert all(len(pack.groups) == 1 for pack in packs)
    assert all(pack.trials <= 3 for pack in packs if pack.groups[0].ids[0].startswith("a"))
    assert all(pack.trials == 1 for pack in packs if pack.groups[0].ids[0].startswith("b"))


def lengths(*counts, memory=1):
    """Return groups of one shape whose trials are 1, 2, 4, … times as long."""
    return [
        replace(group(f"l{2**i}-", count, 2.0**i, memory), shared={"width": 8, "epochs": 2**i, "warmup": 0.1 / 2**i})
        for i, count in enumerate(counts)
    ]


def test_trials_that_differ_in_their_length_alone_are_one_stack():
    groups = lengths(2, 2, 3)
    (pack,) = cut(groups, slots=1, stack_bytes=100, unshared=frozenset({"epochs", "warmup", "seed"}))
    assert sorted(ids([pack])) == sorted(ids([Pack(tuple(groups), 0.0)]))
    assert pack.weight == 2 * 1 + 2 * 2 + 3 * 4
    assert [one.cost.flops for one in pack.groups] == [4.0, 2.0, 1.0]  # each group keeps the cost of its trials
    assert len(cut(groups, slots=1, stack_bytes=100)) == 3
    other = replace(groups[0], shared={**groups[0].shared, "width": 9}, ids=("w-0", "w-1"))
    packs = cut([*groups, other], slots=1, stack_bytes=100, unshared=frozenset({"epochs", "warmup"}))
    assert sorted(pack.trials for pack in packs) == [2, 7]


@given(st.lists(st.integers(1, 9), min_size=1, max_size=5), st.integers(1, 4), st.integers(1, 7))
def test_a_stack_of_several_lengths_fits_the_memory_and_loses_no_trial(counts, slots, room):
    groups = lengths(*counts, memory=10)
    packs = cut(groups, slots, stack_bytes=10 * room, unshared=frozenset({"epochs", "warmup"}))
    assert sorted(ids(packs)) == sorted(trial_id for one in groups for trial_id in one.ids)
    assert max(pack.trials for pack in packs) <= room


def drained(queue):
    packs = []
    while pack := queue.take():
        packs.append(pack)
    return packs


def test_the_trial_that_was_running_when_its_worker_died_is_requeued_alone():
    (pack,) = cut([group("g", 1, 1.0)], 1)
    queue = Queue([], max_attempts=3)
    full = type(pack)((group("g", 5, 1.0),), 5.0)
    assert queue.died(full, {"g-0", "g-1"}) == []
    found = drained(queue)
    assert sorted((pack.attempt, tuple(ids([pack]))) for pack in found) == [(1, ("g-3", "g-4")), (2, ("g-2",))]


def test_a_poisoned_trial_is_given_up_after_its_attempts_and_the_others_run():
    queue = Queue(cut([group("g", 4, 1.0)], 1), max_attempts=3)
    finished: set[str] = set()
    given_up = []
    while pack := queue.take():
        for trial_id in ids([pack]):
            if trial_id == "g-1":
                given_up += queue.died(pack, finished)
                break
            finished.add(trial_id)
    assert finished == {"g-0", "g-2", "g-3"}
    assert [spec["seed"] for spec in given_up] == [1]


def test_all_members_of_a_dead_stack_are_suspects():
    queue = Queue([], max_attempts=2, stacked=True)
    (pack,) = cut([group("g", 1, 1.0)], 1)
    queue.died(type(pack)((group("g", 3, 1.0),), 3.0), set())
    assert [(pack.attempt, pack.trials) for pack in drained(queue)] == [(2, 1)] * 3


@pytest.mark.parametrize("until", [None, 40])
def test_a_trial_that_is_tried_again_pauses_where_its_latest_pack_would(until: int | None) -> None:
    record = make_record(1)
    spec = record.spec
    one = Group(spec.workload, spec.knobs, (), ((),), (spec.trial_id,), record.cost)
    queue = Queue([Pack((one,), 1.0, until=25)])
    queue.take()
    queue.put(Pack((one,), 1.0, until=until))
    queue.take()
    queue.again(record)
    again = queue.take()
    assert again is not None
    assert again.until == until


@pytest.mark.parametrize("done", range(9))
@pytest.mark.parametrize(("stacked", "trunks"), [(False, False), (True, False), (True, True)])
def test_a_death_loses_no_trial_of_a_pack_of_several_groups(done, stacked, trunks):
    branches = {"a-0": ("b-0", 1)} if trunks else {}
    pack = Pack((group("a", 3, 1.0), group("b", 1, 1.0), group("c", 4, 1.0)), 8.0, branches=branches)
    finished = set(ids([pack])[:done])
    queue = Queue([], stacked=stacked)
    assert queue.died(pack, finished) == []
    waiting = drained(queue)
    assert sorted([*finished, *ids(waiting)]) == sorted(ids([pack]))
    first = next((left for one in pack.groups if (left := len(set(one.ids) - finished))), 0)
    left = pack.trials - len(finished)
    running = min(first, 1) if not stacked else first if trunks else left  # groups that share trunks take turns
    assert [one.trials for one in waiting if one.attempt == 2] == [1] * running
