"""The packs that run, as published in the store for other processes: ``claims/<launch>.running.json``.

A launch writes the file with its heartbeat. From it `sweeplaw status` distinguishes running trials from claimed ones,
and the next launch accounts for the work a dead launcher lost.
"""

from __future__ import annotations

import datetime as dt
import itertools
import math
import operator
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field
from typing import Any

from sweeplaw.orchestrator.launch import usage
from sweeplaw.orchestrator.schedule.packs import Pack
from sweeplaw.orchestrator.store import atomic, clocks
from sweeplaw.orchestrator.store.claims import live_launches
from sweeplaw.trials.spec import Value
from sweeplaw.trials.store_format.damage import DamagedFileError, parsed
from sweeplaw.trials.store_format.location import Location

SUFFIX = ".running.json"
LONGEST = 60  # characters of a knob that is published
_PLANNED = ("params", "params_non_embedding", "tokens", "steps")
_VALUES = (bool, int, float, str)


@dataclass(frozen=True, slots=True)
class RunningPack:
    """A pack on a worker. ``steps`` are the latest steps of its trials that have begun and not ended; ``left`` is the
    number that have not ended; ``idle_since`` is when it last recorded a trial (or started): what it would lose by
    dying. ``about`` has the knobs of the first of ``steps``, with its planned `params`, `params_non_embedding`,
    `tokens` and `steps` as far as they are known; empty if an earlier version published it.
    """

    pack_id: str
    launch_id: str
    host: str | None
    devices: float
    since: dt.datetime
    idle_since: dt.datetime
    left: int
    steps: Mapping[str, int | None]
    about: Mapping[str, Value] = field(default_factory=dict)


def about(pack: Pack, trial_id: str) -> dict[str, Value]:
    """Return the knobs and the planned size, budget and steps of a trial of the pack; long texts are left out."""
    for group in pack.groups:
        if trial_id in group.ids:
            planned = {name: getattr(group.cost, name) for name in _PLANNED}
            found = {**planned, **group.spec(group.ids.index(trial_id)).knobs}
            return {name: value for name, value in found.items() if value is not None and len(str(value)) <= LONGEST}
    return {}


def publish(location: Location, launch_id: str, running: Iterable[RunningPack], now: dt.datetime) -> None:
    """Store what the launch runs now. Raise OSError."""
    packs = [
        {
            "pack_id": pack.pack_id,
            "host": pack.host,
            "devices": pack.devices,
            "since": pack.since.isoformat(),
            "idle_since": pack.idle_since.isoformat(),
            "left": pack.left,
            "steps": pack.steps,
            "about": pack.about,
        }
        for pack in running
    ]
    atomic.publish_json(location, f"claims/{launch_id}{SUFFIX}", {"at": now.isoformat(), "packs": packs})


def read(location: Location, launch_id: str) -> tuple[dt.datetime, tuple[RunningPack, ...]] | None:
    """Return when the launch last published what it runs, and the packs, all by the clock of the store.

    None when it has not published yet, or is over. Raise DamagedFileError.
    """
    name = f"claims/{launch_id}{SUFFIX}"

    def found(content: Mapping[str, Any]) -> tuple[dt.datetime, tuple[RunningPack, ...]]:
        at = clocks.modified_at(location, name)
        ahead = dt.datetime.fromisoformat(content["at"]) - at  # of the store's clock
        return at, tuple(_parsed(launch_id, pack, ahead) for pack in content["packs"])

    try:
        return parsed(location, name, found)
    except FileNotFoundError:
        return None


def _parsed(launch_id: str, pack: Mapping[str, Any], ahead: dt.timedelta) -> RunningPack:
    times = {name: dt.datetime.fromisoformat(pack[name]) - ahead for name in ("since", "idle_since")}
    steps = {str(trial): None if step is None else operator.index(step) for trial, step in pack["steps"].items()}
    host = None if pack["host"] is None else str(pack["host"])
    devices, left = float(pack["devices"]), operator.index(pack["left"])
    if not math.isfinite(devices):
        raise ValueError(f"devices = {devices}")
    about = {str(name): value for name, value in pack.get("about", {}).items() if isinstance(value, _VALUES)}
    return RunningPack(str(pack["pack_id"]), launch_id, host, devices, left=left, steps=steps, about=about, **times)


def remove(location: Location, launch_id: str) -> None:
    """Remove what the launch published, at its end. Raise OSError."""
    atomic.remove(location, f"claims/{launch_id}{SUFFIX}")


def charge_dead_launches(location: Location, now: dt.datetime) -> list[str]:
    """Record the unfinished work of dead launches as device time those launches lost, and remove it.

    Return a sentence for each that damage hides, and which stays. Raise OSError; InputError if it cannot be known which
    launches are dead.
    """
    alive, faults = live_launches(location, now), []
    for launch_id in location.names("claims", SUFFIX):
        try:
            if launch_id not in alive:
                _charge(location, launch_id)
        except DamagedFileError as error:
            faults.append(f"{error}; the device time that launch {launch_id} lost is not known")
    return faults


def _charge(location: Location, launch_id: str) -> None:
    found = read(location, launch_id)
    if found is None:
        return
    at, packs = found
    working = [pack for pack in packs if pack.host is not None]  # the workers of the others were starting
    lost = sum(pack.devices * max(0.0, (at - pack.idle_since).total_seconds()) for pack in working)
    if working:
        usage.close(location, launch_id, lost, len(working))
    remove(location, launch_id)


@dataclass
class PackState:
    """A pack from the moment a worker has taken it. ``left`` are its trials without a row yet, in running order.

    ``host`` is None while the worker starts. ``steps`` has the latest step of each trial that has reported one.
    """

    pack: Pack
    since: dt.datetime
    idle_since: dt.datetime
    devices: float
    left: dict[str, None]
    host: str | None = None
    steps: dict[str, int | None] = field(default_factory=dict)

    @property
    def begun(self) -> tuple[str, ...]:
        """The trials that have reported a step; before any has, the first in line."""
        return tuple(self.steps) or tuple(itertools.islice(self.left, 1))

    @property
    def flops_done(self) -> float:
        """FLOPs of its trials that have no row yet, by their latest steps; 0 where they are not known."""
        taken_over, done = dict(self.pack.branches.values()), 0.0
        for trial, step in self.steps.items():
            cost = next((group.cost for group in self.pack.groups if trial in group.ids), None)
            if step and cost and cost.flops and cost.steps:
                done += cost.flops * max(0, step - taken_over.get(trial, 0)) / cost.steps
        return done

    def published(self, launch_id: str) -> RunningPack:
        """Return what other processes may know of it."""
        return RunningPack(
            pack_id=self.pack.pack_id,
            launch_id=launch_id,
            host=self.host,
            devices=self.devices,
            since=self.since,
            idle_since=self.idle_since,
            left=len(self.left),
            steps={trial: self.steps.get(trial) for trial in self.begun},
            about=about(self.pack, next(iter(self.begun), "")),
        )
