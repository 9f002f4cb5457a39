"""Claims on trials by launches that share a store.

One small table (claims/table.json) maps each launch to the file with the ids it has claimed. Such a file is written
once, before the table refers to it, and removed when the table no longer does. A launch is alive while its heartbeat
file is younger than its lease, so the cost of staying alive does not depend on the number of claims. Claims of a dead
launch are free. A launch that stalled longer than its lease is missing from the table at its next `renew`. The age of a
heartbeat is measured by the store's clock (`clocks`), so the clocks of the launchers do not matter.
"""

from __future__ import annotations

import datetime as dt
import re
import secrets
import zlib
from collections.abc import Callable, Iterable

from sweeplaw.orchestrator.store import atomic, clocks, compare_and_swap
from sweeplaw.orchestrator.store.compare_and_swap import Content
from sweeplaw.orchestrator.store.heartbeats import Lease, beat, beat_file, heartbeat, lease
from sweeplaw.trials.errors import InputError
from sweeplaw.trials.store_format import confined
from sweeplaw.trials.store_format.checksum import ChecksumError
from sweeplaw.trials.store_format.confined import IrregularError
from sweeplaw.trials.store_format.damage import DamagedFileError
from sweeplaw.trials.store_format.location import Location

TABLE = "claims/table.json"
READINGS = 10  # at most, of a table that other launches change meanwhile
_IDS = re.compile(rf"claims/{confined.BARE}\.ids")
_CHECKED = re.compile(r".*\.[0-9a-f]{8}-([0-9a-f]{8})\.ids")  # the name of a file of ids ends in its CRC-32


def leases(location: Location) -> tuple[Lease, ...]:
    """Return all leases in the table, including expired ones; none if it cannot be read, and none of the trials in a
    file of ids that cannot (see `faults`).
    """
    found: tuple[Lease, ...] = ()
    for _ in range(READINGS):
        try:
            table = _table(location)
            found = tuple(lease(location, launch_id, _readable(location, ids)) for launch_id, ids in table.items())
            if _table(location) == table:  # else a file of ids may have been replaced before it was read
                break
        except DamagedFileError:
            return ()
    return found


def live_launches(location: Location, now: dt.datetime) -> set[str]:
    """Return the launches with a lease that are alive at ``now`` (store time), without reading their trials.

    Raise InputError if the table cannot be read.
    """
    try:
        table = _table(location)
    except DamagedFileError as error:
        raise _unusable(location, error) from None
    found = (lease(location, launch_id, frozenset()) for launch_id in table)
    return {held.launch_id for held in found if held.alive(now)}


def unreferenced(location: Location) -> list[str]:
    """Return the files of ids that the table does not refer to (yet), because the launch is claiming or has died; none
    if the table cannot be read.
    """
    try:
        referenced = set(_table(location).values())
    except DamagedFileError:
        return []
    present = [f"claims/{name}.ids" for name in location.names("claims", ".ids")]
    return [ids for ids in present if ids not in referenced]


def faults(location: Location) -> list[str]:
    """Return a sentence for the table or each of its entries that is ignored, and for each damaged file of a launch."""
    try:
        content = compare_and_swap.read(location, TABLE)
    except DamagedFileError as error:
        return [str(error)]
    table, found = _claims(content), []
    for launch_id in content:
        try:
            if launch_id not in table:
                found.append(f"{TABLE}: {launch_id!r}: {content[launch_id]!r} is no claim and is ignored")
            else:
                _held(location, content[launch_id])
                heartbeat(location, launch_id, frozenset())
        except DamagedFileError as error:
            found.append(str(error))
        except FileNotFoundError:
            continue
    return found


def claim(location: Location, trial_ids: Iterable[str], launch_id: str, lease_seconds: float) -> set[str]:
    """Claim those of ``trial_ids`` that no live launch has claimed, and return them.

    Raise OSError; InputError if damage hides what another launch may run.
    """
    beat(location, launch_id, lease_seconds)
    now = clocks.modified_at(location, beat_file(launch_id))
    wanted = set(trial_ids)
    granted: set[str] = set()

    def change(table: Content) -> Content:
        others = {name: ids for name, ids in table.items() if name != launch_id}
        alive = {name: ids for name, ids in others.items() if lease(location, name, frozenset()).alive(now)}
        granted.clear()
        granted.update(wanted.difference(*(_held(location, ids) for ids in alive.values())))
        return alive | {launch_id: _write_ids(location, launch_id, _held(location, table.get(launch_id)) | granted)}

    try:
        _change(location, change)
    except DamagedFileError as error:
        atomic.remove(location, beat_file(launch_id))
        raise _unusable(location, error) from None
    return granted


def renew(location: Location, launch_id: str, lease_seconds: float) -> bool:
    """Extend the lease by ``lease_seconds``. Return False if it had expired and another launch took the trials over."""
    beat(location, launch_id, lease_seconds)
    try:
        return launch_id in _table(location)
    except DamagedFileError:  # without the table nobody can have taken them over
        return True


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
        atomic.remove(location, beat_file(launch_id))
    _change(location, change)


def _unusable(location: Location, error: DamagedFileError) -> InputError:
    """Return the error of a launch that cannot know which trials others run."""
    return InputError(f"{location.uri}: {error}; when no launch runs on this store, remove the file")


def _table(location: Location) -> Content:
    return _claims(compare_and_swap.read(location, TABLE))


def _claims(content: Content) -> Content:
    """Return the entries of the table that are claims. Other entries are left untouched."""
    return {launch_id: ids for launch_id, ids in content.items() if _is_claim(launch_id, ids)}


def _is_claim(launch_id: str, ids: object) -> bool:
    return isinstance(ids, str) and bool(_IDS.fullmatch(ids) and confined.VISIBLE.fullmatch(launch_id))


def _change(location: Location, change: Callable[[Content], Content]) -> None:
    """Update the table, then remove the files of ids that it no longer refers to."""
    seen: set[str] = set()

    def noted(content: Content) -> Content:
        table = _claims(content)
        seen.update(table.values())
        changed = change(table)
        seen.update(changed.values())
        return changed

    for ids in seen.difference(compare_and_swap.update(location, TABLE, noted).values()):
        atomic.remove(location, ids)


def _held(location: Location, ids: str | None) -> frozenset[str]:
    """Return the trials in this file, none if it is gone: the table has then changed since it was read, so the update
    based on it is retried. Raise DamagedFileError.
    """
    if not ids:
        return frozenset()
    try:
        data = location.read(ids)
        checked = _CHECKED.fullmatch(ids)
        if checked and int(checked[1], 16) != zlib.crc32(data):
            raise ChecksumError
        return frozenset(data.decode().split())
    except FileNotFoundError:
        return frozenset()
    except (IrregularError, ValueError) as error:
        raise DamagedFileError(ids, error) from None


def _readable(location: Location, ids: str) -> frozenset[str]:
    try:
        return _held(location, ids)
    except DamagedFileError:
        return frozenset()


def _write_ids(location: Location, launch_id: str, trials: Iterable[str]) -> str:
    data = "\n".join(trials).encode()
    ids = f"claims/{launch_id}.{secrets.token_hex(4)}-{zlib.crc32(data):08x}.ids"
    atomic.publish(location, ids, data)
    return ids
