"""Run a sweep: plan, subtract what the store already has, claim the rest, schedule it, record every outcome.

Launching again is the restart: no state is kept outside the store.
"""

from __future__ import annotations

import functools
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Any

import polars as pl

from sweeplaw.clusters.connect import same_code
from sweeplaw.clusters.connect.cluster import Connecting, begun
from sweeplaw.clusters.profile.profile import Profile
from sweeplaw.orchestrator.launch import checkpoints, usage
from sweeplaw.orchestrator.launch.execution import Execution
from sweeplaw.orchestrator.launch.facts import check_defaults, launch_facts, new_launch_id
from sweeplaw.orchestrator.launch.failures import FAILED, UNSETTLED, Failure, failures
from sweeplaw.orchestrator.launch.leases import BudgetGuard, LaunchLease, accounted, claimed
from sweeplaw.orchestrator.launch.recorder import LaunchObserver
from sweeplaw.orchestrator.launch.retries import requeue_by_policy
from sweeplaw.orchestrator.launch.state import EarlyEnd, LaunchState
from sweeplaw.orchestrator.plan.estimate import check, estimate
from sweeplaw.orchestrator.plan.plan import Plan
from sweeplaw.orchestrator.plan.sweep import SweepSpec
from sweeplaw.orchestrator.schedule import device_time
from sweeplaw.orchestrator.schedule.backends import backend
from sweeplaw.orchestrator.schedule.device_time import Usage
from sweeplaw.orchestrator.search import registry
from sweeplaw.orchestrator.search.space import Space
from sweeplaw.orchestrator.store.store import Store
from sweeplaw.orchestrator.store.writer import Writer
from sweeplaw.trials.errors import InputError, require_types


@dataclass(frozen=True, slots=True)
class Launched:
    """The result of a launch, in trials: planned, already in the store, held by other launches, and run, by state.

    ``retries`` counts attempts that were followed by another; ``usage`` is the device time, with wasted time by reason;
    ``end`` is set when the launch ended before its trials had; ``failures`` are the causes of those that failed.
    ``failed_earlier`` of the trials already in the store failed, which is final unless they are retried. Where a search
    proposes the trials, ``planned`` are those it has proposed so far, ``search_end`` is why it proposes no more, and
    ``recommended`` is its answer at each scientific point. ``without_weights`` are the completed trials whose weights
    the sweep wants and the store does not keep.
    """

    launch_id: str
    planned: int
    already: int
    elsewhere: int
    states: Mapping[str, int]
    retries: int
    usage: Usage
    end: EarlyEnd | None
    problems: tuple[str, ...]
    failures: tuple[Failure, ...] = ()
    failed_earlier: int = 0
    search_end: str = ""
    recommended: tuple[Mapping[str, Any], ...] = ()
    without_weights: tuple[str, ...] = ()


def launch(
    plan: Plan, store: Store, profile: Profile, *observers: LaunchObserver, launch_state: LaunchState | None = None
) -> Launched:
    """Run the trials of ``plan`` that ``store`` has no outcome of, or that the sweep's retry policy gives another
    attempt, on the cluster of ``profile``. Other threads may read ``launch_state`` meanwhile. A ``store`` at a vacant
    location is made once the launch is not refused.

    Raise InputError (a corpus that is not there, a trial that does not fit, a budget exceeded, a default of a later
    knob that changed), ConnectError, StoreWriteError. An interrupt or an error at any moment leaves a store from which
    the next launch continues.
    """
    require_types(
        ("plan", plan, Plan, "what plan returns"),
        ("store", store, Store, "what Store.open returns"),
        ("profile", profile, Profile, "what read_profile returns"),
    )
    launch_state = launch_state or LaunchState()
    check_defaults(plan.sweep, store)
    if plan.sweep.search.proposes:
        return _searched(plan, store, profile, observers, launch_state)
    tail = store.tail()
    missing, failed_earlier = _missing(plan, store)
    already = plan.trials - len(missing)
    wanted = {trial_id for trial_id in missing if profile.in_shard(trial_id)}
    if not wanted:
        _make(store)
        launch_id = new_launch_id(store)
        return Launched(
            launch_id,
            plan.trials,
            already,
            len(missing),
            {},
            0,
            Usage(),
            None,
            store.problems,
            failed_earlier=failed_earlier,
            without_weights=checkpoints.without_weights(store, plan.sweep, plan.ids),
        )
    todo = plan.only(wanted)
    guard = _checked(todo, todo, store, profile, launch_state)
    _make(store)
    launch_id = new_launch_id(store)
    store.add_launch(launch_id, launch_facts(plan, profile), todo.ids)  # before anything is started
    states: Mapping[str, int] = {}
    with (
        begun(profile) as connect,
        store.writer(launch_id) as writer,
        claimed(store, wanted, launch_id, guard, tail) as lease,
    ):
        todo = todo.only(lease.trials)
        if lease.trials:
            states = _run(todo, already, lease, profile, connect, writer, observers).states
    return Launched(
        launch_id,
        plan.trials,
        already,
        len(missing) - todo.trials,
        states,
        launch_state.retries,
        launch_state.meter.usage(),
        launch_state.end,
        store.problems,
        _failures(store, launch_id, states) if states.keys() & set(UNSETTLED) else (),
        failed_earlier,
        without_weights=checkpoints.without_weights(store, plan.sweep, plan.ids),
    )


def _searched(
    plan: Plan, store: Store, profile: Profile, observers: Sequence[LaunchObserver], launch_state: LaunchState
) -> Launched:
    """Run what the search of the sweep proposes, until it ends or its budget is spent."""
    registry.check(plan.sweep)
    examples = replace(plan, groups=Space(plan.sweep).examples)
    if misfits := [point["misfit"] for point in estimate(examples, profile)["points"] if point["misfit"]]:
        raise InputError(misfits, where=plan.sweep.name)
    guard = _checked(plan, examples, store, profile, launch_state)
    _make(store)
    launch_id = new_launch_id(store)
    store.add_launch(launch_id, launch_facts(plan, profile))
    with (
        begun(profile) as connect,
        store.writer(launch_id) as writer,
        claimed(store, set(), launch_id, guard, store.tail()) as lease,
    ):
        done = _run(plan, 0, lease, profile, connect, writer, observers, guard.used)
        feed = done.feed
        assert feed is not None, "the search proposes"
        feed.publish()
        waits = feed.waits
    return Launched(
        launch_id,
        feed.known,
        feed.already,
        feed.elsewhere,
        done.states,
        launch_state.retries,
        launch_state.meter.usage(),
        launch_state.end,
        store.problems,
        _failures(store, launch_id, done.states) if done.states.keys() & set(UNSETTLED) else (),
        search_end=feed.ended or ("" if launch_state.end else waits),
        recommended=tuple(feed.recommended()),
        without_weights=checkpoints.without_weights(store, plan.sweep, ()),
    )


def _make(store: Store) -> None:
    """Make the store if nothing is there yet. Raise InputError if it cannot be created; OSError if the disk is full."""
    if store.location.is_vacant():
        Store.open(store.location.uri, create=True)


def _failures(store: Store, launch_id: str, states: Mapping[str, int]) -> tuple[Failure, ...]:
    """Return the causes of the trials that failed in this launch, or were preempted again and again."""
    unsettled = [state for state in UNSETTLED if state in states]
    return failures(store.outcomes(["message"]).filter(pl.col("launch_id") == launch_id), unsettled)


def _missing(plan: Plan, store: Store) -> tuple[set[str], int]:
    """Return the trials of the plan without a final outcome, once the retry policy has put some back in the queue, and
    the number of the others that have failed.
    """
    finished = store.finished()
    if requeue_by_policy(store, plan.sweep.retry, finished, plan.ids):
        finished = store.finished()
    failed = sum(finished.get(trial_id) in FAILED for trial_id in plan.ids)
    return {trial_id for trial_id in plan.ids if trial_id not in finished}, failed


def _checked(wanted: Plan, examples: Plan, store: Store, profile: Profile, launch_state: LaunchState) -> BudgetGuard:
    """Check that the budget allows these trials, and that the data of the ``examples`` is there; return the guard of
    the budget.
    """
    sweep = wanted.sweep
    used = device_time.total(_published_usage(store, sweep).values()).device_seconds
    check(wanted, estimate(wanted, profile), used / 3600)
    sweep.workload.check([group.spec(0) for group in examples.groups])
    return BudgetGuard(sweep.name, launch_state, sweep.budget, used)


def _published_usage(store: Store, sweep: SweepSpec) -> Mapping[str, Usage]:
    """Return the device time of earlier launches.

    Raise InputError if damage hides some of it and a budget bounds it.
    """
    faults: list[str] = []
    published = usage.load(store.location, sweep.name, faults)
    if faults and sweep.budget.device_hours is not None:
        why = (
            "what is left of budget.device_hours is not known; repair the file, or delete it to count its usage as zero"
        )
        raise InputError([f"{fault}: {why}" for fault in faults], where=store.location.uri)
    store.report(faults)
    return published


def _run(
    todo: Plan,
    already: int,
    lease: LaunchLease,
    profile: Profile,
    connect: Connecting,
    writer: Writer,
    observers: Sequence[LaunchObserver],
    used_before: float = 0.0,
) -> Execution:
    """Run the claimed trials on the cluster, or what the search proposes; return their execution."""
    store, launch_state = lease.store, lease.launch_state
    if profile.kind == "local":
        launch_state.notify("starting Ray on this machine")
    backend(profile.kind)  # what it imports loads meanwhile
    with connect() as cluster, accounted(store, lease.launch_id, todo.sweep.name, launch_state):
        if profile.kind == "ray":  # a private Ray has this driver's
            same_code.check(cluster.nodes)
        launch_state.begin(todo.trials, cluster.slots, functools.partial(checkpoints.age, store.location))
        for observer in observers:
            observer.started(todo, already, cluster)
        execution = Execution(todo, lease, profile, cluster, writer, observers, used_before)
        execution.run()
        return execution
