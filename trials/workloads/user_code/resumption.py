"""What an attempt of user code that resumes takes over: the curve of earlier attempts, and for a member of a population
the checkpoints of the trial that it was before its knobs changed.
"""

from __future__ import annotations

import contextlib
import json
import os
import shutil
import tempfile
from collections.abc import Generator, Iterator
from dataclasses import asdict, replace
from pathlib import Path

from sweeplaw.trials.changes import parse, write
from sweeplaw.trials.record import CurvePoint
from sweeplaw.trials.spec import TrialSpec
from sweeplaw.trials.store_format.checkpoint import CURVE
from sweeplaw.trials.workload import Context, Event

KNOB = "changes"


def continued(events: Generator[Event, None, None], spec: TrialSpec, context: Context) -> Iterator[Event]:
    """Yield the events of a trial after the points before them that earlier attempts reported, so that the curve of the
    latest attempt is whole. On an object store earlier points are not kept.

    Raise OSError, and ValueError for a text of changes that is none.
    """
    _inherit(spec, context)
    folder = context.own_folder(spec.trial_id)
    path = None if context.checkpoints is None or "://" in folder else Path(folder, CURVE)
    earlier = _read(path, spec.trial_id) if path else []
    with contextlib.closing(events):
        for event in events:
            if isinstance(event, CurvePoint):
                earlier = [point for point in earlier if point.step < event.step]
            yield from earlier
            earlier = []
            if isinstance(event, CurvePoint) and path and path.parent.is_dir():
                _append(path, event)
            yield event


def _read(path: Path, trial_id: str) -> list[CurvePoint]:
    """Return the points in a file, the latest one of each step, in order; lines that are none are left out."""
    try:
        lines = path.read_text(errors="replace").splitlines()
    except OSError:
        return []
    found: dict[int, CurvePoint] = {}
    for line in lines:
        try:
            point = replace(CurvePoint(**json.loads(line)), trial_id=trial_id)
            found[int(point.step)] = point
        except (ValueError, TypeError):  # the process was killed while it wrote the line
            continue
    return [found[step] for step in sorted(found)]


def _append(path: Path, point: CurvePoint) -> None:
    with path.open("a") as file:
        file.write(json.dumps(asdict(point)) + "\n")


def _inherit(spec: TrialSpec, context: Context) -> None:
    """Copy into the trial's own folder the checkpoints of the trial without its last change, unless it has its own.

    Nothing is copied without such a trial, or without a folder that outlives the pack. Raise OSError, and ValueError
    for a text of changes that is none.
    """
    changes = parse(str(spec.knobs.get(KNOB, "")))
    if not changes or context.checkpoints is None:
        return
    before = TrialSpec(spec.workload, {**spec.knobs, KNOB: write(changes[:-1])}, spec.later)
    source, target = context.own_folder(before.trial_id), context.own_folder(spec.trial_id)
    if "://" in target:
        _copy_remote(source, target)
    elif Path(source).is_dir() and not Path(target).exists():
        _copy_local(Path(source), Path(target))


def _copy_local(source: Path, target: Path) -> None:
    """Copy a folder so that it is there as a whole or not at all."""
    with tempfile.TemporaryDirectory(prefix=".inherited-", dir=target.parent) as scratch:
        made = Path(scratch, target.name)
        shutil.copytree(source, made, symlinks=True)
        os.rename(made, target)


def _copy_remote(source: str, target: str) -> None:
    from pyarrow import fs

    filesystem, path = fs.FileSystem.from_uri(target)
    if not filesystem.get_file_info(fs.FileSelector(path, allow_not_found=True)):
        filesystem, path = fs.FileSystem.from_uri(source)
        if filesystem.get_file_info(fs.FileSelector(path, allow_not_found=True)):
            fs.copy_files(source, target)
