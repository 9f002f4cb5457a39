"""Packs on Ray Tune: which one starts next, on which slot, and what happens when its worker dies.

Tune places and supervises; what runs next is ours. A searcher hands Tune one pack for each free slot, heaviest first,
and gets dead packs back, so a large pack neither starves nor idles the rest. Workers are kept between packs
(``reuse_actors``). Tune's own loggers, checkpoints and experiment state are off: the results table is the only state.

Tune copies and pickles searchers and callbacks, so both only hold a key to the run they belong to.
"""

from __future__ import annotations

import contextlib
import os
import queue
import tempfile
import threading
import time
import uuid
from collections.abc import Callable, Iterator, Sequence
from pathlib import Path
from typing import Any

import ray
from ray import tune
from ray.tune.search import Searcher
from ray.tune.stopper import Stopper

from orchestrator import worker
from orchestrator.packs import Pack, Queue
from orchestrator.provenance import provenance
from orchestrator.worker import Job, Row
from trials.workloads import Context

STEP_SECONDS = 1.0  # how often a worker hands over rows while a pack runs

_SETTINGS = {
    "RAY_AIR_NEW_OUTPUT": "0",
    "RAY_CHDIR_TO_TRIAL_DIR": "0",
    "TUNE_DISABLE_AUTO_CALLBACK_LOGGERS": "1",
    "TUNE_DISABLE_SIGINT_HANDLER": "1",
    "TUNE_DISABLE_STRICT_METRIC_CHECKING": "1",
    "TUNE_GLOBAL_CHECKPOINT_S": "1000000000",
    "TUNE_PRINT_ALL_TRIAL_ERRORS": "0",
    "TUNE_WARN_EXCESSIVE_EXPERIMENT_CHECKPOINT_SYNC_THRESHOLD_S": "0",
}

_runs: dict[str, _Run] = {}


class _Run:
    """The state of one sweep while it runs, in the driver."""

    def __init__(
        self,
        waiting: Queue,
        slots: int,
        make_job: Callable[[Pack], Job],
        sink: Callable[[Sequence[Row]], None],
        give_up: Callable[[Pack, Any, str], None],
    ) -> None:
        self.waiting = waiting
        self.slots = slots
        self.make_job = make_job
        self.sink = sink
        self.give_up = give_up
        self.running: dict[str, tuple[Pack, _Parcel, set[str]]] = {}
        self.failure: BaseException | None = None

    def next(self, tune_id: str) -> _Parcel | str | None:
        if len(self.running) >= self.slots:
            return None
        pack = self.waiting.take()
        if pack is None:
            return None if self.running else Searcher.FINISHED
        parcel = _Parcel(self.make_job(pack))
        self.running[tune_id] = (pack, parcel, set())
        return parcel

    def rows(self, tune_id: str, rows: Sequence[Row]) -> None:
        self.sink(rows)
        self.running[tune_id][2].update(row.spec.trial_id for row in rows if isinstance(row, worker.TrialRecord))

    def ended(self, tune_id: str, message: str | None) -> None:
        pack, parcel, finished = self.running.pop(tune_id)
        parcel.job = None
        if message is not None:
            for spec in self.waiting.died(pack, finished):
                self.give_up(pack, spec, message)

    def guard(self, call: Callable[..., Any], *arguments: Any) -> Any:
        """Call what may fail (a full disk) without raising into Tune; the sweep stops and the error is told after."""
        try:
            return call(*arguments)
        except Exception as error:  # noqa: BLE001 - raised again by `run`
            self.failure = self.failure or error
            return None


class _Parcel:
    """A job in a Tune config, which Tune copies, flattens, prints and keeps: this stays one object, and is emptied."""

    def __init__(self, job: Job | None) -> None:
        self.job = job

    def __deepcopy__(self, memo: Any) -> _Parcel:
        return self

    def __repr__(self) -> str:
        return "pack"


class _Rows(list[Row]):
    """Rows inside a Tune result."""


class _Searcher(Searcher):
    def __init__(self, key: str) -> None:
        super().__init__(metric="rows", mode="max")
        self.key = key

    def set_search_properties(self, metric: Any, mode: Any, config: Any, **spec: Any) -> bool:
        return True

    def suggest(self, trial_id: str) -> Any:
        run = _runs[self.key]
        if run.failure:
            return Searcher.FINISHED
        parcel = run.guard(run.next, trial_id)
        return {"parcel": parcel} if isinstance(parcel, _Parcel) else parcel

    def on_trial_complete(self, trial_id: str, result: Any = None, error: bool = False) -> None:
        run = _runs[self.key]
        if trial_id in run.running:
            message = "the worker process died" if error else (result or {}).get("error")
            run.guard(run.ended, trial_id, message)

    def save(self, checkpoint_path: str) -> None:
        """Nothing: a relaunch plans again from the table."""

    def restore(self, checkpoint_path: str) -> None:
        """Nothing: a relaunch plans again from the table."""


class _Callback(tune.Callback):
    def __init__(self, key: str) -> None:
        self.key = key

    def on_trial_result(self, iteration: int, trials: Any, trial: Any, result: dict[str, Any], **info: Any) -> None:
        run = _runs[self.key]
        rows = result.pop("rows", None)  # so that Tune keeps no copy of it
        if rows:
            run.guard(run.rows, trial.trial_id, rows)


class _Stopper(Stopper):
    def __init__(self, key: str) -> None:
        self.key = key

    def __call__(self, trial_id: str, result: Any) -> bool:
        return False

    def stop_all(self) -> bool:
        return _runs[self.key].failure is not None


class _Slot(tune.Trainable):
    """A worker: runs one pack after another; a pack trains on in its own thread while Tune comes and goes."""

    def setup(self, config: dict[str, Any]) -> None:
        self._begin(config)

    def reset_config(self, new_config: dict[str, Any]) -> bool:
        self._begin(new_config)
        return True

    def _begin(self, config: dict[str, Any]) -> None:
        self._stream = _Stream(config["parcel"].job, config["threads"], config["commit"])
        self._patience = config["patience"]
        self._heard = time.monotonic()

    def step(self) -> dict[str, Any]:
        rows = self._stream.take(STEP_SECONDS)
        self._heard = time.monotonic() if rows else self._heard
        if not self._stream.ended and time.monotonic() - self._heard > self._patience:
            raise TimeoutError(f"no row for {self._patience:g} s")  # Tune ends this process and starts another
        return {"rows": _Rows(rows), "done": self._stream.ended, "error": self._stream.error}

    def cleanup(self) -> None:
        self._stream.close()


class _Stream:
    """The rows of one job, made in a thread of their own."""

    _END = object()

    def __init__(self, job: Job, threads: int, commit: str | None) -> None:
        self.ended = False
        self.error: str | None = None
        self._rows: queue.SimpleQueue[Any] = queue.SimpleQueue()
        self._closing = threading.Event()
        self._thread = threading.Thread(target=self._work, args=(job, threads, commit), daemon=True)
        self._thread.start()

    def _work(self, job: Job, threads: int, commit: str | None) -> None:
        try:
            device = "cuda" if ray.get_gpu_ids() else "cpu"
            with tempfile.TemporaryDirectory(prefix="sweeplaw-") as folder:
                rows = worker.run(job, Context(device, Path(folder), threads), provenance(device, commit))
                with contextlib.closing(rows):
                    for row in rows:
                        self._rows.put(row)
                        if self._closing.is_set():
                            return
            self._rows.put(self._END)
        except Exception as error:  # noqa: BLE001 - told to the driver, which tries the pack again or gives it up
            self._rows.put(error)

    def take(self, seconds: float) -> list[Row]:
        """The rows there are after ``seconds``, or at once when the job has ended."""
        rows: list[Row] = []
        until = time.monotonic() + seconds
        while (left := until - time.monotonic()) > 0:
            try:
                item = self._rows.get(timeout=left)
            except queue.Empty:
                break
            if item is self._END:
                self.ended = True
                break
            if isinstance(item, Exception):
                self.ended, self.error = True, f"the worker could not run it: {type(item).__name__}: {item}"
                break
            rows.append(item)
        return rows

    def close(self) -> None:
        self._closing.set()
        self._thread.join(timeout=10)


def run(
    waiting: Queue,
    *,
    slots: int,
    resources: dict[str, float],
    threads: int,
    patience: float,
    commit: str | None,
    make_job: Callable[[Pack], Job],
    sink: Callable[[Sequence[Row]], None],
    give_up: Callable[[Pack, Any, str], None],
) -> None:
    """Run every pack on the connected Ray, ``slots`` at a time, each on ``resources`` (CPU, GPU).

    A worker without a row for ``patience`` seconds is taken for hung: its process is ended as if it had died. ``sink``
    gets rows as they come, in the driver; ``give_up`` gets the trials whose worker died too often. Raises what ``sink``
    raised.
    """
    key = uuid.uuid4().hex
    state = _runs[key] = _Run(waiting, slots, make_job, sink, give_up)
    try:
        with _environment(slots), tempfile.TemporaryDirectory(prefix="sweeplaw-tune-") as folder:
            tuner = tune.Tuner(
                tune.with_resources(_Slot, tune.PlacementGroupFactory([resources])),
                param_space={"threads": threads, "patience": patience, "commit": commit},
                tune_config=tune.TuneConfig(search_alg=_Searcher(key), num_samples=-1, reuse_actors=True),
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
            tuner.fit()
    finally:
        del _runs[key]
    if state.failure:
        raise state.failure


class _Silent(tune.ProgressReporter):
    def should_report(self, trials: Any, done: bool = False) -> bool:
        return False

    def report(self, trials: Any, done: bool, *sys_info: Any) -> None:
        """Nothing: progress is shown from the records."""


@contextlib.contextmanager
def _environment(slots: int) -> Iterator[None]:
    """Tune's switches, set for the time of one run."""
    settings = {**_SETTINGS, "TUNE_MAX_PENDING_TRIALS_PG": str(slots)}
    before = {name: os.environ.get(name) for name in settings}
    os.environ.update(settings)
    try:
        yield
    finally:
        for name, value in before.items():
            if value is None:
                del os.environ[name]
            else:
                os.environ[name] = value
