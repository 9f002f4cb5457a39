"""Ray Tune as the keeper of workers: each Tune trial is a slot, placed, watched and ended by Tune.

A searcher opens a slot when the floor has room for one; what runs in it is ours, fed to its process directly. So Tune's
cost of a trial is paid once a slot. Its own loggers, checkpoints and experiment state are off: the results table is the
only state. Tune copies and pickles searchers, callbacks and schedulers, so they only hold a key to the run they serve.
"""

from __future__ import annotations

import contextlib
import logging
import os
import tempfile
import uuid
from collections.abc import Iterator
from typing import Any

import ray
from ray import tune
from ray.tune.experiment import Trial
from ray.tune.progress_reporter import TrialProgressCallback
from ray.tune.schedulers import FIFOScheduler
from ray.tune.search import Searcher
from ray.tune.stopper import Stopper

from sweeplaw.clusters.errors import ClusterError
from sweeplaw.orchestrator.schedule.dispatcher import Dispatcher, DispatcherCallbacks
from sweeplaw.orchestrator.schedule.packs import Queue
from sweeplaw.orchestrator.schedule.placement import Placement
from sweeplaw.orchestrator.schedule.ray_tune.controller import Run
from sweeplaw.orchestrator.schedule.ray_tune.nodes import Nodes
from sweeplaw.orchestrator.schedule.ray_tune.patches import apply_patches
from sweeplaw.orchestrator.schedule.ray_tune.worker_actor import WorkerActor

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

_handle_error = Trial.handle_error
_runs: dict[str, Run] = {}


class ScheduleError(ClusterError):
    """The run could not go on. What was recorded is safe."""


class _Searcher(Searcher):
    """Opens a slot wherever the floor has room for one."""

    def __init__(self, key: str) -> None:
        super().__init__(metric="answer", mode="max")
        self.key = key

    def set_search_properties(self, metric: Any, mode: Any, config: Any, **spec: Any) -> bool:
        return True

    def suggest(self, trial_id: str) -> Any:
        run = _runs[self.key]
        if run.failure:
            return Searcher.FINISHED
        order = run.guard(run.open, trial_id)
        if order is None:
            return Searcher.FINISHED if run.over else None
        return {"parcel": order}

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
        trial.init_local_path()  # at the end Tune asks each slot for its folder, also one closed before it was placed
        apply_patches(tune_controller._tune_controller, run.errors)

    def choose_trial_to_run(self, tune_controller: Any) -> None:
        run = _runs[self.key]
        run.guard(run.tick)
        for tune_id in run.unwanted():
            tune_controller.stop_trial(run.trials[tune_id])
        for lane in run.mute():
            lane.heard = run.lanes.clock()
            ray.kill(lane.worker.actor)  # type: ignore[union-attr]


def _keep_error(trial: Trial, error: Any = None) -> None:
    """What ended a slot is kept here. Tune leaves it in a file beside its log, and a full disk would end the run."""
    for run in _runs.values():
        if trial.trial_id in run.trials:
            run.errors.setdefault(trial.trial_id, error)
    with contextlib.suppress(OSError):
        _handle_error(trial, error)


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
    calls: DispatcherCallbacks,
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
        lanes = Dispatcher(waiting, Placement(slots), calls, nodes.home)
        state = _runs[key] = Run(lanes, nodes, calls, patience, grace, ready, commit)
        try:
            _tuner(key, folder).fit()
        except Exception as error:
            if state.failure is None:
                told = str(error).strip().splitlines() or [type(error).__name__]
                raise ScheduleError(f"Ray Tune stopped: {told[-1][-500:]}") from error
        finally:
            lanes.doubts.close()
            del _runs[key]
    if state.failure:
        raise state.failure


def _tuner(key: str, folder: str) -> tune.Tuner:
    return tune.Tuner(
        tune.with_resources(WorkerActor, lambda config: config["parcel"].resources),
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
    """Tune's switches, set for the time of a run; what it logs of workers that died is told by their trials' rows."""
    log = logging.getLogger("ray.tune.tune")
    level = log.level
    log.setLevel(logging.CRITICAL)
    before = {name: os.environ.get(name) for name in _SETTINGS}
    os.environ.update(_SETTINGS)
    Trial.handle_error = _keep_error  # type: ignore[assignment, method-assign]
    try:
        yield
    finally:
        Trial.handle_error = _handle_error  # type: ignore[method-assign]
        log.setLevel(level)
        for name, value in before.items():
            if value is None:
                del os.environ[name]
            else:
                os.environ[name] = value
