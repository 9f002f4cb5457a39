"""The state of a launch in the memory of its process: what runs where, how far it is, what was lost, why it ends.

The launch keeps one `LaunchState` and reports every event to it; `running` publishes the part that others need.
"""

from __future__ import annotations

import datetime as dt
import threading
from collections import Counter, deque
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass

from sweeplaw.orchestrator.launch.published_packs import PackState, RunningPack
from sweeplaw.orchestrator.schedule.device_time import Meter, Reason, Usage, WastedWork
from sweeplaw.orchestrator.schedule.packs import Pack
from sweeplaw.orchestrator.store.clocks import Clock, steady
from sweeplaw.trials.progress import ignore
from sweeplaw.trials.record import UNFINISHED, CurvePoint, Row, State, TrialRecord

RATE_SECONDS = 60.0
# States whose device time is wasted, and the reason it is counted under.
_WASTED_BY: Mapping[str, Reason] = {
    "failed": "failed",
    "out_of_memory": "out of memory",
    "preempted": "preempted",
    "budget": "budget",
}


# Seconds since the latest checkpoint of one of these trials was written; None where there is none.
CheckpointAge = Callable[[Sequence[str]], float | None]


def no_checkpoints(trials: Sequence[str]) -> float | None:
    """Return None: no trial leaves checkpoints."""
    return None


@dataclass(frozen=True, slots=True)
class EarlyEnd:
    """Why a launch ends before its trials have, and the state of the trials it cuts short.

    ``failing`` is set if it ends because its trials fail.
    """

    state: State
    reason: str
    failing: bool = False


@dataclass(frozen=True, slots=True)
class LaunchSnapshot:
    """A launch at one moment. ``rate`` is trials a second over the last minute; ``seconds`` count from the moment the
    cluster was ready.
    """

    states: Mapping[str, int]
    retries: int
    todo: int
    slots: int
    running: tuple[RunningPack, ...]
    rate: float
    best_loss: float | None
    seconds: float
    usage: Usage


class LaunchState:
    """The state of one launch. Safe for any number of threads. ``notify`` gets what the launch waits for."""

    def __init__(self, now: Clock | None = None, notify: Callable[[str], None] = ignore) -> None:
        self.meter = Meter()
        self.end: EarlyEnd | None = None
        self.belief = ""  # what the search of the sweep believes, in one line
        self.now = now or steady()
        self.notify = notify
        self._checkpoint_age: CheckpointAge = no_checkpoints
        self._lock = threading.Lock()
        self._running: dict[str, PackState] = {}
        self._states: Counter[str] = Counter()
        self._retries, self._todo, self._slots = 0, 0, 0
        self._best: float | None = None
        self._began = self.now()
        self._interrupted: dt.datetime | None = None
        self._ends: deque[tuple[dt.datetime, int]] = deque()  # count of trials that ended in about each second
        self._latest: PackState | None = None  # of the latest curve point: rows of one pack come together

    @property
    def draining(self) -> bool:
        """Whether nothing starts any more and workers are to save what they can resume from and end."""
        return self.end is not None

    def drain(self, end: EarlyEnd) -> None:
        """End the launch; the first reason counts. Takes no lock: a signal handler may call it at any moment."""
        self.end = self.end or end

    def interrupt(self) -> None:
        """The launch ends now and waits for no worker: from here on no time is work. Takes no lock, as `drain`."""
        self._interrupted = self._interrupted or self.now()

    @property
    def begun(self) -> bool:
        """Whether the cluster is ready and trials may run."""
        return self._slots > 0

    @property
    def seconds(self) -> float:
        """Seconds since the cluster was ready; 0 before."""
        return (self.now() - self._began).total_seconds() if self.begun else 0.0

    @property
    def retries(self) -> int:
        """Count of attempts that were followed by another."""
        return self._retries

    def begin(self, todo: int, slots: int, checkpoint_age: CheckpointAge = no_checkpoints) -> None:
        """Start: the cluster is ready to run ``todo`` trials, in at most ``slots`` packs at once."""
        with self._lock:
            self._checkpoint_age = checkpoint_age
            self._todo, self._slots, self._began = todo, slots, self.now()

    def pack_started(self, pack: Pack, devices: float) -> None:
        """Record that a worker has taken the pack; it holds this number of devices."""
        now, left = self.now(), {trial: None for group in pack.groups for trial in group.ids}
        with self._lock:
            self._running[pack.pack_id] = PackState(pack, now, now, devices, left)

    def pack_placed(self, pack: Pack, host: str) -> None:
        """Record that the pack now runs on this machine; before, its worker was starting."""
        now = self.now()
        with self._lock:
            if running := self._running.get(pack.pack_id):
                running.host, running.idle_since = host, now

    def recorded(self, rows: Sequence[Row]) -> None:
        """Record that these rows are durable."""
        now = self.now()
        with self._lock:
            for row in rows:
                if isinstance(row, CurvePoint):
                    self._point(row)
                else:
                    self._record(row, now)

    def retried(self) -> None:
        """A recorded trial is tried once more."""
        with self._lock:
            self._retries += 1

    def lost(
        self, pack: Pack, trials: Sequence[str], device_seconds: float | None, reason: Reason | None
    ) -> WastedWork:
        """Work on ``trials`` of ``pack`` was lost, and the pack runs no more.

        ``device_seconds`` None stands for the device time of the pack since its last row, less what a checkpoint holds.
        A ``reason`` that is not known yet is passed to the meter later (`Meter.settle`).
        """
        now, age = self.now(), self._checkpoint_age(trials) if device_seconds is None else None
        kept = 0.0
        with self._lock:
            running = self._running.pop(pack.pack_id, None)
            if device_seconds is None:
                at_risk = self._at_risk(running) if running else 0.0
                device_seconds = at_risk if age is None or not running else min(at_risk, running.devices * age)
                kept = at_risk - device_seconds
        self.meter.used(kept)
        steps = running.steps if running else {}
        step = next((steps[trial] for trial in trials if trial in steps), None)
        loss = WastedWork(pack.pack_id, tuple(trials), device_seconds, reason, now, kept > 0, step)
        self.meter.lost(loss)
        return loss

    def pack_ended(self, pack: Pack) -> None:
        """The pack runs no more, and nothing was lost."""
        with self._lock:
            self._running.pop(pack.pack_id, None)

    def cut_short(self, reason: Reason) -> list[tuple[Pack, tuple[str, ...]]]:
        """End the launch now: what runs is lost. Return each pack with those of its trials that had begun.

        A pack whose worker was starting has lost nothing: none of its trials had begun.
        """
        with self._lock:
            packs = [(running.pack, running.begun if running.host else ()) for running in self._running.values()]
            starting = {running.pack.pack_id for running in self._running.values() if running.host is None}
        for pack, begun in packs:
            if pack.pack_id in starting:
                self.pack_ended(pack)
            else:
                self.lost(pack, begun, None, reason)
        return packs

    def running_flops(self) -> float:
        """Return the FLOPs that the trials that run have done by their latest curve points; 0 where not known."""
        with self._lock:
            return sum(running.flops_done for running in self._running.values())

    def device_seconds(self) -> float:
        """Return the device-seconds used so far: recorded, lost and running."""
        with self._lock:
            running = sum(self._at_risk(pack) for pack in self._running.values())
        return self.meter.device_seconds + running

    def _at_risk(self, running: PackState) -> float:
        """Return the device-seconds a pack has used since it last recorded a trial; none while its worker starts."""
        if running.host is None:
            return 0.0
        until = self._interrupted or self.now()
        return running.devices * max(0.0, (until - running.idle_since).total_seconds())

    def snapshot(self, launch_id: str = "") -> LaunchSnapshot:
        """Return the launch as it is now."""
        now = self.now()
        with self._lock:
            seconds = (now - self._began).total_seconds()
            return LaunchSnapshot(
                states=dict(self._states),
                retries=self._retries,
                todo=self._todo,
                slots=self._slots,
                running=tuple(running.published(launch_id) for running in self._running.values()),
                rate=self._rate(now, seconds),
                best_loss=self._best,
                seconds=seconds,
                usage=self.meter.usage(),
            )

    def _rate(self, now: dt.datetime, seconds: float) -> float:
        while self._ends and (now - self._ends[0][0]).total_seconds() > RATE_SECONDS:
            self._ends.popleft()
        return sum(count for _, count in self._ends) / min(max(seconds, 1.0), RATE_SECONDS)

    def _point(self, point: CurvePoint) -> None:
        if self._latest is None or point.trial_id not in self._latest.left:
            self._latest = next((pack for pack in self._running.values() if point.trial_id in pack.left), None)
        if self._latest:
            self._latest.steps[point.trial_id] = point.step

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
        """Account for the device time of a row. A row without one (its worker died) is accounted for by `lost`."""
        seconds = (record.outcome.train_seconds or 0.0) * devices
        outcome = record.outcome
        # Assumption: a trial that was cut short and names its last step can resume from there.
        resumes = outcome.state in UNFINISHED and outcome.last_step is not None
        reason = None if resumes else _WASTED_BY.get(outcome.state)
        if reason is None:
            self.meter.used(seconds)
        elif outcome.train_seconds is not None:
            trial = (outcome.trial_id,)
            self.meter.lost(WastedWork(record.pack_id, trial, seconds, reason, now))
