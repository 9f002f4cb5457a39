"""Claim the trials of a launch; a thread renews the claims, publishes what runs, and enforces the budget."""

from __future__ import annotations

import contextlib
import itertools
import threading
import time
from collections.abc import Iterator
from dataclasses import dataclass, field

from sweeplaw.orchestrator.launch import usage
from sweeplaw.orchestrator.launch.published_packs import charge_dead_launches, publish, remove
from sweeplaw.orchestrator.launch.state import EarlyEnd, LaunchState
from sweeplaw.orchestrator.plan.limits import Budget, used_up
from sweeplaw.orchestrator.store import clocks
from sweeplaw.orchestrator.store.store import Store
from sweeplaw.orchestrator.store.tail import StoreTail
from sweeplaw.trials.store_format.damage import DamagedFileError

LEASE_SECONDS = 120.0  # a dead launcher's claims are free after this long
TICK_SECONDS = 1.0  # between two checks of the budget
PUBLISH_TICKS = 5  # between two publications of what runs
RENEWAL_TICKS = 30  # between two renewals of the lease: four times before it would expire
_TAKEN_OVER = f"it stalled for longer than its lease of {LEASE_SECONDS:.0f} s, and another launch took its trials over"


@dataclass(frozen=True, slots=True)
class BudgetGuard:
    """The budget of a launch of ``sweep`` whose earlier launches used ``used`` device-seconds of it."""

    sweep: str
    launch_state: LaunchState
    budget: Budget
    used: float

    def enforce(self) -> None:
        """Drain the launch when the budget is used up."""
        used = self.used + self.launch_state.device_seconds()
        if reason := used_up(self.budget, used, self.launch_state.seconds):
            self.launch_state.drain(EarlyEnd("budget", reason))


@dataclass
class LaunchLease:
    """A launch's lease on its trials. Once it is ``lost`` they belong to another launch, and further rows of this
    launch would be duplicates.
    """

    store: Store
    launch_id: str
    trials: set[str]
    launch_state: LaunchState
    lost: bool = False
    _renewed: float = field(default_factory=time.monotonic)

    def renew(self) -> None:
        """Renew the lease; drain the launch when it has expired and the trials were taken over. Raise OSError."""
        now = time.monotonic()  # before: the lease counts from when it is written
        if self.store.renew(self.launch_id, LEASE_SECONDS):
            self._renewed = now
        else:
            self.lost = True
            self.launch_state.drain(EarlyEnd("preempted", _TAKEN_OVER))

    def still_held(self) -> bool:
        """Return whether this launch holds its trials; reads the store only after a stall longer than the lease."""
        if not self.lost and time.monotonic() - self._renewed > LEASE_SECONDS:
            with contextlib.suppress(OSError, DamagedFileError):  # out of reach: then recording fails too, and raises
                self.renew()
        return not self.lost


@contextlib.contextmanager
def claimed(
    store: Store, wanted: set[str], launch_id: str, guard: BudgetGuard, tail: StoreTail
) -> Iterator[LaunchLease]:
    """Claim the trials of ``wanted`` that no other launch runs, hold them until the block ends, and publish what runs.

    ``tail`` was taken before ``wanted`` was determined (`Store.claim`).
    """
    store.report(charge_dead_launches(store.location, clocks.store_time(store.location)))
    began = time.monotonic()
    trials = store.claim(wanted, launch_id, LEASE_SECONDS, tail)
    lease = LaunchLease(store, launch_id, trials, guard.launch_state, _renewed=began)
    ending = threading.Event()
    heartbeat = threading.Thread(target=_heartbeat, args=(lease, guard, ending), daemon=True)
    heartbeat.start()
    try:
        yield lease
    finally:
        ending.set()
        heartbeat.join()
        # A full disk, or damage: what stopped the launch is raised, and the lease expires.
        with contextlib.suppress(OSError, DamagedFileError):
            store.release(launch_id)
            remove(store.location, launch_id)


def _heartbeat(lease: LaunchLease, guard: BudgetGuard, ending: threading.Event) -> None:
    store, launch_id, launch_state = lease.store, lease.launch_id, lease.launch_state
    for tick in itertools.count(1):
        if ending.wait(TICK_SECONDS):
            return
        guard.enforce()
        # A store out of reach for a moment, or damage: the next tick may reach it.
        with contextlib.suppress(OSError, DamagedFileError):
            if tick % PUBLISH_TICKS == 0:
                publish(store.location, launch_id, launch_state.snapshot(launch_id).running, launch_state.now())
            if tick % RENEWAL_TICKS == 0:
                lease.renew()
                usage.publish(store.location, launch_id, guard.sweep, launch_state.meter)


@contextlib.contextmanager
def accounted(store: Store, launch_id: str, sweep: str, launch_state: LaunchState) -> Iterator[None]:
    """Publish the device time of the launch when the block ends, however it ends."""
    try:
        yield
    finally:
        launch_state.cut_short("interrupted")
        with contextlib.suppress(OSError):  # a full disk: rows matter more, and what stopped them is being raised
            usage.publish(store.location, launch_id, sweep, launch_state.meter)
