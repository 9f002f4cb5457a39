"""Clocks of machines and of the store. Clocks of two machines are never compared.

The age of a file, such as a heartbeat, is measured by the store's clock alone: the timestamp the store gives to a file
written now, minus the timestamp of that file. Durations in one process are measured by its monotonic clock.
"""

from __future__ import annotations

import datetime as dt
import secrets
import time
from collections.abc import Callable

from sweeplaw.orchestrator.store import atomic
from sweeplaw.trials.store_format import confined
from sweeplaw.trials.store_format.location import Location

Clock = Callable[[], dt.datetime]


def utc_now() -> dt.datetime:
    """Return the wall clock of this machine, for people and for names."""
    return dt.datetime.now(dt.UTC)


def steady() -> Clock:
    """Return a clock that starts at the wall clock and ignores later adjustments of it."""
    start, since = utc_now(), time.monotonic()
    return lambda: start + dt.timedelta(seconds=time.monotonic() - since)


def modified_at(location: Location, name: str) -> dt.datetime:
    """Return when the file ``name`` was written, in store time. Raise FileNotFoundError, OSError."""
    if location.local:
        return dt.datetime.fromtimestamp(confined.status(location.root, name).st_mtime, dt.UTC)
    at: dt.datetime | None = location.filesystem.get_file_info(location.path(name)).mtime
    if at is None:
        raise FileNotFoundError(f"{location.uri}/{name}")
    return at


def store_time(location: Location) -> dt.datetime:
    """Return the store's clock, read from an empty file, which fits even on a full disk. Raise OSError."""
    probe = f"claims/.{secrets.token_hex(4)}.time"
    atomic.publish(location, probe, b"")
    try:
        return modified_at(location, probe)
    finally:
        atomic.remove(location, probe)


def approximate_store_time(location: Location) -> dt.datetime:
    """Return the store's clock, or this machine's if the store cannot be written; for display only."""
    try:
        return store_time(location)
    except OSError:
        return utc_now()
