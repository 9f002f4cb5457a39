"""Who runs which trial, when several launches share a store.

One small table (claims/table.json) says in which file each launch keeps the ids it holds; such a file is written once,
before the table names it, and removed when it no longer does. A launch is alive while its heartbeat file is younger
than its lease, so staying alive costs the same however many trials are held. Claims of a dead launch are free. A launch
that stalled longer than its lease finds itself gone from the table at its next `renew`. How old a heartbeat is the
store's clock tells, which dates all of them (`clocks`): what the clocks of the launchers say does not matter.
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

from sweeplaw.orchestrator.store import atomic, clocks
from sweeplaw.orchestrator.store.compare_and_swap import Content, swap
from sweeplaw.trials.store_format.layout import Location

TABLE = "claims/table.json"
_NEVER = dt.datetime.min.replace(tzinfo=dt.UTC)


@dataclass(frozen=True, slots=True)
class Lease:
    """What one launch holds; ``expires`` is by the clock of the store."""

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
        """Whether the launch still shows a heartbeat (``now``: `clocks.of_store`) and its process is not known to be
        gone."""
        return now < self.expires and not self.died


def leases(location: Location) -> tuple[Lease, ...]:
    """Every lease in the table, dead ones too."""
    return tuple(_lease(location, launch_id, _held(location, ids)) for launch_id, ids in _table(location).items())


def living(location: Location, now: dt.datetime) -> set[str]:
    """The launches that hold a lease and are alive at ``now`` (`clocks.of_store`); their trials are not read."""
    found = (_lease(location, launch_id, frozenset()) for launch_id in _table(location))
    return {lease.launch_id for lease in found if lease.alive(now)}


def unnamed(location: Location) -> list[str]:
    """Files of ids that the table does not name: about to be named, or left by a launch that died before."""
    written = [f"claims/{name}.ids" for name in location.names("claims", ".ids")]
    named = set(_table(location).values())
    return [ids for ids in written if ids not in named]


def claim(location: Location, trial_ids: Iterable[str], launch_id: str, lease_seconds: float) -> set[str]:
    """The trials of ``trial_ids`` that are this launch's from now on: those no living launch holds. Raises OSError."""
    beat(location, launch_id, lease_seconds)
    now = clocks.written(location, _beat(launch_id))
    wanted = set(trial_ids)
    granted: set[str] = set()

    def change(table: Content) -> Content:
        others = {name: ids for name, ids in table.items() if name != launch_id}
        alive = {name: ids for name, ids in others.items() if _lease(location, name, frozenset()).alive(now)}
        granted.clear()
        granted.update(wanted.difference(*(_held(location, ids) for ids in alive.values())))
        return alive | {launch_id: _written(location, launch_id, _held(location, table.get(launch_id)) | granted)}

    _change(location, change)
    return granted


def renew(location: Location, launch_id: str, lease_seconds: float) -> bool:
    """Another ``lease_seconds``. False when the lease had run out and another launch has taken the trials over."""
    beat(location, launch_id, lease_seconds)
    return launch_id in _table(location)


def release(location: Location, launch_id: str, trial_ids: Iterable[str] | None = None) -> None:
    """Give these claims back, or (None) all of them and the lease. Recorded outcomes make a claim needless.

    Raises OSError; a lease is given back even when the table cannot be written (a full disk).
    """
    given = None if trial_ids is None else set(trial_ids)

    def change(table: Content) -> Content:
        if given is None or launch_id not in table:
            return {name: ids for name, ids in table.items() if name != launch_id}
        return {**table, launch_id: _written(location, launch_id, _held(location, table[launch_id]) - given)}

    if given is None:
        atomic.remove(location, _beat(launch_id))
    _change(location, change)


def beat(location: Location, launch_id: str, lease_seconds: float) -> None:
    """Show that this launch lives for another ``lease_seconds``."""
    content = {
        "lease_seconds": lease_seconds,
        "holder": f"{socket.gethostname()}:{os.getpid()}",
        "machine": machine(),
        "pid": os.getpid(),
    }
    atomic.publish_json(location, _beat(launch_id), content)


def _beat(launch_id: str) -> str:
    return f"claims/{launch_id}.beat.json"


def _table(location: Location) -> Content:
    try:
        return location.read_json(TABLE)
    except FileNotFoundError:
        return {}


def _change(location: Location, change: Callable[[Content], Content]) -> None:
    """Swap the table, then remove the files of ids that it no longer names."""
    named: set[str] = set()

    def noted(table: Content) -> Content:
        named.update(table.values())
        changed = change(table)
        named.update(changed.values())
        return changed

    for ids in named.difference(swap(location, TABLE, noted).values()):
        atomic.remove(location, ids)


def _held(location: Location, ids: str | None) -> frozenset[str]:
    """The trials in this file. None are when it is gone: then the table has changed since it was read, and a change
    made from it does not come to count."""
    try:
        return frozenset(location.read(ids).decode().split()) if ids else frozenset()
    except FileNotFoundError:
        return frozenset()


def _written(location: Location, launch_id: str, trials: Iterable[str]) -> str:
    ids = f"claims/{launch_id}.{secrets.token_hex(4)}.ids"
    atomic.publish(location, ids, "\n".join(trials).encode())
    return ids


def _lease(location: Location, launch_id: str, trials: frozenset[str]) -> Lease:
    try:
        shown, beaten = location.read_json(_beat(launch_id)), clocks.written(location, _beat(launch_id))
    except FileNotFoundError:
        return Lease(launch_id, "unknown", trials, _NEVER)
    expires = beaten + dt.timedelta(seconds=shown["lease_seconds"])
    return Lease(launch_id, str(shown["holder"]), trials, expires, _died(shown))


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
