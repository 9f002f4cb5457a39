"""Heartbeats of launches: whether a launch that holds claims is alive.

A heartbeat file says for how long its launch counts as alive from the moment it was written, by the store's clock
(`clocks`), and in which process it runs, so that a dead process on this machine need not be waited for.
"""

from __future__ import annotations

import contextlib
import datetime as dt
import functools
import os
import socket
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from sweeplaw.orchestrator.store import atomic, clocks
from sweeplaw.trials.store_format.damage import DamagedFileError, parsed
from sweeplaw.trials.store_format.location import Location

_UNKNOWN_LEASE = dt.timedelta(minutes=2)  # assumed where a heartbeat is damaged: a living launch soon writes another
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


def beat(location: Location, launch_id: str, lease_seconds: float) -> None:
    """Write the heartbeat of this launch, valid for ``lease_seconds``."""
    content = {
        "lease_seconds": lease_seconds,
        "holder": f"{socket.gethostname()}:{os.getpid()}",
        "machine": machine(),
        "pid": os.getpid(),
    }
    atomic.publish_json(location, beat_file(launch_id), content)


def beat_file(launch_id: str) -> str:
    """Return the name of the heartbeat file of this launch."""
    return f"claims/{launch_id}.beat.json"


def lease(location: Location, launch_id: str, trials: frozenset[str]) -> Lease:
    """Return the lease of the launch on these trials: without a heartbeat one that never was, and a short one if the
    heartbeat is damaged.
    """
    try:
        return heartbeat(location, launch_id, trials)
    except FileNotFoundError:
        return Lease(launch_id, "unknown", trials, _NEVER)
    except DamagedFileError:  # nobody knows whether it lives, so its trials are not free yet
        return Lease(launch_id, "unknown", trials, _unknown_end(location, launch_id))


def _unknown_end(location: Location, launch_id: str) -> dt.datetime:
    try:
        return clocks.modified_at(location, beat_file(launch_id)) + _UNKNOWN_LEASE
    except OSError:
        return _NEVER


def heartbeat(location: Location, launch_id: str, trials: frozenset[str]) -> Lease:
    """Return the lease by the heartbeat of the launch. Raise FileNotFoundError, DamagedFileError."""
    name = beat_file(launch_id)

    def held(content: Mapping[str, Any]) -> Lease:
        expires = clocks.modified_at(location, name) + dt.timedelta(seconds=content["lease_seconds"])
        return Lease(launch_id, str(content["holder"]), trials, expires, _is_dead(content))

    return parsed(location, name, held)


@functools.cache
def machine() -> str:
    """Identify the scope in which a process id is unique: the host, its boot and our pid namespace."""
    known = [socket.gethostname()]
    with contextlib.suppress(OSError):
        known.append(Path("/proc/sys/kernel/random/boot_id").read_text().strip())
        known.append(os.readlink("/proc/self/ns/pid"))
    return " ".join(known)


def _is_dead(content: Mapping[str, Any]) -> bool:
    """Return whether the holder ran on this machine and is gone, so that its lease need not expire first."""
    if content.get("machine") != machine():
        return False
    try:
        os.kill(int(content["pid"]), 0)
    except ProcessLookupError:
        return True
    except PermissionError:  # another user's process: alive
        return False
    return False
