"""What a launch is doing at this moment: which packs run where and since when, how far they are, what was lost.

The launch keeps one `LaunchState` and tells it everything that happens.
"""

from __future__ import annotations

import datetime as dt
import itertools
import threading
from collections import Counter, deque
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field

from sweeplaw.orchestrator.launch.running import RunningPack
from sweeplaw.orchestrator.schedule.device_time import Meter, Reason, Usage, WastedWork
from sweeplaw.orchestrator.schedule.packs import Pack
from sweeplaw.orchestrator.store.clocks import Clock, steady
from sweeplaw.trials.record import UNFINISHED, CurvePoint, Row, State, TrialRecord

RATE_SECONDS = 60.0
# Ends that led to no row worth having: the reason their time is counted under.
_WASTED_BY: Mapping[str, Reason] = {
    "failed": "failed",
    "out_of_memory": "out of memory",
    "preempted": "preempted",
    "budget": "budget",
}


# Seconds since the latest checkpoint of one of these trials was written; None where there is none.
Kept = Callable[[Sequence[str]], float | None]


def nothing_kept(trials: Sequence[str]) -> float | None:
    """The answer where no trial leaves checkpoints."""
    return None


@dataclass(frozen=True, slots=True)
class End:
    """Why a launch ends before its trials have, and the state of those it cuts short."""

    state: State
    why: str


@dataclass(frozen=True, slots=True)
class LaunchSnapshot:
    """A launch at one moment. ``rate`` is trials a second over the last minute; ``seconds`` count from the moment the
    cluster was there.
    """

    states: Mapping[str, int]
    again: int
    todo: int
    slots: int
    running: tuple[RunningPack, ...]
    rate: float
    best_loss: float | None
    seconds: float
    usage: Usage


@dataclass
class _RunningPack:
    pack: Pack
    since: dt.datetime
    idle_since: dt.datetime
    devices: float
    left: dict[str, None]  # trials without a row yet, in the order they run
    host: str | None = None
    steps: dict[str, int | None] = field(default_factory=dict)


class LaunchState:
    """What one launch knows of itself; for any number of threads."""

    def __init__(self, now: Clock | None = None) -> None:
        self.meter = Meter()
        self._kept: Kept = nothing_kept
        self.end: End | None = None
        self.now = now or steady()
        self._lock = threading.Lock()
        self._running: dict[str, _RunningPack] = {}
        self._states: Counter[str] = Counter()
        self._again, self._todo, self._slots = 0, 0, 0
        self._best: float | None = None
        self._began = self.now()
        self._ends: deque[tuple[dt.datetime, int]] = deque()  # how many trials ended in about each second
        self._heard: _RunningPack | None = None  # rows of one pack come together

    @property
    def ending(self) -> bool:
        """Whether nothing starts any more and workers are to wind down."""
        return self.end is not None

    def wind_down(self, end: End) -> None:
        """Let the launch end; the first reason counts. Takes no lock: a signal handler may call it at any moment."""
        self.end = self.end or end

    @property
    def seconds(self) -> float:
        """Since the cluster was there; 0 before."""
        return (self.now() - self._began).total_seconds() if self._slots else 0.0

    def began(self, todo: int, slots: int, kept: Kept = nothing_kept) -> None:
        """The cluster is there: so many trials to run, so many packs at once; ``kept`` knows of their checkpoints."""
        with self._lock:
            self._kept = kept
            self._todo, self._slots, self._began = todo, slots, self.now()

    def pack_started(self, pack: Pack, devices: float, host: str | None = None) -> None:
        """A worker has taken the pack; it holds so many devices."""
        now, left = self.now(), {trial: None for group in pack.groups for trial in group.ids}
        with self._lock:
            self._running[pack.pack_id] = _RunningPack(pack, now, now, devices, left, host)

    def pack_on(self, pack: Pack, host: str) -> None:
        """The pack runs on this machine."""
        with self._lock:
            if running := self._running.get(pack.pack_id):
                running.host = host

    @property
    def again_count(self) -> int:
        """How many attempts were followed by another."""
        return self._again

    def recorded(self, rows: Sequence[Row]) -> None:
        """These rows are durable."""
        now = self.now()
        with self._lock:
            for row in rows:
                if isinstance(row, CurvePoint):
                    self._point(row)
                else:
                    self._record(row, now)

    def again(self, trials: int = 1) -> None:
        """So many of the recorded trials are tried once more."""
        with self._lock:
            self._again += trials

    def lost(
        self,
        pack: Pack,
        trials: Sequence[str],
        device_seconds: float | None,
        reason: Reason | None,
        *,
        over: bool = True,
    ) -> WastedWork:
        """Work on ``trials`` of ``pack`` was lost; None: the device time of the pack since its last row, less what a
        checkpoint holds.

        ``over`` says that the pack runs no more. A ``reason`` not known yet is told the meter later.
        """
        now, since = self.now(), self._kept(trials) if device_seconds is None else None
        held = 0.0
        with self._lock:
            running = self._running.get(pack.pack_id)
            if device_seconds is None:
                at_risk = _at_risk(running, now) if running else 0.0
                device_seconds = at_risk if since is None or not running else min(at_risk, running.devices * since)
                held = at_risk - device_seconds
            if over:
                self._running.pop(pack.pack_id, None)
            elif running:
                running.idle_since = now
        self.meter.used(held)
        loss = WastedWork(pack.pack_id, tuple(trials), device_seconds, reason, now)
        self.meter.lost(loss)
        return loss

    def pack_ended(self, pack: Pack) -> None:
        """The pack runs no more, and nothing was lost."""
        with self._lock:
            self._running.pop(pack.pack_id, None)

    def cut(self, reason: Reason) -> list[tuple[Pack, tuple[str, ...]]]:
        """The launch ends now: whatever runs is lost. Returns the packs and those of their trials that had begun."""
        with self._lock:
            packs = [(item.pack, _begun(item)) for item in self._running.values()]
        for pack, begun in packs:
            self.lost(pack, begun, None, reason)
        return packs

    def device_seconds(self) -> float:
        """Used so far: what was recorded, what was lost, and what runs."""
        now = self.now()
        with self._lock:
            running = sum(_at_risk(item, now) for item in self._running.values())
        return self.meter.device_seconds + running

    def view(self, launch_id: str = "") -> LaunchSnapshot:
        """The launch now."""
        now = self.now()
        with self._lock:
            while self._ends and (now - self._ends[0][0]).total_seconds() > RATE_SECONDS:
                self._ends.popleft()
            seconds = (now - self._began).total_seconds()
            rate = sum(count for _, count in self._ends) / min(max(seconds, 1.0), RATE_SECONDS)
            running = tuple(_seen(item, launch_id) for item in self._running.values())
            return LaunchSnapshot(
                dict(self._states),
                self._again,
                self._todo,
                self._slots,
                running,
                rate,
                self._best,
                seconds,
                self.meter.usage(),
            )

    def _point(self, point: CurvePoint) -> None:
        if self._heard is None or point.trial_id not in self._heard.left:
            self._heard = next((item for item in self._running.values() if point.trial_id in item.left), None)
        if self._heard:
            self._heard.steps[point.trial_id] = point.step

    def _record(self, record: TrialRecord, now: dt.datetime) -> None:
        outcome = record.outcome
        self._states[outcome.state] += 1
        self._count(now)
        loss = outcome.metrics.get("val_loss")
        if outcome.state == "completed" and isinstance(loss, float):
            self._best = loss if self._best is None else min(self._best, loss)
        running = self._running.get(record.pack_id)
        self._charge(record, running.devices if running else 1.0, now)
        if running:
            running.idle_since, running.host = now, record.provenance.host or running.host
            running.left.pop(outcome.trial_id, None)
            running.steps.pop(outcome.trial_id, None)
            if not running.left:
                del self._running[record.pack_id]

    def _count(self, now: dt.datetime) -> None:
        if self._ends and (now - self._ends[-1][0]).total_seconds() < 1:
            self._ends[-1] = (self._ends[-1][0], self._ends[-1][1] + 1)
        else:
            self._ends.append((now, 1))

    def _charge(self, record: TrialRecord, devices: float, now: dt.datetime) -> None:
        """Device time of a row. Where none is known (its worker died) the scheduler has told the loss itself."""
        seconds = (record.outcome.train_seconds or 0.0) * devices
        outcome = record.outcome
        # Assumption: a trial that was cut short and says at which step can go on from there.
        resumes = outcome.state in UNFINISHED and outcome.last_step is not None
        reason = None if resumes else _WASTED_BY.get(outcome.state)
        if reason is None:
            self.meter.used(seconds)
        elif outcome.train_seconds is not None:
            trial = (outcome.trial_id,)
            self.meter.lost(WastedWork(record.pack_id, trial, seconds, reason, now))


def _at_risk(running: _RunningPack, now: dt.datetime) -> float:
    return running.devices * (now - running.idle_since).total_seconds()


def _begun(item: _RunningPack) -> tuple[str, ...]:
    """Trials that have shown a step; before any has, the first in line."""
    return tuple(item.steps) or tuple(itertools.islice(item.left, 1))


def _seen(item: _RunningPack, launch_id: str) -> RunningPack:
    steps = {trial: item.steps.get(trial) for trial in _begun(item)}
    return RunningPack(
        item.pack.pack_id, launch_id, item.host, item.devices, item.since, item.idle_since, len(item.left), steps
    )
