"""Workers on Ray Tune: each Tune trial is a worker slot, placed, watched and ended by Tune.

A searcher opens a slot when the dispatcher has one; its packs are fed to its process directly, so Tune's cost of a
trial is paid once a slot. Tune's own loggers, checkpoints and experiment state are off: the results table is the only
state. Tune copies and pickles searchers, callbacks and schedulers, so they only hold a key to their run.
"""

from __future__ import annotations

import contextlib
import logging
import os
import tempfile
import uuid
from collections.abc import Iterator
from typing import Any

from ray import tune
from ray.tune.experiment import Trial
from ray.tune.progress_reporter import TrialProgressCallback
from ray.tune.schedulers import FIFOScheduler
from ray.tune.search import Searcher
from ray.tune.stopper import Stopper

from sweeplaw.clusters.connect.private import scratch_folder
from sweeplaw.orchestrator.schedule.dispatcher import Dispatcher, DispatcherCallbacks
from sweeplaw.orchestrator.schedule.packs import Queue
from sweeplaw.orchestrator.schedule.placement import Placement
from sweeplaw.orchestrator.schedule.ray_tune.controller import Run
from sweeplaw.orchestrator.schedule.ray_tune.nodes import Nodes
from sweeplaw.orchestrator.schedule.ray_tune.patches import apply_patches
from sweeplaw.orchestrator.schedule.ray_tune.worker_actor import WorkerActor
from sweeplaw.trials.errors import InputError

_SETTINGS = {
    "RAY_AIR_NEW_OUTPUT": "0",
    "RAY_CHDIR_TO_TRIAL_DIR": "0",
    "TUNE_DISABLE_AUTO_CALLBACK_LOGGERS": "1",
    "TUNE_DISABLE_SIGINT_HANDLER": "1",
    "TUNE_DISABLE_STRICT_METRIC_CHECKING": "1",
    "TUNE_FORCE_TRIAL_CLEANUP_S": "30",  # a worker that does not stop on request is killed
    "TUNE_GLOBAL_CHECKPOINT_S": "1000000000",
    "TUNE_MAX_PENDING_TRIALS_PG": "1000000",  # the dispatcher limits their number
    "TUNE_PRINT_ALL_TRIAL_ERRORS": "0",
    "TUNE_WARN_EXCESSIVE_EXPERIMENT_CHECKPOINT_SYNC_THRESHOLD_S": "0",
}

_handle_error = Trial.handle_error
_runs: dict[str, Run] = {}


class ScheduleError(InputError):
    """The run could not continue. Recorded results are safe."""


class _Searcher(Searcher):
    """Opens a slot for each pending slot of the dispatcher."""

    def __init__(self, key: str) -> None:
        super().__init__(metric="report", mode="max")
        self.key = key

    def set_search_properties(self, metric: Any, mode: Any, config: Any, **spec: Any) -> bool:
        return True

    def suggest(self, trial_id: str) -> Any:
        run = _runs[self.key]
        if run.failure:
            return Searcher.FINISHED
        config = run.guard(run.open, trial_id)
        if config is None:
            return Searcher.FINISHED if run.done else None
        return {"worker": config}

    def on_trial_complete(self, trial_id: str, result: Any = None, error: bool = False) -> None:
        run = _runs[self.key]
        run.guard(run.died, trial_id, run.errors.pop(trial_id, None))
        run.trials.pop(trial_id, None)

    def save(self, checkpoint_path: str) -> None:
        """Do nothing: a relaunch plans again from the table."""

    def restore(self, checkpoint_path: str) -> None:
        """Do nothing: a relaunch plans again from the table."""


class _Callback(TrialProgressCallback):
    """Receives the workers' reports. It replaces Tune's own callback, which prints when a slot ends."""

    def __init__(self, key: str) -> None:
        self.key = key

    def on_trial_error(self, iteration: int, trials: Any, trial: Any, **info: Any) -> None:
        """Do nothing: the rows of its trials have the error."""

    def on_trial_complete(self, iteration: int, trials: Any, trial: Any, **info: Any) -> None:
        """Do nothing."""

    def on_trial_start(self, iteration: int, trials: Any, trial: Any, **info: Any) -> None:
        run = _runs[self.key]
        run.guard(run.started, trial.trial_id, trial.temporary_state.ray_actor)

    def on_trial_result(self, iteration: int, trials: Any, trial: Any, result: dict[str, Any], **info: Any) -> None:
        run = _runs[self.key]
        report = result.pop("report", None)  # so that Tune keeps no copy of its rows
        if report is not None:
            run.guard(run.reported, trial.trial_id, report)


class _Scheduler(FIFOScheduler):
    """Called at each turn of Tune's loop: the place for `Run.tick`, and to end slots."""

    def __init__(self, key: str) -> None:
        super().__init__()
        self.key = key

    def on_trial_add(self, tune_controller: Any, trial: Any) -> None:
        run = _runs[self.key]
        run.trials[trial.trial_id] = trial
        trial.init_local_path()  # at the end Tune needs the folder of every slot, even of one never placed
        apply_patches(tune_controller._tune_controller, run.errors)

    def choose_trial_to_run(self, tune_controller: Any) -> None:
        run = _runs[self.key]
        run.guard(run.tick)
        for tune_id in run.to_stop():
            tune_controller.stop_trial(run.trials[tune_id])
        run.kill_unresponsive()


def _keep_error(trial: Trial, error: Any = None) -> None:
    """Keep the error that ended a slot. Tune writes it to a file beside its log, and a full disk would end the run."""
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
        run = _runs[self.key]
        run.guard(run.kill_late)
        return run.done


class _Silent(tune.ProgressReporter):
    def should_report(self, trials: Any, done: bool = False) -> bool:
        return False

    def report(self, trials: Any, done: bool, *sys_info: Any) -> None:
        """Do nothing: progress is shown from the records."""


def run(
    queue: Queue,
    callbacks: DispatcherCallbacks,
    *,
    slots: int | None,
    patience: float,
    grace: float,
    ready: float,
    commit: str | None,
) -> None:
    """Run every pack on the connected Ray, each on nodes that hold its size, at most ``slots`` at a time.

    A node that joins is used; one that dies costs the trials that ran there. A worker without a row for ``patience``
    seconds counts as hung: its process is ended as if it had died. Once ``callbacks.ending()`` is true, workers have
    ``grace`` seconds to drain. Packs that no live node can hold wait for ``ready`` seconds. Raise what
    ``callbacks.sink`` raised, ConnectError if the cluster is gone, ScheduleError if Tune failed.
    """
    key = uuid.uuid4().hex
    made = tempfile.TemporaryDirectory(prefix="sweeplaw-tune-", dir=scratch_folder())
    with Nodes() as nodes, made as folder, _environment():
        dispatcher = Dispatcher(queue, Placement(slots), callbacks, nodes.own)
        state = _runs[key] = Run(dispatcher, nodes, callbacks, patience, grace, ready, commit)
        try:
            _tuner(key, folder).fit()
        except Exception as error:
            if state.failure is None:
                lines = str(error).strip().splitlines() or [type(error).__name__]
                raise ScheduleError(f"Ray Tune stopped: {lines[-1][-500:]}") from error
        finally:
            dispatcher.close()
            del _runs[key]
    if state.failure:
        raise state.failure


def _tuner(key: str, folder: str) -> tune.Tuner:
    return tune.Tuner(
        tune.with_resources(WorkerActor, lambda config: config["worker"].resources),
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
    """Set Tune's switches for a run, and silence its log of dead workers: their trials' rows have the errors."""
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
