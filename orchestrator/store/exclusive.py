"""One compaction at a time: by a lock on a file, or on an object store by a lease that expires."""

from __future__ import annotations

import contextlib
import datetime as dt
import os
import secrets
from collections.abc import Iterator

from sweeplaw.orchestrator.store import clocks, compare_and_swap
from sweeplaw.orchestrator.store.compare_and_swap import Content
from sweeplaw.orchestrator.store.journal import lock
from sweeplaw.trials.store_format import confined
from sweeplaw.trials.store_format.location import Location

_LOCK = "merges/.lock"
_CLAIM = "claims/compaction.json"
_LEASE = dt.timedelta(minutes=15)


@contextlib.contextmanager
def exclusive(location: Location) -> Iterator[bool]:
    """Yield whether this is the only compaction, determined by a lock, or on an object store by a lease."""
    if location.local:
        descriptor = confined.open_file(location.root, _LOCK, os.O_RDWR | os.O_CREAT)
        try:
            yield lock(descriptor, wait=False)
        finally:
            os.close(descriptor)
        return
    own = secrets.token_hex(8)
    try:
        yield _lease(location, own)
    finally:
        compare_and_swap.update(location, _CLAIM, lambda held: {} if held.get("holder") == own else held)


def _lease(location: Location, own: str) -> bool:
    def take(held: Content) -> Content:
        now = clocks.store_time(location)
        if held and dt.datetime.fromisoformat(held["expires"]) > now:
            return held
        return {"holder": own, "expires": (now + _LEASE).isoformat()}

    return compare_and_swap.update(location, _CLAIM, take).get("holder") == own
