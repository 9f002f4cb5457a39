"""What a launch does beside running trials: hold its claims, say what it runs, keep account, mind its budget."""

from __future__ import annotations

import contextlib
import itertools
import threading
from collections.abc import Iterator
from dataclasses import dataclass

from orchestrator import clocks, usage
from orchestrator.live import End, Live
from orchestrator.policy import Budget, used_up
from orchestrator.running import bury, publish, remove
from orchestrator.store import Store

LEASE_SECONDS = 120.0  # a dead launcher's claims are free after this long
TICK_SECONDS = 1.0  # how often a launch looks at its budget
SHOWN_TICKS = 5  # how often it says what it runs
RENEWAL_TICKS = 30  # how often it renews its lease: four times before it would expire
_TAKEN_OVER = f"it stalled for longer than its lease of {LEASE_SECONDS:.0f} s, and another launch took its trials over"


@dataclass(frozen=True, slots=True)
class Watched:
    """A launch of ``sweep`` whose earlier launches have used ``used`` device-seconds of ``budget``."""

    sweep: str
    live: Live
    budget: Budget
    used: float

    def mind_budget(self) -> None:
        """Let the launch end when the budget is used up."""
        if why := used_up(self.budget, self.used + self.live.device_seconds(), self.live.seconds):
            self.live.wind_down(End("budget", why))


@contextlib.contextmanager
def claimed(store: Store, wanted: set[str], launch_id: str, watched: Watched) -> Iterator[set[str]]:
    """The trials no other launch is running, held until the block ends; what of them runs is shown meanwhile."""
    bury(store.location, clocks.of_store(store.location))
    mine = store.claim(wanted, launch_id, LEASE_SECONDS)
    ending = threading.Event()
    heart = threading.Thread(target=_beat, args=(store, launch_id, watched, ending), daemon=True)
    heart.start()
    try:
        yield mine
    finally:
        ending.set()
        heart.join()
        with contextlib.suppress(OSError):  # a full disk: what stopped the launch is told, and the lease ends by itself
            store.release(launch_id)
            remove(store.location, launch_id)


def _beat(store: Store, launch_id: str, watched: Watched, ending: threading.Event) -> None:
    live = watched.live
    for tick in itertools.count(1):
        if ending.wait(TICK_SECONDS):
            return
        watched.mind_budget()
        with contextlib.suppress(OSError):  # a store out of reach for a moment: the next beat may reach it
            if tick % SHOWN_TICKS == 0:
                publish(store.location, launch_id, live.view(launch_id).running, live.now())
            if tick % RENEWAL_TICKS == 0:
                if not store.renew(launch_id, LEASE_SECONDS):
                    live.wind_down(End("preempted", _TAKEN_OVER))
                usage.publish(store.location, launch_id, watched.sweep, live.meter)


@contextlib.contextmanager
def accounted(store: Store, launch_id: str, sweep: str, live: Live) -> Iterator[None]:
    """What the launch used is in the store when the block ends, however it ends."""
    try:
        yield
    finally:
        live.cut("interrupted")
        with contextlib.suppress(OSError):  # a full disk: the rows are what counts, and what stopped them is being told
            usage.publish(store.location, launch_id, sweep, live.meter)
