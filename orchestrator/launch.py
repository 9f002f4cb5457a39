"""Run a sweep: plan, subtract what the store already has, claim the rest, schedule it, record every outcome.

Launching again is the restart. Nothing here remembers anything but the store.
"""

from __future__ import annotations

import contextlib
import secrets
import socket
import sys
import threading
import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Protocol

from clusters.connect import ClusterInfo, connected
from clusters.profile import Profile
from orchestrator.estimate import check, estimate
from orchestrator.packs import Pack, Queue, cut
from orchestrator.plan import Plan
from orchestrator.provenance import commit, provenance, versions
from orchestrator.store import Store
from orchestrator.worker import Job, Row
from orchestrator.writer import Writer
from trials.record import CurvePoint, Outcome, Provenance, TrialRecord
from trials.spec import TrialSpec

LEASE_SECONDS = 120.0  # a dead launcher's claims are free after this long
RENEWALS = 4  # a lease is renewed this many times before it would expire


class Watcher(Protocol):
    """Who looks on while a launch runs (a progress bar, a test)."""

    def started(self, todo: Plan, already: int, cluster: ClusterInfo) -> None:
        """The trials that will run and how many the store already had."""
        ...

    def recorded(self, rows: Sequence[Row]) -> None:
        """These rows are durable now."""
        ...


@dataclass(frozen=True, slots=True)
class Launched:
    """What a launch did: planned trials, those the store already had, those another launch holds, those it ran."""

    launch_id: str
    planned: int
    already: int
    elsewhere: int
    states: Mapping[str, int]
    problems: tuple[str, ...]


def launch(plan: Plan, store: Store, profile: Profile, watcher: Watcher) -> Launched:
    """Run the trials of ``plan`` that ``store`` has no outcome of, on the cluster of ``profile``.

    Raises InputError (a corpus that is not there, a trial that does not fit, a budget exceeded), ConnectError,
    StoreWriteError. An interrupt or an error at any moment leaves a store from which the next launch continues.
    """
    launch_id = f"{time.strftime('%Y%m%dT%H%M%S', time.gmtime())}-{secrets.token_hex(3)}"
    finished = store.finished()
    missing = {trial_id for trial_id in plan.ids if trial_id not in finished}
    already = plan.trials - len(missing)
    del finished
    if not missing:
        return Launched(launch_id, plan.trials, already, 0, {}, store.problems)
    rest = plan.only(missing)
    check(rest, estimate(rest, profile))
    plan.sweep.workload.check([group.spec(0) for group in rest.groups])
    with store.writer(launch_id) as writer, _claimed(store, missing, launch_id) as mine:
        todo = plan.only(mine)
        tally = _Tally(writer, watcher)
        if mine:
            store.add_launch(launch_id, _facts(plan, profile), todo.ids)
            with connected(profile) as cluster:
                watcher.started(todo, already, cluster)
                _run(todo, store.attempts(), launch_id, profile, cluster, tally)
    elsewhere = len(missing) - todo.trials
    return Launched(launch_id, plan.trials, already, elsewhere, tally.states, store.problems)


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
        "cluster": profile.name or profile.kind,
        "host": socket.gethostname(),
        "command": sys.argv,
        "versions": versions(),
        "commit": commit(),
    }


@contextlib.contextmanager
def _claimed(store: Store, wanted: set[str], launch_id: str) -> Iterator[set[str]]:
    """The trials no other launch is running, held until the block ends."""
    mine = store.claim(wanted, launch_id, LEASE_SECONDS)
    ending = threading.Event()
    heart = threading.Thread(target=_beat, args=(store, launch_id, ending), daemon=True)
    heart.start()
    try:
        yield mine
    finally:
        ending.set()
        heart.join()
        store.release(launch_id)


def _beat(store: Store, launch_id: str, ending: threading.Event) -> None:
    while not ending.wait(LEASE_SECONDS / RENEWALS):
        with contextlib.suppress(OSError):  # a store out of reach for a moment: the next beat may reach it
            store.renew(launch_id, LEASE_SECONDS)


class _Tally:
    """Makes rows durable, then tells the watcher and counts."""

    def __init__(self, writer: Writer, watcher: Watcher) -> None:
        self.states: dict[str, int] = {}
        self._writer = writer
        self._watcher = watcher

    def __call__(self, rows: Sequence[Row]) -> None:
        records = [row for row in rows if isinstance(row, TrialRecord)]
        self._writer.write(records, [row for row in rows if isinstance(row, CurvePoint)])
        for record in records:
            self.states[record.outcome.state] = self.states.get(record.outcome.state, 0) + 1
        self._watcher.recorded(rows)


def _run(
    todo: Plan, attempts: Mapping[str, int], launch_id: str, profile: Profile, cluster: ClusterInfo, tally: _Tally
) -> None:
    device = profile.device
    packs = cut(todo.groups, cluster.slots, stack_bytes=device.usable_bytes)
    waiting = Queue(packs, max_attempts=profile.max_attempts, stacked=device.accelerator)
    sweep, code = todo.sweep, commit()

    def make_job(pack: Pack) -> Job:
        specs = list(pack.specs)
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
        return
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
