"""A sweep on a cluster while it runs: reactions to Tune, to nodes and to workers, and the first input of a worker.

Every method may raise what ends the run, except `guard`, through which Tune's hooks (`backend`) call the others.
"""

from __future__ import annotations

import logging
import re
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from typing import Any

import ray
from ray import tune
from ray.exceptions import ActorUnavailableError, OutOfMemoryError, RayActorError, RayError, RayTaskError

from sweeplaw.clusters.connect.cluster import Node
from sweeplaw.clusters.connect.errors import ConnectError
from sweeplaw.orchestrator.plan.resources import TrialResources
from sweeplaw.orchestrator.schedule.device_time import Reason
from sweeplaw.orchestrator.schedule.dispatcher import Dispatcher, DispatcherCallbacks, WorkerSlot
from sweeplaw.orchestrator.schedule.ray_tune.nodes import Nodes
from sweeplaw.orchestrator.schedule.ray_tune.worker_actor import STEP_SECONDS, WorkerReport, WorkerSettings, WorkerStart
from sweeplaw.orchestrator.worker.worker import Job

SILENT_SECONDS = 30.0  # without an answer of the cluster's head: it counts as dead
UNRESPONSIVE_SECONDS = 60.0  # a worker silent for this long beyond its patience blocks its interpreter: it is killed
_IDLE_POLLS = 100.0  # a second, of all idle slots together; each polls for a pack at least once a second
_REPORTS = 100.0  # a second, of all busy slots together: each report costs the driver 5 ms of Tune's loop

_DIED = "the worker process died"
_UNREACHABLE = "the worker cannot be reached any more: its process or its node died"

_log = logging.getLogger(__name__)


@dataclass
class Run:
    """``slots`` are the worker slots with a Tune trial, by Tune's id, as all ids here."""

    dispatcher: Dispatcher
    nodes: Nodes
    callbacks: DispatcherCallbacks
    patience: float
    grace: float
    ready: float
    commit: str | None
    failure: BaseException | None = None
    slots: dict[str, WorkerSlot] = field(default_factory=dict)
    trials: dict[str, Any] = field(default_factory=dict)  # Tune's own
    errors: dict[str, BaseException] = field(default_factory=dict)
    known_nodes: Mapping[str, Node] | None = None  # the live nodes of the last update of the dispatcher

    def guard(self, call: Callable[..., Any], *arguments: Any) -> Any:
        """Call without raising into Tune; an error (a full disk) stops the run and is raised at its end."""
        try:
            return call(*arguments)
        except Exception as error:  # noqa: BLE001 - raised again by `run`
            self.failure = self.failure or error
            return None

    @property
    def done(self) -> bool:
        """Whether nothing runs any more, or nothing may."""
        return self.failure is not None or self.late or self.dispatcher.done

    @property
    def late(self) -> bool:
        """Whether workers have had their time to drain."""
        since = self.dispatcher.draining_since
        return since is not None and self.dispatcher.clock() - since > self.grace

    def tick(self) -> None:
        """Update nodes, settle deaths, drain when the launch is ending, and start packs.

        Raise ConnectError if the head is silent, or if packs fit no live node for ``ready`` seconds.
        """
        self._update_nodes()
        self._check_head()
        self._check_stuck()
        if self.dispatcher.draining_since is None and self.callbacks.ending():
            self.dispatcher.drain()
        self.dispatcher.fill()

    def _update_nodes(self) -> None:
        if self.nodes.latest is not self.known_nodes:
            self.known_nodes = self.nodes.latest
            self.dispatcher.update(self.nodes.resources, {key: node.host for key, node in self.known_nodes.items()})
        self.dispatcher.unresolved.settle(self.nodes.latest, self.nodes.answered)
        self.nodes.probe(self.dispatcher.unresolved.nodes)

    def _check_head(self) -> None:
        if self.nodes.silent_seconds > SILENT_SECONDS and self.failure is None:
            message = f"the cluster's head has not answered for {SILENT_SECONDS:g} s and is considered dead"
            # Logged at once: without its head Ray may end this process before the error is shown.
            _log.error("sweeplaw: %s; recorded results are safe; relaunch to continue", message)
            raise ConnectError(message)

    def _check_stuck(self) -> None:
        if self.dispatcher.stuck_seconds > self.ready:
            queue, live = self.dispatcher.queue, self.nodes.latest
            wanted = ", ".join(str(size) for size in queue.sizes())
            barred = ", ".join(live[node].host for node in self.dispatcher.barred & live.keys())
            raise ConnectError(
                f"{len(queue)} packs wait for {wanted}, which no live node has held for {self.ready:g} s"
                + (f"; workers die at once on {barred} (is the disk with Ray's folder full?)" if barred else "")
            )

    def open(self, tune_id: str) -> WorkerConfig | None:
        """Return the config of the next slot, or None if no slot is needed now."""
        self.tick()  # here as well as at each turn: Tune waits in here while it has no slot at all
        slot = self.dispatcher.next_pending()
        if slot is None:
            return None
        self.slots[tune_id] = slot
        idle = min(1.0, max(0.1, len(self.slots) / _IDLE_POLLS))
        pace = max(STEP_SECONDS, max(len(self.slots), self.dispatcher.capacity(slot.size)) / _REPORTS)
        return WorkerConfig(WorkerSettings(slot.size, self.patience, self.commit, idle, pace), slot)

    def started(self, tune_id: str, actor: Any) -> None:
        """Handle the start of a slot's process."""
        self.dispatcher.started(self.slots[tune_id], _Worker(actor))

    def reported(self, tune_id: str, report: WorkerReport) -> None:
        """Handle a worker's report."""
        if slot := self.slots.get(tune_id):
            reason: Any = report.reason or "worker died"
            self.dispatcher.reported(slot, report.rows, report.ended, report.error, reason)

    def died(self, tune_id: str, error: BaseException | None) -> None:
        """Handle the end of a slot's process, because the slot was closed or by itself."""
        if (slot := self.slots.pop(tune_id, None)) is not None:
            if slot not in self.dispatcher.to_stop:
                message, reason = _cause_of_death(error, nodes_alive=self.dispatcher.nodes_alive(slot))
                if slot.worker is None and message in (_DIED, _UNREACHABLE):
                    self.dispatcher.failed_to_start(slot)
                else:
                    self.dispatcher.died(slot, message, reason)
            self.dispatcher.to_stop.discard(slot)

    def to_stop(self) -> list[str]:
        """Return the ids of slots to end."""
        return [tune_id for tune_id, slot in self.slots.items() if slot in self.dispatcher.to_stop]

    def kill_late(self) -> None:
        """Kill the workers that still run although they are late: asked to end, some never would."""
        if self.late:
            for slot in self.dispatcher.busy:
                if isinstance(slot.worker, _Worker):
                    ray.kill(slot.worker.actor)

    def kill_unresponsive(self) -> None:
        """Kill the workers that have not reported for too long."""
        now = self.dispatcher.clock()
        for slot in self.dispatcher.busy:
            if isinstance(slot.worker, _Worker) and slot.last_report < now - self.patience - UNRESPONSIVE_SECONDS:
                slot.last_report = now
                ray.kill(slot.worker.actor)


def _cause_of_death(error: BaseException | None, *, nodes_alive: bool) -> tuple[str, Reason]:
    """Return the message for a dead worker's trials, and the reason under which its time is counted."""
    if isinstance(error, OutOfMemoryError):
        return "killed because its node ran low on memory", "out of memory"
    if not nodes_alive or re.search(r"node .{0,20}(has died|died|is dead|was terminated)", str(error)):
        return "its node died", "node died"
    if isinstance(error, RayTaskError):
        return f"the worker failed: {' '.join(str(error.cause).split()) or type(error.cause).__name__}", "worker died"
    if isinstance(error, RayActorError) and "creation task" in str(error):
        return f"the worker could not start: {str(error).strip().splitlines()[-1]}", "worker died"
    if isinstance(error, RayError) and not isinstance(error, RayActorError):
        return f"the worker failed: {' '.join(str(error).split())}", "worker died"
    return (_UNREACHABLE if isinstance(error, ActorUnavailableError) else _DIED), "worker died"


class _Worker:
    """The process of a slot, called directly; its reports come through Tune."""

    def __init__(self, actor: Any) -> None:
        self.actor = actor

    def feed(self, job: Job) -> None:
        self.actor.feed.remote(job)

    def drain(self) -> None:
        self.actor.drain.remote()


class WorkerConfig:
    """Settings and first job of a worker in a Tune config, which Tune copies, flattens, prints and keeps.

    It stays one object, and its job is dropped once the worker has it.
    """

    def __init__(self, settings: WorkerSettings, slot: WorkerSlot) -> None:
        self.settings, self._slot = settings, slot

    @property
    def resources(self) -> tune.PlacementGroupFactory:
        """A bundle for each process, on its node."""
        size: TrialResources = self.settings.size
        bundles = [{"CPU": size.cpus, "GPU": size.gpus} for _ in range(size.processes)]
        labels = [{"ray.io/node-id": node} for node in self._slot.nodes for _ in range(size.per_node)]
        # PACK on one node too: the labels choose the nodes, and Ray 2.52 ignores them under STRICT_PACK (ray#60170).
        return tune.PlacementGroupFactory(bundles, "PACK", bundle_label_selector=labels)

    def __deepcopy__(self, memo: Any) -> WorkerConfig:
        return self

    def __reduce__(self) -> tuple[Any, ...]:
        return WorkerStart, (self.settings, self._slot.job)

    def __repr__(self) -> str:
        return "pack"
