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
from sweeplaw.trials.store_format import confined, tensor_files
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
    kept = context.checkpoints is not None and "://" not in folder
    earlier = _read(folder, spec.trial_id) if kept else []
    with contextlib.closing(events):
        for event in events:
            if isinstance(event, CurvePoint):
                earlier = [point for point in earlier if point.step < event.step]
            yield from earlier
            earlier = []
            if isinstance(event, CurvePoint) and kept and os.path.isdir(folder):
                _append(folder, event)
            yield event


def _read(folder: str, trial_id: str) -> list[CurvePoint]:
    """Return the points kept in a trial's own folder, the latest one of each step, in order; lines that are none are
    left out.
    """
    try:
        with open(_opened(folder, os.O_RDONLY), errors="replace") as file:
            lines = file.read().splitlines()
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


def _append(folder: str, point: CurvePoint) -> None:
    """Keep a point, in place of a link or a FIFO if there is one. Raise OSError."""
    flags = os.O_WRONLY | os.O_APPEND | os.O_CREAT
    try:
        descriptor = _opened(folder, flags)
    except confined.IrregularError:
        os.unlink(Path(folder, CURVE))
        descriptor = _opened(folder, flags)
    with open(descriptor, "a") as file:
        file.write(json.dumps(asdict(point)) + "\n")


def _opened(folder: str, flags: int) -> int:
    """Return a descriptor of the file with the curve, which the store or the code of the trial may have replaced."""
    location, name = tensor_files.place(folder, CURVE)
    return confined.open_file(location.root, name, flags)


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
    elif Path(source).is_dir() and not Path(source).is_symlink() and not os.path.lexists(target):
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
