"""What a worker does with a pack: run its workload, and turn every event into rows, whatever happens inside.

No Ray here: the scheduler calls this in a remote process, the inline backend in its own.
"""

from __future__ import annotations

import contextlib
import datetime as dt
import itertools
import traceback
from collections.abc import Generator, Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Any

from sweeplaw.trials.record import CurvePoint, Outcome, Provenance, Row, TrialRecord
from sweeplaw.trials.spec import TrialSpec, later_knobs
from sweeplaw.trials.workload import Context, PeerLost, Workload
from sweeplaw.trials.workloads import registry

_LONGEST_MESSAGE = 2000  # characters; an error may quote all its data


@dataclass(frozen=True, slots=True)
class Job:
    """A pack as it travels to a worker: the specs as canonical JSON, the attempt each is at, and where they belong.

    ``shrink`` divides their micro-batches; ``checkpoints`` is where a long trial may leave its state, every
    ``checkpoint_seconds`` (`Context`).
    """

    pack_id: str
    workload: str
    options: Mapping[str, Any]
    specs: tuple[str, ...]
    attempts: tuple[int, ...]
    sweep: str
    launch_id: str
    shrink: int = 1
    checkpoints: str | None = None
    checkpoint_seconds: float = 600.0


def run(job: Job, context: Context, provenance: Provenance) -> Generator[Row, None, None]:
    """Curve points as they come and exactly one record for each trial of the job.

    An exception of the workload, or one outcome too few, is a `failed` record with the message. Closing the iterator
    stops the trial that is running. Once the context is ending, trials that have not begun are left without a record.
    Raises PeerLost: the job has to run again.
    """
    workload = registry.load(job.workload, job.options)
    specs = _specs(workload, job)
    attempts = {spec.trial_id: attempt for spec, attempt in zip(specs, job.attempts, strict=True)}
    for same in _alike(workload, specs):
        if context.ending():
            return
        for row in _run_alike(workload, same, context):
            if isinstance(row, CurvePoint):
                yield replace(row, attempt=attempts[row.trial_id])
            else:
                spec, outcome = row
                yield TrialRecord(
                    spec,
                    workload.cost(spec),
                    outcome,
                    job.sweep,
                    attempts[spec.trial_id],
                    job.pack_id,
                    job.launch_id,
                    provenance,
                )


def take_part(job: Job, context: Context) -> None:
    """Train the trials of the job as one of several processes, of which another records them.

    Raises what the workload raises.
    """
    workload = registry.load(job.workload, job.options)
    for same in _alike(workload, _specs(workload, job)):
        for _ in workload.run(same, context):
            pass


def _specs(workload: Workload, job: Job) -> list[TrialSpec]:
    later = later_knobs(workload.knobs)
    return [TrialSpec.from_canonical(text, later) for text in job.specs]


def _alike(workload: Workload, specs: Sequence[TrialSpec]) -> Iterator[list[TrialSpec]]:
    """The trials of a job in the lots a workload runs together: neighbours that differ in member knobs only."""
    member = {knob.name for knob in workload.knobs if knob.member}
    for _, same in itertools.groupby(specs, key=lambda spec: _shared(spec, member)):
        yield list(same)


def _shared(spec: TrialSpec, member: set[str]) -> list[tuple[str, Any]]:
    return [(name, value) for name, value in spec.knobs.items() if name not in member]


def _run_alike(
    workload: Workload, specs: Sequence[TrialSpec], context: Context
) -> Iterator[CurvePoint | tuple[TrialSpec, Outcome]]:
    """Trials that differ in member knobs only: their curve points, and one outcome each whatever happens inside."""
    waiting = {spec.trial_id: spec for spec in specs}
    started = dt.datetime.now(dt.UTC)
    message = "the workload ended without an outcome for this trial"
    try:
        with contextlib.closing(workload.run(specs, context)) as events:
            for event in events:
                if isinstance(event, CurvePoint):
                    yield event
                elif spec := waiting.pop(event.trial_id, None):
                    yield spec, event
    except PeerLost:
        raise
    except Exception as error:  # noqa: BLE001 - whatever a workload raises is the outcome of its trials, never ours
        message = _told(error)
    for spec in waiting.values():
        yield spec, Outcome(spec.trial_id, "failed", message, started_at=started, ended_at=dt.datetime.now(dt.UTC))


def _told(error: Exception) -> str:
    """The error and the last place it came through, in one line; of a long one the beginning."""
    frames = traceback.extract_tb(error.__traceback__)
    place = f" ({frames[-1].filename}:{frames[-1].lineno})" if frames else ""
    return f"{type(error).__name__}: {' '.join(str(error)[:_LONGEST_MESSAGE].split())}{place}"
