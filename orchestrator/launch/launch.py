"""Run a sweep: plan, subtract what the store already has, claim the rest, schedule it, record every outcome.

Launching again is the restart. Nothing here remembers anything but the store.
"""

from __future__ import annotations

import contextlib
import functools
import secrets
import socket
import sys
import tempfile
import time
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from sweeplaw.clusters.connect.cluster import ClusterInfo, connected
from sweeplaw.clusters.profile.profile import Profile
from sweeplaw.orchestrator.launch import usage
from sweeplaw.orchestrator.launch.leases import BudgetGuard, LaunchLease, accounted, claimed
from sweeplaw.orchestrator.launch.queue import queue
from sweeplaw.orchestrator.launch.recorder import LaunchObserver, Recorder
from sweeplaw.orchestrator.launch.retries import endings, requeue_by_policy
from sweeplaw.orchestrator.launch.state import End, LaunchState
from sweeplaw.orchestrator.plan.estimate import check, estimate
from sweeplaw.orchestrator.plan.plan import Plan
from sweeplaw.orchestrator.schedule import device_time
from sweeplaw.orchestrator.schedule.device_time import Usage
from sweeplaw.orchestrator.schedule.packs import Pack, Queue
from sweeplaw.orchestrator.store import clocks
from sweeplaw.orchestrator.store.store import Store
from sweeplaw.orchestrator.store.writer import Writer
from sweeplaw.orchestrator.worker import worker
from sweeplaw.orchestrator.worker.provenance import commit, provenance, versions
from sweeplaw.orchestrator.worker.worker import Job
from sweeplaw.trials.record import Outcome, Provenance, Row, State, TrialRecord
from sweeplaw.trials.spec import TrialSpec, later_knobs
from sweeplaw.trials.store_format import checkpoint
from sweeplaw.trials.store_format.layout import Location
from sweeplaw.trials.workload import Context


@dataclass(frozen=True, slots=True)
class Launched:
    """What a launch did: planned trials, those the store already had, those another launch holds, those it ran.

    ``again`` counts attempts that were followed by another one; ``usage`` is the device time, wasted time by reason;
    ``end`` is why it ended before its trials had.
    """

    launch_id: str
    planned: int
    already: int
    elsewhere: int
    states: Mapping[str, int]
    again: int
    usage: Usage
    end: End | None
    problems: tuple[str, ...]


def launch(
    plan: Plan, store: Store, profile: Profile, *watchers: LaunchObserver, live: LaunchState | None = None
) -> Launched:
    """Run the trials of ``plan`` that ``store`` has no outcome of, or that the sweep's retry policy gives another
    attempt, on the cluster of ``profile``. ``live`` is where others may see what the launch is doing.

    Raises InputError (a corpus that is not there, a trial that does not fit, a budget exceeded), ConnectError,
    StoreWriteError. An interrupt or an error at any moment leaves a store from which the next launch continues.
    """
    live = live or LaunchState()
    missing = _missing(plan, store)
    already = plan.trials - len(missing)
    wanted = {trial_id for trial_id in missing if profile.takes(trial_id)}
    if not wanted:
        return Launched(_launch_id(store), plan.trials, already, len(missing), {}, 0, Usage(), None, store.problems)
    rest = plan.only(wanted)
    used = device_time.total(usage.load(store.location, plan.sweep.name).values()).device_seconds
    check(rest, estimate(rest, profile), used / 3600)
    watch = BudgetGuard(plan.sweep.name, live, plan.sweep.budget, used)
    plan.sweep.workload.check([group.spec(0) for group in rest.groups])
    launch_id = _launch_id(store)
    with (
        store.writer(launch_id) as writer,
        claimed(store, wanted, launch_id, watch) as hold,
    ):
        todo = plan.only(hold.trials)
        states: Mapping[str, int] = {}
        if hold.trials:
            store.add_launch(launch_id, _facts(plan, profile), todo.ids)
            with connected(profile) as cluster, accounted(store, launch_id, plan.sweep.name, live):
                live.began(todo.trials, cluster.slots, functools.partial(_kept, store.location))
                for watcher in watchers:
                    watcher.started(todo, already, cluster)
                states = _run(todo, hold, profile, cluster, writer, watchers)
    view, elsewhere = live.view(), len(missing) - todo.trials
    return Launched(
        launch_id, plan.trials, already, elsewhere, states, view.again, view.usage, live.end, store.problems
    )


def _launch_id(store: Store) -> str:
    """An id that sorts after those of all launches before it."""
    return f"{store.next_time():%Y%m%dT%H%M%S}-{secrets.token_hex(3)}"


def _kept(location: Location, trials: Sequence[str]) -> float | None:
    """Seconds since the latest checkpoint of one of these trials was written, by the clock of the store."""
    try:
        present = {name.removesuffix(checkpoint.SUFFIX) for name in location.names("checkpoints", "")}
        found = [trial for trial in trials if trial in present]
        written = [at for trial in found if (at := checkpoint.written_at(_checkpoints(location), trial))]
        return max(0.0, (clocks.of_store(location) - max(written)).total_seconds()) if written else None
    except OSError:  # a store out of reach for a moment: then all is taken for lost
        return None


def _checkpoints(location: Location) -> str:
    """Where trials leave what they can go on from."""
    return f"{location.uri}/checkpoints"


def _missing(plan: Plan, store: Store) -> set[str]:
    """The trials of the plan without a final outcome, after the policy has put some back in the queue."""
    finished = store.finished()
    if requeue_by_policy(store, plan.sweep.retry, finished, plan.ids):
        finished = store.finished()
    return {trial_id for trial_id in plan.ids if trial_id not in finished}


def _facts(plan: Plan, profile: Profile) -> dict[str, Any]:
    """What the store keeps of this launch: enough to know what was asked, by whom and from which code."""
    sweep = plan.sweep
    return {
        "sweep": sweep.name,
        "description": sweep.description,
        "sweep_file": sweep.text,
        "workload": sweep.workload.name,
        "scientific": list(sweep.names("scientific")),
        "nuisance": list(sweep.names("nuisance")),
        "derived": {name: formula.text for name, formula in sweep.derived.items()},
        "later_knobs": later_knobs(sweep.workload.knobs),
        "planned": plan.trials,
        "dropped": dict(plan.dropped),
        "retry": sweep.retry.model_dump(),
        "budget": sweep.budget.model_dump(exclude_none=True),
        "cluster": profile.name or profile.kind,
        "host": socket.gethostname(),
        "command": sys.argv,
        "versions": versions(),
        "commit": commit(),
    }


def _run(
    todo: Plan,
    hold: LaunchLease,
    profile: Profile,
    cluster: ClusterInfo,
    writer: Writer,
    watchers: Sequence[LaunchObserver],
) -> Mapping[str, int]:
    """How many trials ended for good in which state."""
    store, launch_id, live = hold.store, hold.launch_id, hold.live
    sweep, code, checkpoints = todo.sweep, commit(), _checkpoints(store.location)
    waiting = queue(todo, profile, cluster.nodes)
    attempts = store.attempts()
    tried_before = [trial for trial in todo.ids if trial in attempts]

    def try_again(record: TrialRecord) -> None:
        attempts[record.spec.trial_id] = record.attempt
        waiting.again(record)

    before = endings(store.location, tried_before)
    tally = Recorder(writer, live, sweep.retry, before, try_again, watchers, hold)

    def make_job(pack: Pack) -> Job:
        specs = list(pack.specs)
        live.pack_started(pack, pack.size.devices, socket.gethostname() if profile.kind == "inline" else None)
        return Job(
            pack_id=pack.pack_id,
            workload=sweep.workload.name,
            options=sweep.options,
            specs=tuple(spec.canonical() for spec in specs),
            attempts=tuple(attempts.get(spec.trial_id, 0) + pack.attempt for spec in specs),
            sweep=sweep.name,
            launch_id=launch_id,
            shrink=pack.shrink * pack.size.shrink,
            checkpoints=checkpoints,
            checkpoint_seconds=profile.checkpoint_seconds,
        )

    def give_up(pack: Pack, spec: TrialSpec, message: str, state: State) -> None:
        told = f"given up after {pack.attempt} attempts: {message}" if state == "failed" else message
        outcome = Outcome(spec.trial_id, state, told)
        unknown = Provenance(None, None, versions(), code)
        attempt = attempts.get(spec.trial_id, 0) + pack.attempt
        cost = sweep.workload.cost(spec)
        tally([TrialRecord(spec, cost, outcome, sweep.name, attempt, pack.pack_id, launch_id, unknown)])

    if profile.kind == "inline":
        context = functools.partial(
            Context,
            "cpu",
            checkpoints=checkpoints,
            checkpoint_seconds=profile.checkpoint_seconds,
            ending=lambda: live.ending,
        )
        _inline(waiting, make_job, tally, live, context, profile.grace_seconds, code)
        _cut_short(live, give_up)
        return tally.states
    from sweeplaw.orchestrator.schedule.dispatcher import DispatcherCallbacks
    from sweeplaw.orchestrator.schedule.ray_tune import backend

    backend.run(
        waiting,
        DispatcherCallbacks(
            make_job,
            tally,
            give_up,
            lost=lambda pack, trials, reason: live.lost(pack, trials, None, reason),
            settled=live.meter.settle,
            placed=live.pack_on,
            ended=live.pack_ended,
            ending=lambda: live.ending,
        ),
        slots=profile.slots,
        patience=profile.patience_seconds,
        grace=profile.grace_seconds,
        ready=profile.ready_seconds,
        commit=code,
    )
    _cut_short(live, give_up)
    return tally.states


def _cut_short(live: LaunchState, give_up: Callable[[Pack, TrialSpec, str, State], None]) -> None:
    """Rows for the trials that had begun and did not wind down in time."""
    if live.end is None:
        return
    for pack, begun in live.cut("budget" if live.end.state == "budget" else "preempted"):
        for spec in pack.specs:
            if spec.trial_id in begun:
                give_up(pack, spec, live.end.why, live.end.state)


def _inline(
    waiting: Queue,
    make_job: Callable[[Pack], Job],
    sink: Callable[[Sequence[Row]], None],
    live: LaunchState,
    context: Callable[..., Context],
    grace: float,
    code: str | None,
) -> None:
    """The same path in this process, one pack after another, for a debugger."""
    origin, ended_at = provenance("cpu", code), None
    while not live.ending and (pack := waiting.take()):
        job = make_job(pack)
        with (
            tempfile.TemporaryDirectory(prefix="sweeplaw-") as folder,
            contextlib.closing(worker.run(job, context(Path(folder), shrink=job.shrink), origin)) as rows,
        ):
            for row in rows:
                sink([row])
                ended_at = ended_at or (time.monotonic() if live.ending else None)
                if ended_at is not None and time.monotonic() - ended_at > grace:
                    break
