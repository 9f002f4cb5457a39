"""Who runs which trial, when several launches share a store.

One table (claims/table.json) says which launch holds which trials; a launch is alive while its heartbeat file says a
time to come. Claims of a dead launch are free. A launch that stalled longer than its lease finds itself gone from the
table at its next `renew`. Clocks of the hosts are assumed to agree within half a lease (NTP does within milliseconds).
"""

from __future__ import annotations

import contextlib
import datetime as dt
import functools
import os
import socket
from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from orchestrator import durable
from orchestrator.swap import Content, swap
from trials.layout import Location

TABLE = "claims/table.json"
_NEVER = dt.datetime.min.replace(tzinfo=dt.UTC)
Clock = Callable[[], dt.datetime]


@dataclass(frozen=True, slots=True)
class Lease:
    """What one launch holds."""

    launch_id: str
    holder: str
    trials: frozenset[str]
    expires: dt.datetime
    died: bool = False

    @property
    def known(self) -> bool:
        """Whether there is a heartbeat file at all."""
        return self.expires > _NEVER

    def alive(self, now: dt.datetime) -> bool:
        """Whether the launch still shows a heartbeat and its process is not known to be gone."""
        return now < self.expires and not self.died


def utc_now() -> dt.datetime:
    """The wall clock."""
    return dt.datetime.now(dt.UTC)


def leases(location: Location) -> tuple[Lease, ...]:
    """Every lease in the table, dead ones too."""
    try:
        table = location.read_json(TABLE)
    except FileNotFoundError:
        return ()
    return tuple(_leases(location, table).values())


def claim(
    location: Location, trial_ids: Iterable[str], launch_id: str, lease_seconds: float, now: Clock = utc_now
) -> set[str]:
    """The trials of ``trial_ids`` that are this launch's from now on: those no living launch holds. Raises OSError."""
    beat(location, launch_id, lease_seconds, now)
    wanted = set(trial_ids)
    granted: set[str] = set()

    def change(table: Content) -> Content:
        held = _leases(location, table)
        living = {name: lease for name, lease in held.items() if name != launch_id and lease.alive(now())}
        granted.clear()
        granted.update(wanted.difference(*(lease.trials for lease in living.values())))
        own = set(table.get(launch_id, ())) | granted
        return {name: table[name] for name in living} | {launch_id: sorted(own)}

    swap(location, TABLE, change)
    return granted


def renew(location: Location, launch_id: str, lease_seconds: float, now: Clock = utc_now) -> bool:
    """Another ``lease_seconds``. False when the lease had run out and another launch has taken the trials over."""
    beat(location, launch_id, lease_seconds, now)
    return any(lease.launch_id == launch_id for lease in leases(location))


def release(location: Location, launch_id: str, trial_ids: Iterable[str] | None = None) -> None:
    """Give these claims back, or (None) all of them and the lease. Recorded outcomes make a claim needless."""
    given = None if trial_ids is None else set(trial_ids)

    def change(table: Content) -> Content:
        left = [] if given is None else [trial for trial in table.get(launch_id, ()) if trial not in given]
        if given is None:
            return {name: trials for name, trials in table.items() if name != launch_id}
        return {**table, launch_id: left} if launch_id in table else table

    swap(location, TABLE, change)
    if given is None:
        durable.remove(location, _beat(launch_id))


def beat(location: Location, launch_id: str, lease_seconds: float, now: Clock = utc_now) -> None:
    """Show that this launch lives for another ``lease_seconds``."""
    content = {
        "expires": (now() + dt.timedelta(seconds=lease_seconds)).isoformat(),
        "holder": f"{socket.gethostname()}:{os.getpid()}",
        "machine": machine(),
        "pid": os.getpid(),
    }
    durable.publish_json(location, _beat(launch_id), content)


def _beat(launch_id: str) -> str:
    return f"claims/{launch_id}.beat.json"


def _leases(location: Location, table: Mapping[str, Iterable[str]]) -> dict[str, Lease]:
    found = {}
    for launch_id, trials in table.items():
        try:
            shown = location.read_json(_beat(launch_id))
        except FileNotFoundError:
            found[launch_id] = Lease(launch_id, "unknown", frozenset(trials), dt.datetime.min.replace(tzinfo=dt.UTC))
            continue
        expires = dt.datetime.fromisoformat(shown["expires"])
        found[launch_id] = Lease(launch_id, str(shown["holder"]), frozenset(trials), expires, _died(shown))
    return found


@functools.cache
def machine() -> str:
    """Which process ids mean the same processes as ours: the host, its boot and the pid namespace we are in."""
    known = [socket.gethostname()]
    with contextlib.suppress(OSError):
        known.append(Path("/proc/sys/kernel/random/boot_id").read_text().strip())
        known.append(os.readlink("/proc/self/ns/pid"))
    return " ".join(known)


def _died(shown: Mapping[str, Any]) -> bool:
    """Whether the holder ran on this machine and is there no more: then nobody need wait for its lease to expire."""
    if shown.get("machine") != machine():
        return False
    try:
        os.kill(int(shown["pid"]), 0)
    except ProcessLookupError:
        return True
    except PermissionError:  # somebody else's process: alive
        return False
    return False
