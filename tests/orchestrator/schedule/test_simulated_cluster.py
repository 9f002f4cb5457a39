"""The simulated cluster: conservation of trials and of device time, and closed forms of what failures cost."""

from __future__ import annotations

import itertools
import math
import random
from collections import Counter
from dataclasses import replace

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from sweeplaw.orchestrator.plan.plan import Group
from sweeplaw.orchestrator.plan.resources import TrialResources
from sweeplaw.orchestrator.schedule import backends
from sweeplaw.orchestrator.schedule.death_counts import MOST_EXCUSED
from sweeplaw.orchestrator.schedule.packs import Pack, Queue, cut
from sweeplaw.orchestrator.schedule.placement import NodeResources
from sweeplaw.orchestrator.schedule.simulated import launch
from sweeplaw.orchestrator.schedule.simulated.cluster import SimulatedCluster
from sweeplaw.orchestrator.schedule.simulated.conditions import Conditions
from sweeplaw.orchestrator.schedule.simulated.ledger import SlotLedger
from sweeplaw.orchestrator.schedule.simulated.worker import completed
from sweeplaw.trials.accounting import Cost
from sweeplaw.trials.errors import InputError
from sweeplaw.trials.record import CurvePoint, TrialRecord
from sweeplaw.trials.spec import TrialSpec
from sweeplaw.trials.workload import Context
from sweeplaw.trials.workloads.surrogate import Surrogate

HOUR = 3600.0
GPU = TrialResources(1.0, 1.0)
SIZES = (
    TrialResources(1.0, 0.5),
    GPU,
    TrialResources(1.0, 2.0),
    TrialResources(1.0, 1.0, 4),
    TrialResources(1, 1, 8, 2),
)


def group(name, trials, flops=HOUR):
    """Trials that take one second for each FLOP, shared by their processes."""
    specs = [TrialSpec("w", {"name": name, "index": index}) for index in range(trials)]
    rows = tuple((index,) for index in range(trials))
    cost = Cost(flops=flops, steps=100)
    return Group("w", {"name": name}, ("index",), rows, tuple(spec.trial_id for spec in specs), cost)


def seconds(cost, size):
    return cost.flops / size.processes


def machines(count, gpus=4, cpus=16):
    return [NodeResources(f"n{index}", cpus, gpus) for index in range(count)]


class Watched:
    """A simulated launch with the rows and trials given up that its callbacks saw."""

    def __init__(self, queue, nodes, conditions, *, ending=lambda: False, events=completed, **options):
        self.rows: list[TrialRecord | CurvePoint] = []
        self.given_up: list[str] = []
        self.lost: list[tuple[tuple[str, ...], str]] = []
        self.nodes, self.ledger = nodes, SlotLedger({node.node_id: node.gpus for node in nodes})
        cluster = SimulatedCluster(tuple(nodes), seconds, conditions, self.ledger, events=events, **options)
        run: backends.Backend = cluster.run
        callbacks = replace(
            launch._callbacks(),
            sink=self.rows.extend,
            give_up=lambda pack, spec, message, state: self.given_up.append(spec.trial_id),
            lost=self._note_lost,
            ending=ending,
        )
        run(queue, callbacks, slots=None, patience=1.0, grace=1.0, ready=300.0, commit="c")

    def _note_lost(self, pack, trials, reason):
        self.lost.append((tuple(trials), reason))
        return launch._callbacks().lost(pack, trials, reason)

    @property
    def ended(self):
        return [row.spec.trial_id for row in self.rows if isinstance(row, TrialRecord)]


def pieces(ledger):
    """Yield (node, began, ended, devices) of all that slots did on each node."""
    for span in ledger.spans:
        life = ledger.slots[span.slot]
        for node in life.nodes:
            yield node, span.began, span.ended, span.devices / len(life.nodes)


def idle(ledger):
    """Integrate the idle devices of each node over time; no moment may have more devices used than are there."""
    total = 0.0
    for node, devices in ledger.devices.items():
        steps = Counter({0.0: devices, ledger.seconds: -devices})
        for absence in ledger.absences:
            if absence.node == node:
                steps[absence.began] -= devices
                steps[min(absence.ended, ledger.seconds)] += devices
        for where, began, ended, used in pieces(ledger):
            if where == node:
                steps[began] -= used
                steps[ended] += used
        level = 0.0
        for now, then in itertools.pairwise(sorted(steps)):
            level += steps[now]
            assert level > -1e-6 or then - now < 1e-6, f"{-level} too many devices of {node} used at {now}"
            total += level * (then - now)
    return total


def over_committed(ledger, nodes):
    """Return the nodes on which slots held more than there is, at some moment."""
    found = []
    for node in nodes:
        steps: Counter[tuple[float, int]] = Counter()
        cores: Counter[tuple[float, int]] = Counter()
        for life in ledger.slots.values():
            if node.node_id in life.nodes:
                for at, sign in (((life.opened, 1), 1), ((life.closed, 0), -1)):  # closed before opened at one time
                    steps[at] += sign * life.size.gpus * life.size.per_node
                    cores[at] += sign * life.size.cpus * life.size.per_node
        for whole, changes in ((node.gpus, steps), (node.cpus, cores)):
            held = itertools.accumulate(changes[at] for at in sorted(changes))
            found += [node.node_id] if max(held, default=0) > whole + 1e-6 else []
    return found


PLANS = st.lists(st.tuples(st.sampled_from(SIZES), st.integers(1, 30), st.floats(1, 9000)), min_size=1, max_size=6)


@pytest.mark.heavy
@settings(deadline=None, max_examples=60)
@given(
    PLANS,
    st.integers(2, 4),
    st.floats(0, 2),
    st.floats(0, 2),
    st.sampled_from([None, 60.0, 1000.0]),
    st.sampled_from([0.0, 30.0]),
    st.booleans(),
    st.integers(0, 10**6),
)
def test_no_trial_is_lost_and_every_device_second_is_accounted_for(
    plan, count, failures, preemptions, checkpoint, startup, stacks, seed
):
    nodes = machines(count)
    groups = [(size, group(str(number), trials, flops)) for number, (size, trials, flops) in enumerate(plan)]
    memory = 10**9 if stacks else None
    sizes = {size: [one for own, one in groups if own == size] for size, _ in groups}
    unlike = frozenset({"name"}) if stacks else frozenset()  # all trials of a size differ in their length alone
    packs = [
        pack for size, some in sizes.items() for pack in cut(some, 4, size=size, stack_bytes=memory, unshared=unlike)
    ]
    conditions = Conditions(failures, preemptions, 300.0, startup, checkpoint, seed)
    done = Watched(Queue(packs, max_attempts=3, stacked=stacks), nodes, conditions, stacks=stacks)
    ledger = done.ledger

    planned = Counter(trial for _, one in groups for trial in one.ids)
    assert Counter(done.ended) + Counter(done.given_up) == planned
    assert (ledger.ended, ledger.given_up) == (len(done.ended), len(done.given_up))
    assert over_committed(ledger, nodes) == []

    amounts = ledger.device_seconds()
    whole = ledger.seconds * sum(ledger.devices.values())
    away = sum(ledger.devices[node] * left for node, left in ledger.away())
    assert sum(amounts.values()) + away + idle(ledger) == pytest.approx(whole, abs=1e-3)
    costs = {trial: (size, one.cost.flops) for size, one in groups for trial in one.ids}
    trained = sum(costs[trial][1] * costs[trial][0].gpus for trial in done.ended)
    assert amounts.get("useful", 0.0) == pytest.approx(trained), "what ended was trained once, from start to end"
    assert ledger.flops().get("useful", 0.0) == pytest.approx(sum(costs[trial][1] for trial in done.ended))
    simulated_launch = launch.SimulatedLaunch((ledger,))
    assert simulated_launch.idle == pytest.approx(idle(ledger), abs=1e-3)


@pytest.mark.parametrize(("trials", "gpus"), [(1, 4), (4, 4), (9, 4), (31, 4), (32, 4)])
def test_without_failures_equal_trials_take_as_many_rounds_as_there_are_per_slot(trials, gpus):
    packs = cut([group("a", trials, 100.0)], gpus, size=GPU)
    done = Watched(Queue(packs), machines(1, gpus), Conditions(startup_seconds=7.0))
    assert done.ledger.seconds == pytest.approx(7.0 + math.ceil(trials / gpus) * 100.0)
    assert done.ledger.device_seconds() == {"useful": trials * 100.0, "starting": min(trials, gpus) * 7.0}


def test_one_slot_takes_the_sum_of_all_trials():
    durations = [random.Random(3).uniform(1, 5000) for _ in range(40)]
    groups = [group(str(number), 1, duration) for number, duration in enumerate(durations)]
    done = Watched(Queue(cut(groups, 1, size=GPU)), machines(1, 1), Conditions())
    assert done.ledger.seconds == pytest.approx(sum(durations))
    assert len(done.ledger.slots) == 1


@pytest.mark.heavy
@pytest.mark.parametrize("checkpoint", [None, 0.5, 0.25])
def test_exponential_failures_cost_what_the_closed_form_says(checkpoint):
    """A stretch of t without a checkpoint inside takes (e^(λt) - 1) / λ on average, with the variance
    (e^(2λt) - 2λt e^(λt) - 1) / λ² (the time to a first failure-free stretch of a Poisson process).
    """
    trials, rate = 2500, 1.5  # failures in the time of one trial, which is an hour
    stretch = checkpoint or 1.0
    conditions = Conditions(rate, 0.0, 1e-9, 0.0, checkpoint and checkpoint * HOUR, seed=1)
    packs = [Pack((group(str(number), 1),), 1.0, size=GPU) for number in range(trials)]
    done = Watched(Queue(packs, max_attempts=10**6), machines(1, 1), conditions)
    count, each = trials / stretch, rate * stretch
    expected = count * (math.exp(each) - 1) / rate
    deviation = math.sqrt(count * (math.exp(2 * each) - 2 * each * math.exp(each) - 1)) / rate
    assert abs(done.ledger.seconds / HOUR - expected) < 4 * deviation
    wasted = done.ledger.device_seconds()["node died"]
    assert wasted == pytest.approx(done.ledger.seconds - trials * HOUR, abs=1.0)
    assert deviation < 0.05 * expected, "the check has power"


@pytest.mark.heavy
def test_preemptions_and_failures_come_at_their_rates_and_cost_under_their_own_name():
    conditions = Conditions(1.0, 3.0, away_seconds=1.0, checkpoint_seconds=1.0, seed=5)
    done = Watched(
        Queue([Pack((group("a", 1, 1000 * HOUR),), 1.0, size=GPU)], max_attempts=10**6), machines(1, 1), conditions
    )
    kinds = Counter(absence.kind for absence in done.ledger.absences)
    assert abs(kinds["node died"] - 1000) < 4 * math.sqrt(1000)
    assert abs(kinds["preempted"] - 3000) < 4 * math.sqrt(3000)
    assert {reason for _, reason in done.lost} == {"node died", "preempted"}
    assert Counter(reason for _, reason in done.lost) == kinds


def test_a_seed_fixes_every_interruption_whatever_the_order_of_the_trials():
    conditions = Conditions(0.5, 0.5, checkpoint_seconds=600.0, seed=4)
    plans = [[group("a", 20), group("b", 5, 9 * HOUR)], [group("c", 70, HOUR / 2)]]
    runs = [Watched(Queue(cut(plan, 8, size=GPU)), machines(2), conditions).ledger for plan in (*plans, plans[0])]
    assert (runs[0].spans, runs[0].absences) == (runs[2].spans, runs[2].absences)
    assert {one.node for one in runs[0].absences} == {"n0", "n1"}, "the check has power"
    assert len({one.began for one in runs[0].absences}) == len(runs[0].absences), "nodes fail independently"
    early = [[one for one in ledger.absences if one.ended < 3 * HOUR] for ledger in runs]
    assert early[0] == early[1]
    other = Watched(Queue(cut(plans[0], 8, size=GPU)), machines(2), replace(conditions, seed=5)).ledger
    assert other.absences != runs[0].absences


def test_a_stack_ends_together_and_sequential_trials_one_after_another():
    for stacks, ends in ((True, {400.0}), (False, {100.0, 200.0, 300.0, 400.0})):
        queue = Queue([Pack((group("a", 4, 100.0),), 1.0, size=GPU)], stacked=stacks)
        done = Watched(queue, machines(1, 1), Conditions(), stacks=stacks)
        assert {span.ended for span in done.ledger.spans if span.kind == "useful"} == ends
        assert done.ledger.device_seconds()["useful"] == pytest.approx(400.0)


def test_a_trial_given_up_has_wasted_all_that_its_checkpoints_kept():
    conditions = Conditions(1.0, away_seconds=1.0, checkpoint_seconds=3 * HOUR)
    queue = Queue([Pack((group("a", 1, 1000 * HOUR),), 1.0, size=GPU)], max_attempts=3)
    done = Watched(queue, machines(1, 1), conditions)
    assert len(done.given_up) == 1
    assert len(done.lost) > MOST_EXCUSED + 1, "the first deaths came after progress"
    amounts = done.ledger.device_seconds()
    assert amounts.keys() == {"failed", "node died"}
    assert amounts["failed"] > 0
    assert amounts["failed"] + amounts["node died"] == pytest.approx(done.ledger.seconds - len(done.lost) + 1)


def test_nodes_that_go_away_give_up_no_trial_that_moves_on():
    """84 hours on nodes that fail every 10: with one failure allowed, each of 8 trials has met many."""
    conditions = Conditions(0.1, away_seconds=60.0, checkpoint_seconds=600.0, seed=1)
    queue = Queue([Pack((group(f"a{n}", 1, 84 * HOUR),), 1.0, size=GPU) for n in range(8)], max_attempts=1)
    done = Watched(queue, machines(8, 1), conditions)
    assert len(done.lost) > 40
    assert (len(done.ended), done.given_up) == (8, [])


@pytest.mark.heavy
def test_workers_that_start_on_a_node_that_goes_cost_no_attempt():
    conditions = Conditions(60.0, away_seconds=1.0, startup_seconds=60.0, checkpoint_seconds=1.0, seed=2)
    done = Watched(Queue([Pack((group("a", 1, 30.0),), 1.0, size=GPU)], max_attempts=10**6), machines(1, 1), conditions)
    assert len(done.ended) == 1
    assert len(done.ledger.absences) > len(done.lost), "some interruptions met a worker that was starting"
    with pytest.raises(InputError, match=r"let no worker start, which takes 600 s: after 10,000 in a row"):
        Watched(
            Queue([Pack((group("a", 1),), 1.0, size=GPU)]),
            machines(1, 1),
            Conditions(3600.0, away_seconds=1.0, startup_seconds=600.0),
        )


def test_a_pack_whose_worker_was_starting_on_a_node_that_goes_starts_elsewhere_at_once():
    conditions = Conditions(2.0, away_seconds=600.0, startup_seconds=HOUR, seed=0)
    done = Watched(Queue([Pack((group("a", 1, 10.0),), 1.0, size=GPU)], max_attempts=99), machines(3, 1), conditions)
    first, second = list(done.ledger.slots.values())[:2]
    assert first.closed == second.opened == min(one.began for one in done.ledger.absences if one.node in first.nodes)
    assert second.nodes != first.nodes


@pytest.mark.parametrize(("checkpoint", "kind", "step"), [(600.0, "useful", 50), (None, "preempted", None)])
def test_a_drained_launch_records_what_runs_as_preempted_and_starts_nothing_more(checkpoint, kind, step):
    ended: list[str] = []

    def events(spec, took):
        ended.append(spec.trial_id)
        return completed(spec, took)

    long, short = group("long", 2), group("short", 1, HOUR / 2)
    queue = Queue(
        [Pack((long,), 2.0, size=GPU), Pack((short,), 1.0, size=GPU), Pack((group("next", 1),), 0.5, size=GPU)]
    )
    conditions = Conditions(checkpoint_seconds=checkpoint)
    done = Watched(queue, machines(1, 2), conditions, ending=lambda: bool(ended), events=events)
    found = {row.spec["name"]: row.outcome for row in done.rows if isinstance(row, TrialRecord)}
    assert {name: outcome.state for name, outcome in found.items()} == {
        "short": "completed",
        "long": "preempted",
        "next": "preempted",  # it began when the short one ended, and the launch with it
    }
    assert found["long"].last_step == step
    assert done.ended.count(long.ids[0]) == 1
    assert long.ids[1] not in done.ended, "behind the one that ran"
    assert done.ledger.seconds == HOUR / 2
    halves = {span.kind for span in done.ledger.spans if span.slot == "slot-1" and span.ended > span.began}
    assert halves == {kind}


def test_rows_are_those_of_the_workload_with_the_attempt_of_the_job():
    workload = Surrogate()
    knobs = {"params": 10**6, "tokens": 10**9}
    spec = TrialSpec.of("surrogate", workload.knobs, knobs)
    shared = {name: value for name, value in spec.knobs.items() if name != "seed"}
    one = Group("surrogate", shared, ("seed",), ((spec["seed"],),), (spec.trial_id,), workload.cost(spec))
    context = Context(device="cpu", folder=None)  # type: ignore[arg-type]

    def events(trial, took):
        return list(workload.run([trial], context))

    queue = Queue([Pack((one,), 1.0, attempt=2, size=GPU)])
    done = Watched(queue, machines(1, 1), Conditions(), events=events)
    *points, record = done.rows
    assert isinstance(record, TrialRecord)
    assert record.outcome.metrics["val_loss"] == pytest.approx(record.outcome.metrics["noiseless_loss"])
    assert (record.attempt, record.provenance.host, record.provenance.commit) == (2, "n0", "c")
    assert [point.attempt for point in points if isinstance(point, CurvePoint)] == [2] * 4


def test_a_pack_ends_at_the_step_where_it_pauses_and_goes_on_from_there():
    one, other = group("a", 1, 1000.0), group("b", 1, 1000.0)  # of 100 steps
    packs = [Pack((one,), 4.0, size=GPU, until=25), Pack((one,), 3.0, size=GPU, until=40)]
    packs += [Pack((other,), 2.0, size=GPU), Pack((one,), 1.0, size=GPU)]
    conditions = Conditions(failures_per_hour=20.0, checkpoint_seconds=1.0, seed=1)
    done = Watched(Queue(packs, max_attempts=99), machines(1, 1), conditions)
    ends = [span.ended - span.began for span in done.ledger.spans if span.kind == "useful"]
    assert sum(ends) == pytest.approx(250 + 150 + 1000 + 600, abs=1.0)
    assert done.ended == [one.ids[0], one.ids[0], other.ids[0], one.ids[0]]
    assert done.ledger.ended == 2
    assert done.ledger.absences, "the check has power"
    assert done.ledger.flops()["useful"] == pytest.approx(2000.0, abs=1.0)


def test_a_pack_that_fits_no_node_is_refused():
    with pytest.raises(InputError, match=r"packs wait for 8 GPUs, which no simulated node has"):
        Watched(Queue([Pack((group("a", 1),), 1.0, size=TrialResources(1, 8.0))]), machines(2), Conditions())


def test_what_stalls_a_launch_is_counted():
    conditions = Conditions(0.2, away_seconds=400.0, checkpoint_seconds=60.0, seed=1)
    done = Watched(
        Queue([Pack((group("a", 1, 50 * HOUR),), 1.0, size=GPU)], max_attempts=99), machines(1, 1), conditions
    )
    assert done.ledger.stalls == len(done.ledger.absences) > 0, "the only node is away for longer than 300 s"
    short = Watched(
        Queue([Pack((group("a", 1, 50 * HOUR),), 1.0, size=GPU)], max_attempts=99),
        machines(1, 1),
        replace(conditions, away_seconds=200.0),
    )
    assert short.ledger.absences
    assert short.ledger.stalls == 0
