"""Run a sweep: plan, subtract what the store already has, claim the rest, schedule it, record every outcome.

Launching again is the restart. Nothing here remembers anything but the store.
"""

from __future__ import annotations

import contextlib
import itertools
import secrets
import socket
import sys
import threading
import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from clusters.connect import ClusterInfo, connected
from clusters.profile import Profile
from orchestrator import usage
from orchestrator.claims import utc_now
from orchestrator.estimate import check, estimate
from orchestrator.live import Live, bury, publish, remove
from orchestrator.packs import Pack, Queue, cut
from orchestrator.plan import Plan
from orchestrator.provenance import commit, provenance, versions
from orchestrator.retries import endings, requeue_by_policy
from orchestrator.store import Store
from orchestrator.tally import Tally, Watcher
from orchestrator.usage import Usage
from orchestrator.worker import Job, Row
from orchestrator.writer import Writer
from trials.record import Outcome, Provenance, TrialRecord
from trials.spec import TrialSpec

LEASE_SECONDS = 120.0  # a dead launcher's claims are free after this long
RENEWALS = 4  # a lease is renewed this many times before it would expire
SHOWN_SECONDS = 5.0  # how often a launch says what it runs


@dataclass(frozen=True, slots=True)
class Launched:
    """What a launch did: planned trials, those the store already had, those another launch holds, those it ran.

    ``again`` counts attempts that were followed by another one; ``usage`` is the device time, wasted time by reason.
    """

    launch_id: str
    planned: int
    already: int
    elsewhere: int
    states: Mapping[str, int]
    again: int
    usage: Usage
    problems: tuple[str, ...]


def launch(plan: Plan, store: Store, profile: Profile, *watchers: Watcher, live: Live | None = None) -> Launched:
    """Run the trials of ``plan`` that ``store`` has no outcome of, or that the sweep's retry policy gives another
    attempt, on the cluster of ``profile``. ``live`` is where others may see what the launch is doing.

    Raises InputError (a corpus that is not there, a trial that does not fit, a budget exceeded), ConnectError,
    StoreWriteError. An interrupt or an error at any moment leaves a store from which the next launch continues.
    """
    launch_id = f"{time.strftime('%Y%m%dT%H%M%S', time.gmtime())}-{secrets.token_hex(3)}"
    live = live or Live()
    missing = _missing(plan, store)
    already = plan.trials - len(missing)
    if not missing:
        return Launched(launch_id, plan.trials, already, 0, {}, 0, Usage(), store.problems)
    rest = plan.only(missing)
    check(rest, estimate(rest, profile))
    plan.sweep.workload.check([group.spec(0) for group in rest.groups])
    with store.writer(launch_id) as writer, _claimed(store, missing, launch_id, live) as mine:
        todo = plan.only(mine)
        states: Mapping[str, int] = {}
        if mine:
            store.add_launch(launch_id, _facts(plan, profile), todo.ids)
            with connected(profile) as cluster, _accounted(store, launch_id, plan.sweep.name, live):
                live.began(todo.trials, cluster.slots)
                for watcher in watchers:
                    watcher.started(todo, already, cluster)
                states = _run(todo, store, launch_id, profile, cluster, writer, live, watchers)
    view, elsewhere = live.view(), len(missing) - todo.trials
    return Launched(launch_id, plan.trials, already, elsewhere, states, view.again, view.usage, store.problems)


def _missing(plan: Plan, store: Store) -> set[str]:
    """The trials of the plan without a final outcome, after the policy has put some back in the queue."""
    finished = store.finished()
    if requeue_by_policy(store, plan.sweep.retry, finished, plan.ids):
        finished = store.finished()
    return {trial_id for trial_id in plan.ids if trial_id not in finished}


@contextlib.contextmanager
def _accounted(store: Store, launch_id: str, sweep: str, live: Live) -> Iterator[None]:
    """What the launch used is in the store when the block ends, however it ends."""
    try:
        yield
    finally:
        live.cut("interrupted")
        with contextlib.suppress(OSError):  # a full disk: the rows are what counts, and what stopped them is being told
            usage.publish(store.location, launch_id, sweep, live.meter)


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


@contextlib.contextmanager
def _claimed(store: Store, wanted: set[str], launch_id: str, live: Live) -> Iterator[set[str]]:
    """The trials no other launch is running, held until the block ends; what of them runs is shown meanwhile."""
    bury(store.location, utc_now())
    mine = store.claim(wanted, launch_id, LEASE_SECONDS)
    ending = threading.Event()
    heart = threading.Thread(target=_beat, args=(store, launch_id, live, ending), daemon=True)
    heart.start()
    try:
        yield mine
    finally:
        ending.set()
        heart.join()
        store.release(launch_id)
        remove(store.location, launch_id)


def _beat(store: Store, launch_id: str, live: Live, ending: threading.Event) -> None:
    for tick in itertools.count(1):
        if ending.wait(SHOWN_SECONDS):
            return
        with contextlib.suppress(OSError):  # a store out of reach for a moment: the next beat may reach it
            publish(store.location, launch_id, live.view(launch_id), utc_now())
            if tick % (LEASE_SECONDS / RENEWALS // SHOWN_SECONDS) == 0:
                store.renew(launch_id, LEASE_SECONDS)


def _run(
    todo: Plan,
    store: Store,
    launch_id: str,
    profile: Profile,
    cluster: ClusterInfo,
    writer: Writer,
    live: Live,
    watchers: Sequence[Watcher],
) -> Mapping[str, int]:
    """How many trials ended for good in which state."""
    device, sweep, code = profile.device, todo.sweep, commit()
    packs = cut(todo.groups, cluster.slots, stack_bytes=device.usable_bytes)
    waiting = Queue(packs, max_attempts=1 + sweep.retry.worker_died, stacked=device.accelerator)
    attempts = store.attempts()
    tried_before = [trial for trial in todo.ids if trial in attempts]

    def try_again(record: TrialRecord) -> None:
        attempts[record.spec.trial_id] = record.attempt
        waiting.again(record)

    before = endings(store.location, tried_before)
    tally = Tally(writer, live, sweep.retry, before, try_again, watchers)

    def make_job(pack: Pack) -> Job:
        specs = list(pack.specs)
        live.pack_started(pack, profile.devices_per_slot)
        return Job(
            pack_id=pack.pack_id,
            workload=sweep.workload.name,
            options=sweep.options,
            specs=tuple(spec.canonical() for spec in specs),
            attempts=tuple(attempts.get(spec.trial_id, 0) + pack.attempt for spec in specs),
            sweep=sweep.name,
            launch_id=launch_id,
        )

    def give_up(pack: Pack, spec: TrialSpec, message: str) -> None:
        outcome = Outcome(spec.trial_id, "failed", f"given up after {pack.attempt} attempts: {message}")
        unknown = Provenance(None, None, versions(), code)
        attempt = attempts.get(spec.trial_id, 0) + pack.attempt
        cost = sweep.workload.cost(spec)
        tally([TrialRecord(spec, cost, outcome, sweep.name, attempt, pack.pack_id, launch_id, unknown)])

    if profile.kind == "inline":
        _inline(waiting, make_job, tally, code)
        return tally.states
    from orchestrator import schedule

    schedule.run(
        waiting,
        slots=cluster.slots,
        resources={"CPU": profile.cpus_per_trial, "GPU": profile.gpus_per_trial},
        threads=max(1, int(profile.cpus_per_trial)),
        patience=profile.patience_seconds,
        commit=code,
        make_job=make_job,
        sink=tally,
        give_up=give_up,
    )
    return tally.states


def _inline(
    waiting: Queue, make_job: Callable[[Pack], Job], sink: Callable[[Sequence[Row]], None], code: str | None
) -> None:
    """The same path in this process, one pack after another, for a debugger."""
    import tempfile

    from orchestrator import worker
    from trials.workloads import Context

    origin = provenance("cpu", code)
    while pack := waiting.take():
        with tempfile.TemporaryDirectory(prefix="sweeplaw-") as folder:
            for row in worker.run(make_job(pack), Context("cpu", Path(folder)), origin):
                sink([row])
