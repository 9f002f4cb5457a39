"""What a launch does beside running trials: hold its claims, say what it runs, keep account, mind its budget."""

from __future__ import annotations

import contextlib
import itertools
import threading
import time
from collections.abc import Iterator
from dataclasses import dataclass, field

from sweeplaw.orchestrator.launch import usage
from sweeplaw.orchestrator.launch.running import charge_dead_launches, publish, remove
from sweeplaw.orchestrator.launch.state import End, LaunchState
from sweeplaw.orchestrator.plan.policy import Budget, used_up
from sweeplaw.orchestrator.store import clocks
from sweeplaw.orchestrator.store.store import Store

LEASE_SECONDS = 120.0  # a dead launcher's claims are free after this long
TICK_SECONDS = 1.0  # how often a launch looks at its budget
SHOWN_TICKS = 5  # how often it says what it runs
RENEWAL_TICKS = 30  # how often it renews its lease: four times before it would expire
_TAKEN_OVER = f"it stalled for longer than its lease of {LEASE_SECONDS:.0f} s, and another launch took its trials over"


@dataclass(frozen=True, slots=True)
class BudgetGuard:
    """A launch of ``sweep`` whose earlier launches have used ``used`` device-seconds of ``budget``."""

    sweep: str
    live: LaunchState
    budget: Budget
    used: float

    def mind_budget(self) -> None:
        """Let the launch end when the budget is used up."""
        if why := used_up(self.budget, self.used + self.live.device_seconds(), self.live.seconds):
            self.live.wind_down(End("budget", why))


@dataclass
class LaunchLease:
    """A launch's hold on its trials. Once ``lost``, they are another launch's, and what ours still says of them would
    be recorded twice."""

    store: Store
    launch_id: str
    trials: set[str]
    live: LaunchState
    lost: bool = False
    _renewed: float = field(default_factory=time.monotonic)

    def renew(self) -> None:
        """Another lease; when that is too late, the launch ends. Raises OSError."""
        now = time.monotonic()  # before: the lease counts from when it is written
        if self.store.renew(self.launch_id, LEASE_SECONDS):
            self._renewed = now
        else:
            self.lost = True
            self.live.wind_down(End("preempted", _TAKEN_OVER))

    def __call__(self) -> bool:
        """Whether the trials are still ours: after a stall longer than the lease, the store is asked."""
        if not self.lost and time.monotonic() - self._renewed > LEASE_SECONDS:
            with contextlib.suppress(OSError):  # out of reach: then what is to be recorded fails too, and is told
                self.renew()
        return not self.lost


@contextlib.contextmanager
def claimed(store: Store, wanted: set[str], launch_id: str, watched: BudgetGuard) -> Iterator[LaunchLease]:
    """The trials no other launch is running, held until the block ends; what of them runs is shown meanwhile."""
    charge_dead_launches(store.location, clocks.of_store(store.location))
    began = time.monotonic()
    hold = LaunchLease(store, launch_id, store.claim(wanted, launch_id, LEASE_SECONDS), watched.live, _renewed=began)
    ending = threading.Event()
    heart = threading.Thread(target=_beat, args=(hold, watched, ending), daemon=True)
    heart.start()
    try:
        yield hold
    finally:
        ending.set()
        heart.join()
        with contextlib.suppress(OSError):  # a full disk: what stopped the launch is told, and the lease ends by itself
            store.release(launch_id)
            remove(store.location, launch_id)


def _beat(hold: LaunchLease, watched: BudgetGuard, ending: threading.Event) -> None:
    store, launch_id, live = hold.store, hold.launch_id, hold.live
    for tick in itertools.count(1):
        if ending.wait(TICK_SECONDS):
            return
        watched.mind_budget()
        with contextlib.suppress(OSError):  # a store out of reach for a moment: the next beat may reach it
            if tick % SHOWN_TICKS == 0:
                publish(store.location, launch_id, live.view(launch_id).running, live.now())
            if tick % RENEWAL_TICKS == 0:
                hold.renew()
                usage.publish(store.location, launch_id, watched.sweep, live.meter)


@contextlib.contextmanager
def accounted(store: Store, launch_id: str, sweep: str, live: LaunchState) -> Iterator[None]:
    """What the launch used is in the store when the block ends, however it ends."""
    try:
        yield
    finally:
        live.cut("interrupted")
        with contextlib.suppress(OSError):  # a full disk: the rows are what counts, and what stopped them is being told
            usage.publish(store.location, launch_id, sweep, live.meter)
