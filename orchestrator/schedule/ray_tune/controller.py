"""One sweep on one cluster while it runs: what is done when the world changes, and what a slot begins with.

Every method may raise what ends the run, except `guard`, through which Tune's hooks (`tune`) call the others.
"""

from __future__ import annotations

import logging
import re
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from typing import Any

from ray import tune
from ray.exceptions import ActorUnavailableError, OutOfMemoryError, RayActorError, RayError, RayTaskError

from sweeplaw.clusters.connect.cluster import Node
from sweeplaw.clusters.errors import ConnectError
from sweeplaw.orchestrator.plan.resources import TrialResources
from sweeplaw.orchestrator.schedule.device_time import Reason
from sweeplaw.orchestrator.schedule.dispatcher import Dispatcher, DispatcherCallbacks, WorkerSlot
from sweeplaw.orchestrator.schedule.ray_tune.nodes import Nodes
from sweeplaw.orchestrator.schedule.ray_tune.worker_actor import STEP_SECONDS, Settings, WorkerReport, WorkerStart
from sweeplaw.orchestrator.worker.worker import Job

SILENT_SECONDS = 30.0  # without an answer of the cluster's head: it is gone
MUTE_SECONDS = 60.0  # beyond its patience, a worker that does not even say so holds its interpreter: it is ended
_LOOKS = 100.0  # slots that wait for packs look for them so often a second in all, and each at least once a second
_REPORTS = 100.0  # slots hand over rows so often a second in all: each report costs the driver 5 ms of Tune's loop

_DIED = "the worker process died"
_UNHEARD = "the worker cannot be reached any more: its process or its node died"

_log = logging.getLogger(__name__)


@dataclass
class Run:
    """``held`` are the lanes that have a slot. All ids are Tune's."""

    lanes: Dispatcher
    nodes: Nodes
    calls: DispatcherCallbacks
    patience: float
    grace: float
    ready: float
    commit: str | None
    failure: BaseException | None = None
    held: dict[str, WorkerSlot] = field(default_factory=dict)
    trials: dict[str, Any] = field(default_factory=dict)  # Tune's own
    errors: dict[str, BaseException] = field(default_factory=dict)
    seen: Mapping[str, Node] | None = None  # the live nodes the lanes know of

    def guard(self, call: Callable[..., Any], *arguments: Any) -> Any:
        """Call what may fail (a full disk) without raising into Tune; the run stops and the error is told after."""
        try:
            return call(*arguments)
        except Exception as error:  # noqa: BLE001 - raised again by `run`
            self.failure = self.failure or error
            return None

    @property
    def over(self) -> bool:
        """Nothing runs any more, or must not."""
        since = self.lanes.winding_since
        late = since is not None and self.lanes.clock() - since > self.grace
        return self.failure is not None or late or self.lanes.over

    def tick(self) -> None:
        """Look at the nodes, at the ones we work for and at workers that say nothing."""
        if self.nodes.latest is not self.seen:
            self.seen = self.nodes.latest
            self.lanes.update(self.nodes.machines, {key: node.host for key, node in self.seen.items()})
        self.lanes.doubts.settle(self.nodes.latest, self.nodes.answered)
        self.nodes.doubt(self.lanes.doubts.nodes)
        if self.nodes.silent_seconds > SILENT_SECONDS and self.failure is None:
            told = f"the cluster's head has not answered for {SILENT_SECONDS:g} s and is taken for dead"
            # Said at once: without its head Ray may end this process before anything else is.
            _log.error("sweeplaw: %s; what was recorded is safe, and launching again continues", told)
            raise ConnectError(told)
        if self.lanes.stuck_seconds > self.ready:
            wanted = ", ".join(str(size) for size in self.lanes.waiting.sizes())
            barred = ", ".join(self.nodes.latest[node].host for node in self.lanes.barred & self.nodes.latest.keys())
            raise ConnectError(
                f"{len(self.lanes.waiting)} packs wait for {wanted}, which no live node has held for {self.ready:g} s"
                + (f"; workers die at once on {barred} (is the disk with Ray's folder full?)" if barred else "")
            )
        if self.lanes.winding_since is None and self.calls.ending():
            self.lanes.wind()
        self.lanes.fill()

    def open(self, tune_id: str) -> WorkerConfig | None:
        """What the next slot is to be, if one is wanted now."""
        self.tick()  # here as well as at each turn: Tune waits in here while it has no slot at all
        lane = self.lanes.open()
        if lane is None:
            return None
        self.held[tune_id] = lane
        idle = min(1.0, max(0.1, len(self.held) / _LOOKS))
        pace = max(STEP_SECONDS, max(len(self.held), self.lanes.capacity(lane.size)) / _REPORTS)
        return WorkerConfig(Settings(lane.size, self.patience, self.commit, idle, pace), lane)

    def started(self, tune_id: str, actor: Any) -> None:
        """The process of a slot runs."""
        self.lanes.started(self.held[tune_id], _Worker(actor))

    def heard(self, tune_id: str, answer: WorkerReport) -> None:
        """What a slot said."""
        if lane := self.held.get(tune_id):
            reason: Any = answer.reason or "worker died"
            self.lanes.heard(lane, answer.rows, answer.ended, answer.error, reason)

    def died(self, tune_id: str, error: BaseException | None) -> None:
        """A slot is gone: because it was closed, or by itself."""
        if (lane := self.held.pop(tune_id, None)) is not None:
            if lane not in self.lanes.closing:
                message, reason = _told(error, node_alive=self.lanes.alive(lane))
                if lane.worker is None and message in (_DIED, _UNHEARD):
                    self.lanes.unstarted(lane)
                else:
                    self.lanes.died(lane, message, reason)
            self.lanes.closing.discard(lane)

    def unwanted(self) -> list[str]:
        """Slots that are to end."""
        return [tune_id for tune_id, lane in self.held.items() if lane in self.lanes.closing]

    def mute(self) -> list[WorkerSlot]:
        """Lanes whose process has said nothing for too long."""
        limit = self.lanes.clock() - self.patience - MUTE_SECONDS
        return [lane for lane in self.lanes.busy if lane.worker is not None and lane.heard < limit]


def _told(error: BaseException | None, *, node_alive: bool) -> tuple[str, Reason]:
    """What a dead worker's trials are told about it, and under which reason its time is counted."""
    if isinstance(error, OutOfMemoryError):
        return "killed because its node ran low on memory", "out of memory"
    if not node_alive or re.search(r"node .{0,20}(has died|died|is dead|was terminated)", str(error)):
        return "its node died", "node died"
    if isinstance(error, RayTaskError):
        return f"the worker failed: {' '.join(str(error.cause).split()) or type(error.cause).__name__}", "worker died"
    if isinstance(error, RayActorError) and "creation task" in str(error):
        return f"the worker could not start: {str(error).strip().splitlines()[-1]}", "worker died"
    if isinstance(error, RayError) and not isinstance(error, RayActorError):
        return f"the worker failed: {' '.join(str(error).split())}", "worker died"
    return (_UNHEARD if isinstance(error, ActorUnavailableError) else _DIED), "worker died"


class _Worker:
    """The process of a slot, spoken to past Tune; what it answers comes through Tune."""

    def __init__(self, actor: Any) -> None:
        self.actor = actor

    def feed(self, job: Job) -> None:
        self.actor.feed.remote(job)

    def wind(self) -> None:
        self.actor.wind.remote()


class WorkerConfig:
    """Settings and the first job in a Tune config, which Tune copies, flattens, prints and keeps.

    This stays one object, and the job in it goes once the worker has it.
    """

    def __init__(self, settings: Settings, lane: WorkerSlot) -> None:
        self.settings, self._lane = settings, lane

    @property
    def resources(self) -> tune.PlacementGroupFactory:
        """A bundle a process, each on its node."""
        size: TrialResources = self.settings.size
        bundles = [{"CPU": size.cpus, "GPU": size.gpus} for _ in range(size.processes)]
        places = [{"ray.io/node-id": node} for node in self._lane.nodes for _ in range(size.per_node)]
        strategy = "STRICT_PACK" if size.nodes == 1 else "PACK"
        return tune.PlacementGroupFactory(bundles, strategy, bundle_label_selector=places)

    def __deepcopy__(self, memo: Any) -> WorkerConfig:
        return self

    def __reduce__(self) -> tuple[Any, ...]:
        return WorkerStart, (self.settings, self._lane.job)

    def __repr__(self) -> str:
        return "pack"
