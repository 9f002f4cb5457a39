"""What runs, as a launch leaves it in the store with its heartbeat: ``claims/<launch>.running.json``.

From it `sweeplaw status` tells running trials from those that are merely claimed, and the next launch learns what a
dead launcher was in the middle of.
"""

from __future__ import annotations

import datetime as dt
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from typing import Any

from sweeplaw.orchestrator.launch import usage
from sweeplaw.orchestrator.store import atomic, clocks
from sweeplaw.orchestrator.store.claims import living
from sweeplaw.trials.store_format.layout import Location

SUFFIX = ".running.json"


@dataclass(frozen=True, slots=True)
class RunningPack:
    """A pack on a worker. ``steps`` are the last steps heard of its trials that have begun and not ended; ``left`` is
    how many have not ended; ``idle_since`` is when it last recorded a trial (or started): what it would lose by dying.
    """

    pack_id: str
    launch_id: str
    host: str | None
    devices: float
    since: dt.datetime
    idle_since: dt.datetime
    left: int
    steps: Mapping[str, int | None]


def publish(location: Location, launch_id: str, running: Iterable[RunningPack], now: dt.datetime) -> None:
    """Leave in the store what runs. Raises OSError."""
    packs = [
        {
            "pack_id": one.pack_id,
            "host": one.host,
            "devices": one.devices,
            "since": one.since.isoformat(),
            "idle_since": one.idle_since.isoformat(),
            "left": one.left,
            "steps": one.steps,
        }
        for one in running
    ]
    atomic.publish_json(location, f"claims/{launch_id}{SUFFIX}", {"at": now.isoformat(), "packs": packs})


def read(location: Location, launch_id: str) -> tuple[dt.datetime, tuple[RunningPack, ...]] | None:
    """When the launch last said what it runs, and what, all by the clock of the store; None when it has not, or is
    over."""
    name = f"claims/{launch_id}{SUFFIX}"
    try:
        content, at = location.read_json(name), clocks.written(location, name)
    except FileNotFoundError:
        return None
    ahead = dt.datetime.fromisoformat(content["at"]) - at  # the launch's clock, of the store's
    return at, tuple(_parsed(launch_id, pack, ahead) for pack in content["packs"])


def _parsed(launch_id: str, pack: Mapping[str, Any], ahead: dt.timedelta) -> RunningPack:
    times = {name: dt.datetime.fromisoformat(pack[name]) - ahead for name in ("since", "idle_since")}
    return RunningPack(
        pack["pack_id"], launch_id, pack["host"], pack["devices"], left=pack["left"], steps=pack["steps"], **times
    )


def remove(location: Location, launch_id: str) -> None:
    """The launch is over. Raises OSError."""
    atomic.remove(location, f"claims/{launch_id}{SUFFIX}")


def charge_dead_launches(location: Location, now: dt.datetime) -> None:
    """Charge what dead launchers were in the middle of to their account, and clear it away. Raises OSError."""
    alive = living(location, now)
    for launch_id in location.names("claims", SUFFIX):
        found = None if launch_id in alive else read(location, launch_id)
        if found is None:
            continue
        at, packs = found
        lost = sum(pack.devices * max(0.0, (at - pack.idle_since).total_seconds()) for pack in packs)
        if packs:
            usage.close(location, launch_id, lost, len(packs))
        remove(location, launch_id)
