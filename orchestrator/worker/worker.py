"""Run a pack in a worker: start its workload and turn every event into rows, whatever happens inside.

No Ray here: the Ray backend calls this in a remote process, the inline backend in its own.
"""

from __future__ import annotations

import contextlib
import datetime as dt
import itertools
import traceback
from collections.abc import Callable, Generator, Iterator, Mapping, Sequence
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any

from sweeplaw.orchestrator.worker import pack_log
from sweeplaw.orchestrator.worker.capture import captured
from sweeplaw.trials.accounting import Cost
from sweeplaw.trials.errors import describe
from sweeplaw.trials.record import CurvePoint, Outcome, Provenance, Row, TrialRecord
from sweeplaw.trials.spec import TrialSpec, Value, later_knobs
from sweeplaw.trials.store_format import attempt_log
from sweeplaw.trials.workload import (
    Branch,
    Context,
    Event,
    PeerLost,
    Workload,
    World,
    never_preempted,
    spec_faults,
    stack_knobs,
)
from sweeplaw.trials.workloads import registry

Steps = dict[str, int]  # by trial
PointOrEnd = CurvePoint | tuple[TrialSpec, Outcome]
_ALONE = World()  # no other process trains the trial
DEVICE_LOST = "CUDA error"  # in the message of an error after which a process cannot use its accelerator any more


@dataclass(frozen=True, slots=True)
class Job:
    """A pack as it travels to a worker: the specs as canonical JSON, their attempts, and the sweep and launch they
    belong to.

    ``micro_batch_divisor``, ``checkpoints`` and ``checkpoint_seconds`` are those of `Context`; ``logs`` is the folder
    or URI where what the trials print is kept, None to keep nothing; ``weights`` and ``snapshots`` are those of
    `Context`. ``until`` and ``branches`` are those of `Pack`.
    """

    pack_id: str
    workload: str
    options: Mapping[str, Any]
    specs: tuple[str, ...]
    attempts: tuple[int, ...]
    sweep: str
    launch_id: str
    micro_batch_divisor: int = 1
    checkpoints: str | None = None
    checkpoint_seconds: float = 600.0
    logs: str | None = None
    weights: str | None = None
    snapshots: bool = False
    until: int | None = None
    branches: Mapping[str, tuple[str, int]] = field(default_factory=dict)


def make_context(
    job: Job,
    *,
    device: str,
    folder: Path,
    threads: int = 1,
    world: World = _ALONE,
    ending: Callable[[], bool] = never_preempted,
) -> Context:
    """Return the context in which a workload runs this job: the job's own settings and those of its worker."""
    return Context(
        device=device,
        folder=folder,
        threads=threads,
        world=world,
        micro_batch_divisor=job.micro_batch_divisor,
        checkpoints=job.checkpoints,
        checkpoint_seconds=job.checkpoint_seconds,
        ending=ending,
        weights=job.weights,
        snapshots=job.snapshots,
    )


def run(job: Job, context: Context, provenance: Provenance, *, own_process: bool = False) -> Generator[Row, None, None]:
    """Yield curve points as they come and exactly one record for each trial of the job.

    Whatever the workload raises, a missing outcome and a spec that cannot be read are `failed` records with a message.
    What the trials print goes to the log of the pack; with ``own_process``, so does what anything else in this process
    prints. Closing the iterator stops the trial that is running. Once the context is ending, trials that have not begun
    are left without a record. Raise InputError if the workload cannot be loaded; PeerLost: the job has to run again.
    """
    workload = registry.load(job.workload, job.options)
    specs = _specs(workload, job)
    pause = _Pause(job.until, context.ending)
    context = replace(context, ending=pause.ending, branches=_branches(job, specs))
    attempts = {spec.trial_id: attempt for spec, attempt in zip(specs, job.attempts, strict=True)}
    with (
        pack_log.opened(job.logs, attempt_log.name(job.launch_id, job.pack_id, job.attempts[0]), context.folder) as log,
        captured(log.write, log.descriptor if own_process else None),
    ):

        def begin(some: Sequence[TrialSpec]) -> None:
            log.begin({spec.trial_id: attempts[spec.trial_id] for spec in some})

        for group in _groups(workload, specs, context.device):
            if context.ending():
                return
            for row in _run_group(workload, group, replace(context, log=log.write), begin):
                if isinstance(row, CurvePoint):
                    pause.passed(row)
                    yield replace(row, attempt=attempts[row.trial_id])
                else:
                    spec, outcome = row
                    yield TrialRecord(
                        spec,
                        _cost(workload, spec),
                        pause.outcome(outcome),
                        job.sweep,
                        attempts[spec.trial_id],
                        job.pack_id,
                        job.launch_id,
                        provenance,
                    )


class _Pause:
    """Ends the trials of a job at the step ``until`` as if their worker had to go, and calls them paused.

    They pause at their first evaluated point from there on, because its loss is what the search decides by.
    """

    def __init__(self, until: int | None, ending: Callable[[], bool]) -> None:
        self._until, self._ending, self._reached = until, ending, False

    def ending(self) -> bool:
        """Return whether the trials are to save their state and end."""
        return self._reached or self._ending()

    def passed(self, point: CurvePoint) -> None:
        """Note a point of a curve."""
        evaluated = point.val_loss is not None or point.metrics
        self._reached |= self._until is not None and point.step >= self._until and bool(evaluated)

    def outcome(self, outcome: Outcome) -> Outcome:
        """Return the outcome of a trial, `paused` if it ended only because it was asked to."""
        if outcome.state != "preempted" or not self._reached or self._ending():
            return outcome
        return replace(outcome, state="paused", message=f"paused at step {outcome.last_step}")


def run_as_peer(job: Job, context: Context) -> None:
    """Train the trials of the job as one of several processes; another one, rank 0, records them.

    Raise what the workload raises.
    """
    workload = registry.load(job.workload, job.options)
    for group in _groups(workload, _specs(workload, job), context.device):
        for _ in workload.run(group, context):
            pass


def _specs(workload: Workload, job: Job) -> list[TrialSpec]:
    later = later_knobs(workload.knobs)
    return [_spec(text, later) for text in job.specs]


def _branches(job: Job, specs: Sequence[TrialSpec]) -> dict[str, Branch]:
    by_id = {spec.trial_id: spec for spec in specs}
    return {
        trial_id: Branch(by_id[other], steps) for trial_id, (other, steps) in job.branches.items() if other in by_id
    }


def _spec(text: str, later: Mapping[str, Value]) -> TrialSpec:
    """Return the spec of a canonical text; of one that cannot be read, a spec without knobs that has its id."""
    try:
        return TrialSpec.from_canonical(text, later)
    except (ValueError, TypeError, KeyError, AttributeError):
        return TrialSpec.unreadable(text)


def _cost(workload: Workload, spec: TrialSpec) -> Cost:
    """Return the cost of the spec; unknown where its knobs are not those of the workload."""
    try:
        return workload.cost(spec)
    except Exception:
        if spec_faults(workload, spec):
            return Cost()
        raise


def _groups(workload: Workload, specs: Sequence[TrialSpec], device: str) -> Iterator[list[TrialSpec]]:
    """Yield the trials that the workload trains together: neighbours equal in all knobs that a stack shares, or each
    alone. On a CPU trials of different lengths are not handed over together: no time is gained.
    """
    if not workload.stacks:
        yield from ([spec] for spec in specs)
        return
    unshared = stack_knobs(workload) if device != "cpu" else {knob.name for knob in workload.knobs if knob.member}

    def shared(spec: TrialSpec) -> list[tuple[str, Any]]:
        return [(name, value) for name, value in spec.knobs.items() if name not in unshared]

    for _, group in itertools.groupby(specs, key=shared):
        yield list(group)


def _run_group(
    workload: Workload, specs: Sequence[TrialSpec], context: Context, begin: Callable[[Sequence[TrialSpec]], None]
) -> Iterator[PointOrEnd]:
    """Yield the curve points of these trials, and exactly one outcome for each of them, whatever happens inside.

    What trials that train together raise is not of each of them: those without an outcome run again one at a time, from
    their last checkpoints, under the same attempt and without the points reported before. ``begin`` begins the log of
    trials. Raise PeerLost, and what leaves an accelerator unusable for whatever this process would run next.
    """
    started = dt.datetime.now(dt.UTC)
    begin(specs)
    waiting = {spec.trial_id: spec for spec in specs}
    for spec in specs:
        if faults := spec_faults(workload, spec):
            yield waiting.pop(spec.trial_id), _failed(spec, "; ".join(faults), started)
    reported: Steps = {}
    packs = [list(waiting.values())] if waiting else []
    for pack in packs:
        if pack is not packs[0]:
            begin(pack)
            started = dt.datetime.now(dt.UTC)
        error = yield from _run_pack(workload, pack, context, waiting, reported)
        left = [spec for spec in pack if spec.trial_id in waiting]
        lost = error if context.device != "cpu" and DEVICE_LOST in str(error) else None
        if lost and len(waiting) > 1:
            raise lost
        if error is not None and len(pack) > 1 and left:
            context.log(f"{len(left)} of {len(pack)} trials have no outcome; they run again one at a time\n".encode())
            packs += [[spec] for spec in left]
            continue
        message = "the workload ended without an outcome for this trial" if error is None else _error_message(error)
        yield from ((waiting.pop(spec.trial_id), _failed(spec, message, started)) for spec in left)
        if lost:
            raise lost


def _run_pack(
    workload: Workload, specs: Sequence[TrialSpec], context: Context, waiting: dict[str, TrialSpec], reported: Steps
) -> Generator[PointOrEnd, None, BaseException | None]:
    """Run the workload; yield points beyond those ``reported``, outcomes of ``waiting``. Return what it raised."""
    before = dict(reported)
    with _closed(workload.run(specs, context), context) as events:
        while True:
            try:
                event = next(events)
            except StopIteration:
                return None
            except PeerLost:
                raise
            except BaseException as error:  # noqa: BLE001 - whatever a workload raises is an outcome of its trials
                context.log("".join(traceback.format_exception(error)).encode(errors="replace"))
                return error
            if isinstance(event, CurvePoint):
                reported[event.trial_id] = event.step
                if event.step > before.get(event.trial_id, -1):
                    yield event
            elif ended := waiting.pop(event.trial_id, None):
                yield ended, event


@contextlib.contextmanager
def _closed(events: Generator[Event, None, None], context: Context) -> Iterator[Generator[Event, None, None]]:
    """Close the workload at the end; what it raises then is in the log, for its trials have ended."""
    try:
        yield events
    finally:
        try:
            events.close()
        except BaseException as error:  # noqa: BLE001
            context.log(f"raised when it was closed: {describe(error)}\n".encode())


def _failed(spec: TrialSpec, message: str, started: dt.datetime) -> Outcome:
    return Outcome(spec.trial_id, "failed", message, started_at=started, ended_at=dt.datetime.now(dt.UTC))


def _error_message(error: BaseException) -> str:
    """Return the error and where it was raised in one line."""
    frames = traceback.extract_tb(error.__traceback__)
    place = f" ({frames[-1].filename}:{frames[-1].lineno})" if frames else ""
    return f"{describe(error)}{place}"
