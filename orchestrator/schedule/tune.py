"""Ray Tune as the keeper of workers: each Tune trial is a slot, placed, watched and ended by Tune.

A searcher opens a slot when the floor has room for one; what runs in it is ours, fed to its process directly. So Tune's
cost of a trial is paid once a slot. Its own loggers, checkpoints and experiment state are off: the results table is the
only state. Tune copies and pickles searchers, callbacks and schedulers, so they only hold a key to the run they serve.
"""

from __future__ import annotations

import contextlib
import logging
import os
import re
import tempfile
import uuid
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass, field
from typing import Any

import ray
from ray import tune
from ray.exceptions import OutOfMemoryError, RayActorError, RayTaskError
from ray.tune.progress_reporter import TrialProgressCallback
from ray.tune.schedulers import FIFOScheduler
from ray.tune.search import Searcher
from ray.tune.stopper import Stopper

from clusters.connect import Node
from clusters.errors import ClusterError, ConnectError
from orchestrator.floor import Floor
from orchestrator.packs import Queue
from orchestrator.schedule.lanes import Calls, Lane, Lanes
from orchestrator.schedule.nodes import Nodes
from orchestrator.schedule.slot import Answer, Parcel, Settings, Slot
from orchestrator.sizes import Size
from orchestrator.usage import Reason
from orchestrator.worker import Job

SILENT_SECONDS = 30.0  # without an answer of the cluster's head: it is gone
MUTE_SECONDS = 60.0  # beyond its patience, a worker that does not even say so holds its interpreter: it is ended
_LOOKS = 100.0  # slots that wait for packs look for them so often a second in all, and each at least once a second

_SETTINGS = {
    "RAY_AIR_NEW_OUTPUT": "0",
    "RAY_CHDIR_TO_TRIAL_DIR": "0",
    "TUNE_DISABLE_AUTO_CALLBACK_LOGGERS": "1",
    "TUNE_DISABLE_SIGINT_HANDLER": "1",
    "TUNE_DISABLE_STRICT_METRIC_CHECKING": "1",
    "TUNE_FORCE_TRIAL_CLEANUP_S": "30",  # a worker that does not stop when asked is killed
    "TUNE_GLOBAL_CHECKPOINT_S": "1000000000",
    "TUNE_MAX_PENDING_TRIALS_PG": "1000000",  # the floor decides how many there are
    "TUNE_PRINT_ALL_TRIAL_ERRORS": "0",
    "TUNE_WARN_EXCESSIVE_EXPERIMENT_CHECKPOINT_SYNC_THRESHOLD_S": "0",
}

_log = logging.getLogger(__name__)
_runs: dict[str, _Run] = {}


class ScheduleError(ClusterError):
    """The run could not go on. What was recorded is safe."""


@dataclass
class _Run:
    """One sweep on one cluster while it runs."""

    lanes: Lanes
    nodes: Nodes
    calls: Calls
    patience: float
    grace: float
    ready: float
    commit: str | None
    failure: BaseException | None = None
    held: dict[str, Lane] = field(default_factory=dict)  # by Tune's id
    trials: dict[str, Any] = field(default_factory=dict)  # Tune's own, by its id
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
        if self.nodes.silent_seconds > SILENT_SECONDS and self.failure is None:
            told = f"the cluster's head has not answered for {SILENT_SECONDS:g} s and is taken for dead"
            # Said at once: without its head Ray may end this process before anything else is.
            _log.error("sweeplaw: %s; what was recorded is safe, and launching again continues", told)
            raise ConnectError(told)
        if self.lanes.stuck_seconds > self.ready:
            wanted = ", ".join(str(size) for size in self.lanes.waiting.sizes())
            raise ConnectError(
                f"{len(self.lanes.waiting)} packs wait for {wanted}, which no live node has held for {self.ready:g} s"
            )
        if self.lanes.winding_since is None and self.calls.ending():
            self.lanes.wind()
        self.lanes.fill()

    def suggest(self, tune_id: str) -> dict[str, Any] | str | None:
        self.tick()  # here as well as at each turn: Tune waits in here while it has no slot at all
        lane = self.lanes.open()
        if lane is None:
            return Searcher.FINISHED if self.over else None
        self.held[tune_id] = lane
        idle = min(1.0, max(0.1, len(self.held) / _LOOKS))
        return {"parcel": _Parcel(Settings(lane.size, self.patience, self.commit, idle), lane)}

    def started(self, tune_id: str, actor: Any) -> None:
        self.lanes.started(self.held[tune_id], _Worker(actor))

    def heard(self, tune_id: str, answer: Answer) -> None:
        if lane := self.held.get(tune_id):
            reason: Any = answer.reason or "worker died"
            self.lanes.heard(lane, answer.rows, answer.ended, answer.error, reason)

    def died(self, tune_id: str, error: BaseException | None) -> None:
        if (lane := self.held.pop(tune_id, None)) is not None:
            if lane not in self.lanes.closing:
                message, reason = _told(error, node_alive=self.lanes.alive(lane))
                self.lanes.died(lane, message, reason)
            self.lanes.closing.discard(lane)

    def unwanted(self) -> list[str]:
        """Tune's ids of slots that are to end."""
        return [tune_id for tune_id, lane in self.held.items() if lane in self.lanes.closing]

    def mute(self) -> list[Lane]:
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
        return f"the worker failed: {str(error.cause) or type(error.cause).__name__}", "worker died"
    if isinstance(error, RayActorError) and "creation task" in str(error):
        return f"the worker could not start: {str(error).strip().splitlines()[-1]}", "worker died"
    return "the worker process died", "worker died"


class _Worker:
    """The process of a slot, spoken to past Tune; what it answers comes through Tune."""

    def __init__(self, actor: Any) -> None:
        self.actor = actor

    def feed(self, job: Job) -> None:
        self.actor.feed.remote(job)

    def wind(self) -> None:
        self.actor.wind.remote()


class _Parcel:
    """Settings and the first job in a Tune config, which Tune copies, flattens, prints and keeps.

    This stays one object, and the job in it goes once the worker has it.
    """

    def __init__(self, settings: Settings, lane: Lane) -> None:
        self.settings, self._lane = settings, lane

    @property
    def resources(self) -> tune.PlacementGroupFactory:
        """A bundle a process, each on its node."""
        size: Size = self.settings.size
        bundles = [{"CPU": size.cpus, "GPU": size.gpus} for _ in range(size.processes)]
        places = [{"ray.io/node-id": node} for node in self._lane.nodes for _ in range(size.per_node)]
        strategy = "STRICT_PACK" if size.nodes == 1 else "PACK"
        return tune.PlacementGroupFactory(bundles, strategy, bundle_label_selector=places)

    def __deepcopy__(self, memo: Any) -> _Parcel:
        return self

    def __reduce__(self) -> tuple[Any, ...]:
        return Parcel, (self.settings, self._lane.job)

    def __repr__(self) -> str:
        return "pack"


class _Searcher(Searcher):
    """Opens a slot wherever the floor has room for one."""

    def __init__(self, key: str) -> None:
        super().__init__(metric="answer", mode="max")
        self.key = key

    def set_search_properties(self, metric: Any, mode: Any, config: Any, **spec: Any) -> bool:
        return True

    def suggest(self, trial_id: str) -> Any:
        run = _runs[self.key]
        return Searcher.FINISHED if run.failure else run.guard(run.suggest, trial_id)

    def on_trial_complete(self, trial_id: str, result: Any = None, error: bool = False) -> None:
        run = _runs[self.key]
        run.guard(run.died, trial_id, run.errors.pop(trial_id, None))
        run.trials.pop(trial_id, None)

    def save(self, checkpoint_path: str) -> None:
        """Nothing: a relaunch plans again from the table."""

    def restore(self, checkpoint_path: str) -> None:
        """Nothing: a relaunch plans again from the table."""


class _Callback(TrialProgressCallback):
    """Hears what slots say. It stands in for Tune's own, which prints when a slot ends."""

    def __init__(self, key: str) -> None:
        self.key = key

    def on_trial_error(self, iteration: int, trials: Any, trial: Any, **info: Any) -> None:
        """Nothing: the rows of its trials tell."""

    def on_trial_complete(self, iteration: int, trials: Any, trial: Any, **info: Any) -> None:
        """Nothing."""

    def on_trial_start(self, iteration: int, trials: Any, trial: Any, **info: Any) -> None:
        run = _runs[self.key]
        run.guard(run.started, trial.trial_id, trial.temporary_state.ray_actor)

    def on_trial_result(self, iteration: int, trials: Any, trial: Any, result: dict[str, Any], **info: Any) -> None:
        run = _runs[self.key]
        answer = result.pop("answer", None)  # so that Tune keeps no copy of its rows
        if answer is not None:
            run.guard(run.heard, trial.trial_id, answer)


class _Scheduler(FIFOScheduler):
    """Asked at each turn of Tune's loop: the place to look at the world, and to end slots nobody wants."""

    def __init__(self, key: str) -> None:
        super().__init__()
        self.key = key

    def on_trial_add(self, tune_controller: Any, trial: Any) -> None:
        run = _runs[self.key]
        run.trials[trial.trial_id] = trial
        _outlive_memory_kills(tune_controller._tune_controller, run)

    def on_trial_error(self, tune_controller: Any, trial: Any) -> None:
        run = _runs[self.key]
        if trial.trial_id not in run.errors and (error := trial.get_pickled_error()):
            run.errors[trial.trial_id] = error

    def choose_trial_to_run(self, tune_controller: Any) -> None:
        run = _runs[self.key]
        run.guard(run.tick)
        for tune_id in run.unwanted():
            tune_controller.stop_trial(run.trials[tune_id])
        for lane in run.mute():
            lane.heard = run.lanes.clock()
            ray.kill(lane.worker.actor)  # type: ignore[union-attr]


def _outlive_memory_kills(controller: Any, run: _Run) -> None:
    """Tell Tune of a worker that Ray's memory monitor killed as of any death.

    Tune knows deaths and failed tasks; this error is neither, and ends its whole experiment (ray 2.60,
    ``RayActorManager._actor_task_failed``).
    """
    manager = controller._actor_manager
    if getattr(manager, "tells_memory_kills", False):
        return
    failed = manager._actor_task_failed

    def told(tracked_actor_task: Any, exception: BaseException) -> None:
        trial = controller._actor_to_trial.get(tracked_actor_task._tracked_actor)
        if trial is not None:
            run.errors[trial.trial_id] = exception
        known = isinstance(exception, RayActorError | RayTaskError)
        failed(tracked_actor_task, exception if known else RayActorError(error_msg=str(exception)))

    manager._actor_task_failed, manager.tells_memory_kills = told, True


class _Stopper(Stopper):
    def __init__(self, key: str) -> None:
        self.key = key

    def __call__(self, trial_id: str, result: Any) -> bool:
        return False

    def stop_all(self) -> bool:
        return _runs[self.key].over


class _Silent(tune.ProgressReporter):
    def should_report(self, trials: Any, done: bool = False) -> bool:
        return False

    def report(self, trials: Any, done: bool, *sys_info: Any) -> None:
        """Nothing: progress is shown from the records."""


def run(
    waiting: Queue,
    calls: Calls,
    *,
    slots: int | None,
    patience: float,
    grace: float,
    ready: float,
    commit: str | None,
) -> None:
    """Run every pack on the connected Ray, each on nodes that hold its size, at most ``slots`` at a time.

    The live nodes count: one that joins is used, one that dies costs what ran there. A worker without a row for
    ``patience`` seconds is taken for hung: its process is ended as if it had died. Once ``calls.ending()`` is true,
    workers have ``grace`` seconds to wind down. Packs that no live node can hold are waited for ``ready`` seconds.
    Raises what ``calls.sink`` raised, ConnectError when the cluster is gone, ScheduleError when Tune gave up.
    """
    key = uuid.uuid4().hex
    with Nodes() as nodes, tempfile.TemporaryDirectory(prefix="sweeplaw-tune-") as folder, _environment():
        lanes = Lanes(waiting, Floor(slots), calls)
        state = _runs[key] = _Run(lanes, nodes, calls, patience, grace, ready, commit)
        try:
            _tuner(key, folder).fit()
        except Exception as error:
            if state.failure is None:
                raise ScheduleError(f"Ray Tune stopped: {' '.join(str(error).split())[-500:]}") from error
        finally:
            del _runs[key]
    if state.failure:
        raise state.failure


def _tuner(key: str, folder: str) -> tune.Tuner:
    return tune.Tuner(
        tune.with_resources(Slot, lambda config: config["parcel"].resources),
        tune_config=tune.TuneConfig(search_alg=_Searcher(key), scheduler=_Scheduler(key), num_samples=-1),
        run_config=tune.RunConfig(
            name="sweep",
            storage_path=folder,
            stop=_Stopper(key),
            checkpoint_config=tune.CheckpointConfig(checkpoint_at_end=False),
            callbacks=[_Callback(key)],
            verbose=0,
            progress_reporter=_Silent(),
        ),
    )


@contextlib.contextmanager
def _environment() -> Iterator[None]:
    """Tune's switches, set for the time of one run; what it logs of workers that died is told by their trials' rows."""
    log = logging.getLogger("ray.tune.tune")
    level = log.level
    log.setLevel(logging.CRITICAL)
    before = {name: os.environ.get(name) for name in _SETTINGS}
    os.environ.update(_SETTINGS)
    try:
        yield
    finally:
        log.setLevel(level)
        for name, value in before.items():
            if value is None:
                del os.environ[name]
            else:
                os.environ[name] = value
