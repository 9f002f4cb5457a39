"""Claims on trials by launches that share a store.

One small table (claims/table.json) maps each launch to the file with the ids it has claimed. Such a file is written
once, before the table refers to it, and removed when the table no longer does. A launch is alive while its heartbeat
file is younger than its lease, so the cost of staying alive does not depend on the number of claims. Claims of a dead
launch are free. A launch that stalled longer than its lease is missing from the table at its next `renew`. The age of a
heartbeat is measured by the store's clock (`clocks`), so the clocks of the launchers do not matter.
"""

from __future__ import annotations

import contextlib
import datetime as dt
import functools
import os
import secrets
import socket
from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from sweeplaw.orchestrator.store import atomic, clocks, compare_and_swap
from sweeplaw.orchestrator.store.compare_and_swap import Content
from sweeplaw.trials.store_format.layout import Location

TABLE = "claims/table.json"
_NEVER = dt.datetime.min.replace(tzinfo=dt.UTC)


@dataclass(frozen=True, slots=True)
class Lease:
    """The claims of one launch; ``expires`` is in store time (`clocks.store_time`)."""

    launch_id: str
    holder: str
    trials: frozenset[str]
    expires: dt.datetime
    dead: bool = False

    @property
    def known(self) -> bool:
        """Whether the launch has a heartbeat file."""
        return self.expires > _NEVER

    def alive(self, now: dt.datetime) -> bool:
        """Return whether the lease is current at ``now`` (store time) and the process is not known to be dead."""
        return now < self.expires and not self.dead


def leases(location: Location) -> tuple[Lease, ...]:
    """Return all leases in the table, including expired ones."""
    return tuple(_lease(location, launch_id, _held(location, ids)) for launch_id, ids in _table(location).items())


def live_launches(location: Location, now: dt.datetime) -> set[str]:
    """Return the launches with a lease that are alive at ``now`` (store time), without reading their trials."""
    found = (_lease(location, launch_id, frozenset()) for launch_id in _table(location))
    return {lease.launch_id for lease in found if lease.alive(now)}


def unreferenced(location: Location) -> list[str]:
    """Return the files of ids that the table does not refer to (yet), because the launch is claiming or has died."""
    present = [f"claims/{name}.ids" for name in location.names("claims", ".ids")]
    referenced = set(_table(location).values())
    return [ids for ids in present if ids not in referenced]


def claim(location: Location, trial_ids: Iterable[str], launch_id: str, lease_seconds: float) -> set[str]:
    """Claim those of ``trial_ids`` that no live launch has claimed, and return them. Raise OSError."""
    beat(location, launch_id, lease_seconds)
    now = clocks.modified_at(location, _heartbeat(launch_id))
    wanted = set(trial_ids)
    granted: set[str] = set()

    def change(table: Content) -> Content:
        others = {name: ids for name, ids in table.items() if name != launch_id}
        alive = {name: ids for name, ids in others.items() if _lease(location, name, frozenset()).alive(now)}
        granted.clear()
        granted.update(wanted.difference(*(_held(location, ids) for ids in alive.values())))
        return alive | {launch_id: _write_ids(location, launch_id, _held(location, table.get(launch_id)) | granted)}

    _change(location, change)
    return granted


def renew(location: Location, launch_id: str, lease_seconds: float) -> bool:
    """Extend the lease by ``lease_seconds``. Return False if it had expired and another launch took the trials over."""
    beat(location, launch_id, lease_seconds)
    return launch_id in _table(location)


def release(location: Location, launch_id: str, trial_ids: Iterable[str] | None = None) -> None:
    """Release these claims, or (None) all of them and the lease. A recorded trial needs no claim.

    Raise OSError; the lease is released even if the table cannot be written (a full disk).
    """
    released = None if trial_ids is None else set(trial_ids)

    def change(table: Content) -> Content:
        if released is None or launch_id not in table:
            return {name: ids for name, ids in table.items() if name != launch_id}
        return {**table, launch_id: _write_ids(location, launch_id, _held(location, table[launch_id]) - released)}

    if released is None:
        atomic.remove(location, _heartbeat(launch_id))
    _change(location, change)


def beat(location: Location, launch_id: str, lease_seconds: float) -> None:
    """Write the heartbeat of this launch, valid for ``lease_seconds``."""
    content = {
        "lease_seconds": lease_seconds,
        "holder": f"{socket.gethostname()}:{os.getpid()}",
        "machine": machine(),
        "pid": os.getpid(),
    }
    atomic.publish_json(location, _heartbeat(launch_id), content)


def _heartbeat(launch_id: str) -> str:
    return f"claims/{launch_id}.beat.json"


def _table(location: Location) -> Content:
    try:
        return location.read_json(TABLE)
    except FileNotFoundError:
        return {}


def _change(location: Location, change: Callable[[Content], Content]) -> None:
    """Update the table, then remove the files of ids that it no longer refers to."""
    seen: set[str] = set()

    def noted(table: Content) -> Content:
        seen.update(table.values())
        changed = change(table)
        seen.update(changed.values())
        return changed

    for ids in seen.difference(compare_and_swap.update(location, TABLE, noted).values()):
        atomic.remove(location, ids)


def _held(location: Location, ids: str | None) -> frozenset[str]:
    """Return the trials in this file, none if it is gone: the table has then changed since it was read, so the update
    based on it is retried."""
    try:
        return frozenset(location.read(ids).decode().split()) if ids else frozenset()
    except FileNotFoundError:
        return frozenset()


def _write_ids(location: Location, launch_id: str, trials: Iterable[str]) -> str:
    ids = f"claims/{launch_id}.{secrets.token_hex(4)}.ids"
    atomic.publish(location, ids, "\n".join(trials).encode())
    return ids


def _lease(location: Location, launch_id: str, trials: frozenset[str]) -> Lease:
    try:
        heartbeat, at = location.read_json(_heartbeat(launch_id)), clocks.modified_at(location, _heartbeat(launch_id))
    except FileNotFoundError:
        return Lease(launch_id, "unknown", trials, _NEVER)
    expires = at + dt.timedelta(seconds=heartbeat["lease_seconds"])
    return Lease(launch_id, str(heartbeat["holder"]), trials, expires, _is_dead(heartbeat))


@functools.cache
def machine() -> str:
    """Identify the scope in which a process id is unique: the host, its boot and our pid namespace."""
    known = [socket.gethostname()]
    with contextlib.suppress(OSError):
        known.append(Path("/proc/sys/kernel/random/boot_id").read_text().strip())
        known.append(os.readlink("/proc/self/ns/pid"))
    return " ".join(known)


def _is_dead(heartbeat: Mapping[str, Any]) -> bool:
    """Return whether the holder ran on this machine and is gone, so that its lease need not expire first."""
    if heartbeat.get("machine") != machine():
        return False
    try:
        os.kill(int(heartbeat["pid"]), 0)
    except ProcessLookupError:
        return True
    except PermissionError:  # another user's process: alive
        return False
    return False
