"""What time it is, and by whose clock. Clocks of two machines are never compared.

How old a file is, a heartbeat among them, is told by the clock of the store alone: the time it gives to a file that is
written now, less the time it gave to that file. Durations in one process are told by its monotonic clock.
"""

from __future__ import annotations

import datetime as dt
import secrets
import time
from collections.abc import Callable

from sweeplaw.orchestrator.store import atomic
from sweeplaw.trials.store_format.layout import Location

Clock = Callable[[], dt.datetime]


def utc_now() -> dt.datetime:
    """The wall clock of this machine: for people, and for names."""
    return dt.datetime.now(dt.UTC)


def steady() -> Clock:
    """The wall clock as it goes on from now, whatever it is set to later."""
    began, since = utc_now(), time.monotonic()
    return lambda: began + dt.timedelta(seconds=time.monotonic() - since)


def written(location: Location, name: str) -> dt.datetime:
    """When the file ``name`` was written, by the clock of the store. Raises FileNotFoundError, OSError."""
    at: dt.datetime | None = location.filesystem.get_file_info(location.path(name)).mtime
    if at is None:
        raise FileNotFoundError(f"{location.uri}/{name}")
    return at


def of_store(location: Location) -> dt.datetime:
    """The clock of the store now, asked by an empty file, which fits a full disk. Raises OSError."""
    probe = f"claims/.{secrets.token_hex(4)}.time"
    atomic.publish(location, probe, b"")
    try:
        return written(location, probe)
    finally:
        atomic.remove(location, probe)


def shown(location: Location) -> dt.datetime:
    """The clock of the store, or this machine's where the store cannot be written: good enough to look by."""
    try:
        return of_store(location)
    except OSError:
        return utc_now()
