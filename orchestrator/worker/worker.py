"""Run a pack in a worker: start its workload and turn every event into rows, whatever happens inside.

No Ray here: the Ray backend calls this in a remote process, the inline backend in its own.
"""

from __future__ import annotations

import contextlib
import datetime as dt
import itertools
import traceback
from collections.abc import Callable, Generator, Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

from sweeplaw.trials.record import CurvePoint, Outcome, Provenance, Row, TrialRecord
from sweeplaw.trials.spec import TrialSpec, later_knobs
from sweeplaw.trials.workload import Context, PeerLost, Workload, World, never_preempted
from sweeplaw.trials.workloads import registry

_ALONE = World()  # no other process trains the trial
_LONGEST_MESSAGE = 2000  # characters; an error may quote all its data


@dataclass(frozen=True, slots=True)
class Job:
    """A pack as it travels to a worker: the specs as canonical JSON, their attempts, and the sweep and launch they
    belong to.

    ``micro_batch_divisor``, ``checkpoints`` and ``checkpoint_seconds`` are those of `Context`.
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
    )


def run(job: Job, context: Context, provenance: Provenance) -> Generator[Row, None, None]:
    """Yield curve points as they come and exactly one record for each trial of the job.

    An exception of the workload, or a missing outcome, is a `failed` record with the message. Closing the iterator
    stops the trial that is running. Once the context is ending, trials that have not begun are left without a record.
    Raise PeerLost: the job has to run again.
    """
    workload = registry.load(job.workload, job.options)
    specs = _specs(workload, job)
    attempts = {spec.trial_id: attempt for spec, attempt in zip(specs, job.attempts, strict=True)}
    for group in _member_groups(workload, specs):
        if context.ending():
            return
        for row in _run_group(workload, group, context):
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


def run_as_peer(job: Job, context: Context) -> None:
    """Train the trials of the job as one of several processes; another one, rank 0, records them.

    Raise what the workload raises.
    """
    workload = registry.load(job.workload, job.options)
    for group in _member_groups(workload, _specs(workload, job)):
        for _ in workload.run(group, context):
            pass


def _specs(workload: Workload, job: Job) -> list[TrialSpec]:
    later = later_knobs(workload.knobs)
    return [TrialSpec.from_canonical(text, later) for text in job.specs]


def _member_groups(workload: Workload, specs: Sequence[TrialSpec]) -> Iterator[list[TrialSpec]]:
    """Yield the trials that the workload runs together: neighbours that differ in member knobs only."""
    member = {knob.name for knob in workload.knobs if knob.member}
    for _, group in itertools.groupby(specs, key=lambda spec: _shared(spec, member)):
        yield list(group)


def _shared(spec: TrialSpec, member: set[str]) -> list[tuple[str, Any]]:
    return [(name, value) for name, value in spec.knobs.items() if name not in member]


def _run_group(
    workload: Workload, specs: Sequence[TrialSpec], context: Context
) -> Iterator[CurvePoint | tuple[TrialSpec, Outcome]]:
    """Yield the curve points of these trials, and exactly one outcome for each of them, whatever happens inside."""
    waiting = {spec.trial_id: spec for spec in specs}
    started = dt.datetime.now(dt.UTC)
    message = "the workload ended without an outcome for this trial"
    try:
        _require_known_knobs(workload, specs)
        with contextlib.closing(workload.run(specs, context)) as events:
            for event in events:
                if isinstance(event, CurvePoint):
                    yield event
                elif spec := waiting.pop(event.trial_id, None):
                    yield spec, event
    except PeerLost:
        raise
    except Exception as error:  # noqa: BLE001 - whatever a workload raises is an outcome of its trials
        message = _error_message(error)
    for spec in waiting.values():
        yield spec, Outcome(spec.trial_id, "failed", message, started_at=started, ended_at=dt.datetime.now(dt.UTC))


def _require_known_knobs(workload: Workload, specs: Sequence[TrialSpec]) -> None:
    """Raise ValueError if a spec has a knob that this worker's version of the workload would ignore."""
    unknown = {name for spec in specs for name in spec.knobs} - {knob.name for knob in workload.knobs}
    if unknown:
        raise ValueError(f"{workload.name} has no knob {', '.join(sorted(unknown))} here: another version planned it")


def _error_message(error: Exception) -> str:
    """Return the error and where it was raised in one line, cut at `_LONGEST_MESSAGE`."""
    frames = traceback.extract_tb(error.__traceback__)
    place = f" ({frames[-1].filename}:{frames[-1].lineno})" if frames else ""
    return f"{type(error).__name__}: {' '.join(str(error)[:_LONGEST_MESSAGE].split())}{place}"
